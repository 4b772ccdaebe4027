"""What a container may do and see, through the daemon and the real docker command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aiod.native._native import lib
from tests.support.engine import Engine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and mounts")

RUN = ("run", "--rm", "--network", "none")
STATUS = ("grep", "-E", "Seccomp:|NoNewPrivs|CapEff", "/proc/self/status")
# The host's interpreter in the container: it can make calls that no small program does.
PYTHON = ("-v", "/:/host:ro")
CALLS = r"""
import ctypes, errno, json, sys
libc = ctypes.CDLL(None, use_errno=True)
found = {}
for name, number, *args in json.loads(sys.argv[1]):
    ctypes.set_errno(0)
    libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, args))
    found[name] = errno.errorcode.get(ctypes.get_errno(), "")
print(json.dumps(found))
"""


def run(engine: Engine, *words: str, check: bool = True) -> str:
    return engine.docker(*RUN, *words, check=check).stdout


def status(engine: Engine, *flags: str) -> dict[str, str]:
    lines = run(engine, *flags, "base", *STATUS).splitlines()
    return dict(line.split(":\t") for line in lines)


def call(name: str, *args: int) -> tuple[str, int, *tuple[int, ...]]:
    return (name, int(lib.seccomp_syscall_resolve_name(name.encode())), *args)


def outcomes(engine: Engine, *flags: str) -> dict[str, str]:
    calls = [
        call("keyctl", 0, 0, 0),
        call("add_key"),
        call("unshare", 0x10000000),
        call("mount"),
        call("io_uring_setup"),
        call("userfaultfd"),
        call("clone3"),
        call("socket", 40, 1, 0),
        call("personality", 0x0040000),
        ("newest", 9999),
        call("getpid"),
    ]
    script = ("base", "chroot", "/host", os.path.realpath(sys.executable), "-c", CALLS)
    done = engine.docker(*RUN, *PYTHON, *flags, *script, json.dumps(calls))
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_default_filter(aiod: Engine) -> None:
    assert status(aiod)["Seccomp"] == "2"
    found = outcomes(aiod)
    refused = {"keyctl", "add_key", "unshare", "mount", "io_uring_setup", "userfaultfd", "socket"}
    assert {name for name, error in found.items() if error == "EPERM"} == refused | {"personality"}
    assert {name for name, error in found.items() if error == "ENOSYS"} == {"clone3", "newest"}
    assert found["getpid"] == ""


def test_no_filter_when_asked_for_none(aiod: Engine) -> None:
    flags = ("--security-opt", "seccomp=unconfined")
    assert status(aiod, *flags)["Seccomp"] == "0"
    found = outcomes(aiod, *flags)
    assert "EPERM" not in {found["io_uring_setup"], found["keyctl"], found["personality"]}
    assert found["clone3"] != "ENOSYS"


def test_privileged_has_no_filter_and_every_device(aiod: Engine) -> None:
    found = status(aiod, "--privileged")
    assert found["Seccomp"] == "0"
    assert int(found["CapEff"], 16) > int(status(aiod)["CapEff"], 16)
    script = "mkdir /m; mount -t tmpfs x /m && echo mounted; ls /dev; [ -w /proc/sys ] && echo rw"
    words = run(aiod, "--privileged", "base", "sh", "-c", script).split()
    assert {"mounted", "rw", "full", "kmsg"} <= set(words)


def test_exec_is_filtered_like_its_container(aiod: Engine) -> None:
    name = aiod.docker("run", "-d", "--network", "none", "base", "sleep", "1000").stdout.strip()
    try:
        assert "Seccomp:\t2" in aiod.docker("exec", name, *STATUS).stdout
        assert "Seccomp:\t2" in aiod.docker("exec", "--privileged", name, *STATUS).stdout
    finally:
        aiod.docker("rm", "-f", name)


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    names = ["mkdir", "mkdirat"]
    rule = {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": 28}
    other = {**rule, "names": ["rmdir"], "includes": {"caps": ["CAP_SYS_ADMIN"]}}
    file = tmp_path / "profile.json"
    file.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule, other]}))
    return file


def test_profile_of_ones_own(aiod: Engine, profile: Path) -> None:
    flags = ("--security-opt", f"seccomp={profile}")
    script = "mkdir /x; touch /y; mkdir -p /tmp; rmdir /media /mnt /srv; true"
    done = aiod.docker(*RUN, *flags, "base", "sh", "-c", script)
    assert "mkdir: can't create directory '/x': No space left on device" in done.stderr
    assert "rmdir: '/mnt': No space" not in done.stderr
    assert status(aiod, *flags)["Seccomp"] == "2"
    assert status(aiod, "--privileged", *flags)["Seccomp"] == "2"


def test_no_new_privileges(aiod: Engine) -> None:
    def value(*flags: str) -> str:
        return status(aiod, *flags)["NoNewPrivs"]

    assert value() == "0"
    assert value("--security-opt", "no-new-privileges") == "1"
    assert value("--security-opt", "no-new-privileges=true") == "1"
    assert value("--security-opt", "no-new-privileges=false") == "0"


@pytest.mark.parametrize("option", ["apparmor=unconfined", "label=disable"])
def test_options_that_take_away_what_is_not_there(aiod: Engine, option: str) -> None:
    assert status(aiod, "--security-opt", option)["Seccomp"] == "2"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("bogus", 'invalid --security-opt 1: "bogus"'),
        ("bogus=1", 'invalid --security-opt 2: "bogus=1"'),
        ("no-new-privileges=maybe", 'invalid --security-opt 2: "no-new-privileges=maybe"'),
    ],
)
def test_other_options_are_refused_as_dockerd_does(
    aiod: Engine, dockerd: Engine, option: str, message: str
) -> None:
    for engine in (aiod, dockerd):
        with engine.api() as api:
            body = {"Image": "base", "HostConfig": {"SecurityOpt": [option]}}
            reply = api.send("POST", "/containers/create", body)
        assert message in reply.message
        # Older ones say 500 to what later ones know to be the client's mistake.
        assert reply.status in ((400,) if engine is aiod else (400, 500))


def test_masked_and_read_only_paths(aiod: Engine) -> None:
    script = "wc -c </proc/timer_list; touch /proc/sys/kernel/panic; echo $?; ls /sys/firmware"
    assert run(aiod, "base", "sh", "-c", script).split() == ["0", "1"]
    flags = ("--security-opt", "systempaths=unconfined")
    unmasked = run(aiod, *flags, "base", "sh", "-c", script).split()
    assert int(unmasked[0]) > 0
    assert unmasked[1] == "0"


def test_paths_by_the_api(aiod: Engine) -> None:
    settings = {"NetworkMode": "none", "MaskedPaths": ["/etc/passwd"], "ReadonlyPaths": ["/tmp"]}
    script = "wc -c </etc/passwd; touch /tmp/x; echo $?; wc -c </proc/timer_list | grep -c ^0"
    with aiod.api() as api:
        container = api.create(Image="base", Cmd=["sh", "-c", script], HostConfig=settings)
        try:
            assert api.send("POST", f"/containers/{container}/start").status == 204
            api.send("POST", f"/containers/{container}/wait")
            logged = aiod.docker("logs", container).stdout.split()
        finally:
            api.remove(container)
    assert logged == ["0", "1", "0"]


def test_filter_of_an_unprivileged_user(aiod: Engine) -> None:
    found = status(aiod, "--user", "1000", "--cap-drop", "ALL")
    assert (found["Seccomp"], found["CapEff"]) == ("2", "0" * 16)


def test_the_hosts_network_has_the_hosts_names(aiod: Engine, dockerd: Engine) -> None:
    script = "hostname; echo $HOSTNAME; cat /etc/hostname /etc/hosts; hostname inside; hostname"
    outputs = []
    for engine in (aiod, dockerd):
        flags = ("run", "--rm", "--network", "host", "--cap-add", "SYS_ADMIN")
        outputs.append(engine.docker(*flags, "base", "sh", "-c", script).stdout)
    assert outputs[0] == outputs[1]
    assert outputs[0].split("\n")[-2] == "inside"
    assert outputs[0].split("\n")[0] == os.uname().nodename


def test_a_mount_made_inside_a_shared_one(aiod: Engine, tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "shared", tmp_path], check=True)
    try:
        subprocess.run(["mount", "--make-shared", tmp_path], check=True)
        flags = ("--privileged", "-v", f"{tmp_path}:/data:rshared")
        script = "mkdir /data/x; mount -t tmpfs inner /data/x; touch /data/x/sign"
        run(aiod, *flags, "base", "sh", "-c", script)
        assert (tmp_path / "x/sign").exists()
    finally:
        subprocess.run(["umount", "-R", tmp_path], check=True)


def test_propagation_that_cannot_be_had(aiod: Engine, dockerd: Engine, tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "private", tmp_path], check=True)
    try:
        subprocess.run(["mount", "--make-private", tmp_path], check=True)
        for engine in (aiod, dockerd):
            flags = ("-v", f"{tmp_path}:/data:rshared")
            done = engine.docker(*RUN, *flags, "base", "true", check=False)
            assert done.returncode != 0
            told = f"path {tmp_path} is mounted on {tmp_path} but it is not a shared mount"
            assert told in done.stderr
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_read_only_binds_are_so_below_too(aiod: Engine, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "below", tmp_path / "below"], check=True)
    try:
        script = "touch /data/x /data/below/x 2>/dev/null; ls /data /data/below | grep -c x"
        done = aiod.docker(
            *RUN, "-v", f"{tmp_path}:/data:ro", "base", "sh", "-c", script, check=False
        )
        assert done.stdout == "0\n"
    finally:
        subprocess.run(["umount", tmp_path / "below"], check=True)


# cgroups


def test_cgroups_are_seen_read_only(aiod: Engine) -> None:
    script = (
        "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory.max 2>/dev/null;"
        "mkdir memory/x x 2>/dev/null; echo $?; cat /proc/self/cgroup"
    )
    words = run(aiod, "--memory", "64m", "base", "sh", "-c", script).split()
    assert words[:2] == [str(64 << 20), "1"]
    version_1 = any(not word.startswith("0::") for word in words[2:])
    assert all((word.rpartition(":")[2] == "/") != version_1 for word in words[2:])


def test_private_cgroup_namespace(aiod: Engine) -> None:
    flags = ("--cgroupns", "private", "--pids-limit", "77")
    script = "cat /proc/self/cgroup; cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max"
    words = aiod.docker(*RUN, *flags, "base", "sh", "-c", f"{script}; true").stdout.split()
    assert "77" in words
    own = [word for word in words if "pids" in word or word.startswith("0::")]
    assert own
    assert all(word.endswith(":/") for word in own)


def test_writable_cgroups(aiod: Engine) -> None:
    script = "cd /sys/fs/cgroup; [ -d memory ] && cd memory; mkdir x && echo made"
    flags = ("--security-opt", "writable-cgroups=true")
    assert run(aiod, *flags, "base", "sh", "-c", script) == "made\n"


# devices


def test_only_the_usual_devices(aiod: Engine) -> None:
    script = "mknod /x c 10 232; (cat </x) 2>&1; mknod /z c 1 5; head -c 3 /z | wc -c"
    assert run(aiod, "base", "sh", "-c", script).splitlines() == [
        "sh: can't open /x: Operation not permitted",
        "3",
    ]


def test_devices_of_the_host(aiod: Engine) -> None:
    flags = ("--device", "/dev/loop-control:/dev/mine:r", "--device", "/dev/kmsg")
    script = "ls -ln /dev/mine /dev/kmsg; (: </dev/mine) && echo r; (: >/dev/mine) || echo no"
    output = run(aiod, *flags, "base", "sh", "-c", script)
    assert "10, 237" in output
    assert "1,  11" in output
    assert output.split()[-2:] == ["r", "no"]


def test_device_rules(aiod: Engine) -> None:
    script = "mknod /l c 10 237; (: </l) && echo allowed"
    flags = ("--device-cgroup-rule", "c 10:* r")
    assert run(aiod, *flags, "base", "sh", "-c", script) == "allowed\n"


def test_a_device_that_is_not_there(aiod: Engine) -> None:
    done = aiod.docker(*RUN, "--device", "/dev/absent", "base", "true", check=False)
    assert done.returncode != 0
    assert 'adding custom device "/dev/absent": no such file or directory' in done.stderr


# the process


def test_main_group_is_a_further_one(aiod: Engine) -> None:
    assert run(aiod, "--user", "1000:5", "base", "id", "-G") == "5\n"
    words = run(aiod, "--user", "1000:5", "--group-add", "7", "base", "id", "-G").split()
    assert words == ["5", "7"]


def test_the_sign_of_a_container(aiod: Engine) -> None:
    script = "ls -l /.dockerenv; ls -a / | grep -c env"
    assert run(aiod, "base", "sh", "-c", script).split()[0] == "-rwxr-xr-x"


def test_working_directory_is_made(aiod: Engine) -> None:
    assert run(aiod, "-w", "/a/b", "base", "pwd") == "/a/b\n"


@pytest.mark.parametrize(
    ("mode", "key", "message"),
    [
        ("none", "kernel.panic", 'sysctl "kernel.panic" is not in a separate kernel namespace'),
        ("none", "vm.swappiness", 'sysctl "vm.swappiness" is not in a separate kernel namespace'),
        ("host", "net.core.somaxconn",
         'sysctl "net.core.somaxconn" not allowed in host network namespace'),
    ],
)  # fmt: skip
def test_sysctls_of_the_host_are_refused(
    aiod: Engine, dockerd: Engine, mode: str, key: str, message: str
) -> None:
    settings = {"NetworkMode": mode, "Sysctls": {key: "1"}}
    for engine in (aiod, dockerd):
        with engine.api() as api:
            container = api.create(Image="base", Cmd=["true"], HostConfig=settings)
            reply = api.send("POST", f"/containers/{container}/start")
            api.remove(container)
        assert reply.status in (400, 500)
        assert message in reply.message


def test_sysctls_of_the_container(aiod: Engine) -> None:
    flags = ("--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.msgmax=4096")
    files = ("/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/msgmax")
    assert run(aiod, *flags, "base", "cat", *files) == "1\n4096\n"


def test_limits_of_the_process(aiod: Engine) -> None:
    flags = ("--ulimit", "nofile=100:200", "--oom-score-adj", "500")
    script = "ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj"
    assert run(aiod, *flags, "base", "sh", "-c", script) == "100\n200\n500\n"


def test_block_io_limits(aiod: Engine, tmp_path: Path) -> None:
    numbers = os.stat("/dev/loop0").st_rdev
    pair = f"{os.major(numbers)}:{os.minor(numbers)}"
    script = (
        "cat /sys/fs/cgroup/blkio/blkio.throttle.read_bps_device /sys/fs/cgroup/io.max; "
        "cat /sys/fs/cgroup/blkio/blkio.throttle.write_iops_device; true"
    )
    flags = ("--device-read-bps", "/dev/loop0:1mb", "--device-write-iops", "/dev/loop0:50")
    output = run(aiod, *flags, "base", "sh", "-c", script)
    assert f"{pair} 1048576" in output or f"{pair} rbps=1048576" in output
    assert f"{pair} 50" in output or "wiops=50" in output


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"BlkioWeight": 5}, "Range of blkio weight is from 10 to 1000"),
        ({"MemorySwappiness": 101}, "valid memory swappiness range is 0-100"),
        ({"DeviceCgroupRules": ["x"]}, "invalid device cgroup rule format: 'x'"),
    ],
)
def test_impossible_limits_are_refused(
    aiod: Engine, settings: dict[str, object], message: str
) -> None:
    with aiod.api() as api:
        reply = api.send("POST", "/containers/create", {"Image": "base", "HostConfig": settings})
    assert reply.status == 400
    assert message in reply.message


def test_limits_that_this_kernel_has_not_are_discarded_with_a_warning(
    aiod: Engine, dockerd: Engine
) -> None:
    settings = {"BlkioWeight": 300, "OomKillDisable": True}
    warned = []
    for engine in (aiod, dockerd):
        with engine.api() as api:
            body = {"Image": "base", "HostConfig": {**settings, "NetworkMode": "none"}}
            reply = api.send("POST", "/containers/create", body)
            assert reply.status == 201, reply.message
            warned.append(sorted(reply.json()["Warnings"] or []))
            api.remove(reply.json()["Id"])
    assert warned[0] == warned[1]
