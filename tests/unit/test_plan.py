"""Plans: what a specification becomes, printed and compared without root."""

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiod.native import bundleplan, mountoptions, plan, spec
from aiod.native.errors import NativeError
from aiod.native.steps import Flag, Op, Step, Sync

BUNDLE = Path("/bundle")
replace = msgspec.structs.replace


def container(*args: str, **fields: object) -> spec.Spec:
    kinds = ("mount", "pid")
    made = spec.Spec(
        process=spec.Process(args=args or ("sh",), env=("PATH=/bin:/usr/bin",)),
        root=spec.Root("rootfs"),
        linux=spec.Linux(namespaces=tuple(spec.Namespace(kind) for kind in kinds)),
    )
    return replace(made, **fields)


def linux(**fields: object) -> spec.Spec:
    made = container()
    return replace(made, linux=replace(made.linux, **fields))


def process(**fields: object) -> spec.Spec:
    made = container()
    assert made.process is not None
    return replace(made, process=replace(made.process, **fields))


def steps(made: spec.Spec, op: Op) -> list[Step]:
    return [step for step in plan.build_plan(made, BUNDLE).steps if step.op is op]


def order(made: spec.Spec) -> list[Op]:
    return [step.op for step in plan.build_plan(made, BUNDLE).steps]


def test_rendering_is_one_line_for_each_step() -> None:
    mount = spec.Mount("/proc", "proc", "proc", ("nosuid",))
    text = plan.render(plan.build_plan(container("sh", mounts=(mount,)), BUNDLE))
    lines = text.splitlines()
    assert lines[0] == "clone            new namespaces: mount, pid"
    mounted = 'mount            mount "proc" on "/proc"  [path=/proc source=proc type=proc set=0x2]'
    assert mounted in lines
    assert lines[-2:] == ['exec             exec "sh"', 'argv             ["sh"]']


def test_equal_specifications_have_equal_plans() -> None:
    one, other = (plan.build_plan(container("sh"), BUNDLE) for _ in range(2))
    assert one == other
    assert one != plan.build_plan(container("ls"), BUNDLE)


def test_namespaces_to_make() -> None:
    kinds = ("mount", "cgroup", "user", "uts")
    made = plan.build_plan(linux(namespaces=tuple(spec.Namespace(kind) for kind in kinds)), BUNDLE)
    assert made.clone_flags == 0x00020000 | 0x10000000 | 0x04000000
    names = [step.name for step in made.steps]
    assert names[0] == "write the id maps"
    # The namespace's root is the cgroup the process is in when it is made.
    assert names.index("join the cgroup") + 1 == names.index("make a cgroup namespace")


def test_namespaces_to_join_come_first_and_by_an_intermediate() -> None:
    joined = (spec.Namespace("pid", "/p"), spec.Namespace("user", "/u"), spec.Namespace("mount"))
    made = plan.build_plan(linux(namespaces=joined), BUNDLE)
    assert [step.source for step in made.steps[:2]] == ["/u", "/p"]
    assert made.leading == 2
    network = (spec.Namespace("network", "/n"), spec.Namespace("mount"))
    assert plan.build_plan(linux(namespaces=network), BUNDLE).leading == 0


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (container(process=None), "process.args: no command given"),
        (container(root=None), "root: missing"),
        (linux(namespaces=()), "linux.namespaces: a container needs a mount namespace"),
        (linux(namespaces=(spec.Namespace("moon"),)), "linux.namespaces: unknown or repeated"),
        (container(hostname="x"), "hostname: it would be the host's"),
        (process(cwd="here"), "process.cwd: 'here' is no absolute path"),
        (process(rlimits=(spec.Rlimit("X", 1, 1),)), "limit X: unknown limit"),
        (process(capabilities=spec.Capabilities(("X",))), "process.capabilities: unknown: 'X'"),
        (container(mounts=(spec.Mount("rel", "proc"),)), "mounts: destination 'rel'"),
        (container(mounts=(spec.Mount("/x", "cgroup"),)), 'mount "cgroup" on "/x": the container'),
        (
            container(mounts=(spec.Mount("/x", "tmpfs", "t", ("tmpcopyup",)),)),
            'mount "tmpfs" on "/x": option \'tmpcopyup\' is not supported',
        ),
        (linux(devices=(spec.Device("z", "/dev/z"),)), "device \"/dev/z\": unknown type 'z'"),
        (linux(rootfs_propagation="odd"), "linux.rootfsPropagation: unknown: 'odd'"),
    ],
)
def test_wrong_specifications_are_named(made: spec.Spec, message: str) -> None:
    with pytest.raises(NativeError) as caught:
        plan.build_plan(made, BUNDLE)
    assert str(caught.value).startswith(message)


def test_overlay_on_the_root_is_the_root() -> None:
    options = ("lowerdir=/a:/b", "lowerdir=/c", "upperdir=/u", "workdir=/w")
    made = container(mounts=(spec.Mount("/", "overlay", "overlay", options),))
    (root,) = steps(made, Op.ROOT_MOUNT)
    assert root.path == "/bundle/rootfs"
    assert root.options == (
        ("lowerdir+", "/a"),
        ("lowerdir+", "/b"),
        ("lowerdir+", "/c"),
        ("upperdir", "/u"),
        ("workdir", "/w"),
    )
    assert steps(made, Op.ROOT_BIND) == []


def test_with_a_user_namespace_the_parent_makes_the_hosts_mounts() -> None:
    mounts = (
        spec.Mount("/", "overlay", "overlay", ("lowerdir=/a",)),
        spec.Mount("/b", "bind", "/b", ("rbind",)),
        spec.Mount("/proc", "proc"),
    )
    kinds = ("user", "mount")
    made = linux(namespaces=tuple(spec.Namespace(kind) for kind in kinds))
    prepared = [
        step.path
        for step in plan.build_plan(replace(made, mounts=mounts), BUNDLE).steps
        if step.flags & Flag.PREPARED and step.op in (Op.MOUNT, Op.BIND, Op.ROOT_MOUNT)
    ]
    assert prepared == ["/bundle/rootfs", "/b"]


def test_read_only_tmpfs_is_made_so_when_its_mount_points_exist() -> None:
    mounts = (spec.Mount("/t", "tmpfs", "t", ("ro", "nosuid")), spec.Mount("/t/b", "tmpfs"))
    made = container(mounts=mounts)
    assert steps(made, Op.MOUNT)[0].set == mountoptions.NOSUID
    assert [step.path for step in steps(made, Op.ATTRIBUTES)] == ["/t"]
    ops = order(made)
    assert ops.index(Op.ATTRIBUTES) > ops.index(Op.MOUNT)


def test_masks_come_after_everything_that_makes_files() -> None:
    made = linux(
        masked_paths=("/m",), readonly_paths=("/r",), sysctl={"net.b": "1"}, namespaces=_NETWORK
    )
    ops = order(made)
    assert ops.index(Op.WRITE) < ops.index(Op.PIVOT) < ops.index(Op.READONLY) < ops.index(Op.MASK)


_NETWORK = tuple(spec.Namespace(kind) for kind in ("mount", "network"))


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward"),
        ("net/ipv4/conf/eth0.1/forwarding", "/proc/sys/net/ipv4/conf/eth0.1/forwarding"),
    ],
)
def test_sysctl_paths(key: str, path: str) -> None:
    made = linux(sysctl={key: "1"}, namespaces=_NETWORK)
    assert steps(made, Op.WRITE)[0].path == path


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("kernel.panic", "is not in a separate kernel namespace"),
        ("vm.swappiness", "is not in a separate kernel namespace"),
        ("kernel.domainname", "is not in a separate kernel namespace"),
        ("kernel.shm_rmid_forced", "not allowed in host ipc namespace"),
        ("fs.mqueue.msg_max", "not allowed in host ipc namespace"),
        ("net.ipv4.ip_forward", "not allowed in host network namespace"),
        ("net/../kernel/panic", "not allowed in host network namespace"),
    ],
)
def test_sysctls_of_the_host_are_refused(key: str, message: str) -> None:
    with pytest.raises(NativeError, match=re.escape(f'linux.sysctl: sysctl "{key}" {message}')):
        plan.build_plan(linux(sysctl={key: "1"}), BUNDLE)


def test_version_1_cgroups_are_bound_below_a_tmpfs() -> None:
    mount = spec.Mount("/sys/fs/cgroup", "cgroup", "cgroup", ("ro", "nosuid"))
    cgroups = (plan.CgroupMount("cpu,cpuacct", "/host/cpu/x", ("cpu", "cpuacct")),)
    made = plan.build_plan(container(mounts=(mount,)), BUNDLE, cgroups)
    binds = [step for step in made.steps if step.op is Op.BIND]
    assert [(step.path, step.source) for step in binds] == [
        ("/sys/fs/cgroup/cpu,cpuacct", "/host/cpu/x")
    ]
    assert binds[0].set & mountoptions.RDONLY
    links = [step.path for step in made.steps if step.op is Op.LINK and "cgroup" in step.path]
    assert links == ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpuacct"]


def test_devices_replace_the_defaults_of_their_name() -> None:
    made = linux(devices=(spec.Device("c", "/dev/null", 9, 9),))
    devices = {step.path: step.number for step in steps(made, Op.DEVICE)}
    assert devices["/dev/null"] == 9 << 8 | 9
    assert len(devices) == 6


def test_no_devices_in_a_bound_dev() -> None:
    made = container(mounts=(spec.Mount("/dev", "bind", "/dev", ("rbind",)),))
    assert steps(made, Op.DEVICE) == []


def test_candidates_for_the_command() -> None:
    def candidates(made: spec.Spec) -> tuple[str, ...]:
        return steps(made, Op.LOOKUP)[0].candidates

    assert candidates(container("sh")) == ("/bin/sh", "/usr/bin/sh")
    assert candidates(container("./sh")) == ("./sh",)
    assert candidates(process(env=())) == ("/bin/sh", "/usr/bin/sh")
    assert candidates(process(env=("PATH=:/x",))) == ("./sh", "/x/sh")


def test_lookup_is_before_the_wait_for_the_start() -> None:
    ops = order(container())
    assert ops[-3:] == [Op.LOOKUP, Op.READY, Op.EXEC]
    assert steps(container(), Op.READY)[0].number == 9


def test_exec_plan_joins_and_changes_nothing_of_the_container() -> None:
    made = plan.exec_plan(spec.Process(args=("ls",), terminal=True), container(), BUNDLE)
    ops = [step.op for step in made.steps]
    assert ops[0] is Op.SETNS
    assert made.steps[0].flags == 0x20020000
    assert not {Op.MOUNT, Op.PIVOT, Op.DEVICE, Op.MASK, Op.UNSHARE} & set(ops)
    assert next(step for step in made.steps if step.op is Op.CONSOLE).path == ""
    assert [step.sync for step in made.steps if step.op is Op.SYNC] == [Sync.CGROUP]


def test_plan_of_a_bundle_on_disk(tmp_path: Path) -> None:
    """What `aiod runtime plan` and `aiod-runtime plan` print: complete, and nothing is made."""
    mount = spec.Mount("/sys/fs/cgroup", "cgroup", "cgroup", ("ro",))
    filtered = replace(container().linux, seccomp=spec.Seccomp("SCMP_ACT_ALLOW"))
    made = container("sh", "-c", "x", mounts=(mount,), linux=filtered)
    (tmp_path / "config.json").write_bytes(spec.encode(made))
    text = plan.render(bundleplan.plan_of(tmp_path))
    lines = text.splitlines()
    assert lines[0].startswith("clone ")
    assert lines[-1] == 'argv             ["sh","-c","x"]'
    assert any(line.startswith("seccomp ") and "program=" in line for line in lines)
    assert any("/sys/fs/cgroup" in line for line in lines)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, 'read ".*/config.json": no such file or directory'),
        (b"{", "config.json: Input data was truncated"),
        (b'{"process": 7}', "config.json: Expected `object"),
        (b"{}", "process.args: no command given"),
    ],
)
def test_plan_of_no_bundle(tmp_path: Path, data: bytes | None, message: str) -> None:
    if data is not None:
        (tmp_path / "config.json").write_bytes(data)
    with pytest.raises(NativeError, match=message):
        bundleplan.plan_of(tmp_path)


@given(st.lists(st.sampled_from(["ro", "rw", "nosuid", "suid", "noatime", "relatime", "rro"])))
def test_later_options_override_earlier_ones(options: list[str]) -> None:
    parsed = mountoptions.parse(tuple(options), "x")
    assert parsed.set & parsed.clear & ~mountoptions.ATIME == 0
    last = [option for option in options if option in ("ro", "rw", "rro")]
    assert parsed.readonly == bool(last and last[-1] != "rw")
    times = [option for option in options if option in ("noatime", "relatime")]
    assert bool(parsed.set & mountoptions.NOATIME) == (times[-1:] == ["noatime"])
    assert parsed.below == ("rro" in options)


@given(st.text(), st.text(), st.lists(st.text(), max_size=4))
def test_any_mount_is_planned_or_refused(kind: str, destination: str, options: list[str]) -> None:
    mount = spec.Mount(destination, kind, "source", tuple(options))
    try:
        made = plan.build_plan(container(mounts=(mount,)), BUNDLE)
    except NativeError:
        return
    assert plan.render(made)


def test_a_part_of_a_binds_source() -> None:
    """`subpath` is an option of our own: the child looks it up below the source."""
    bound = spec.Mount("/to", "bind", "/from", ("rbind", "rro", "subpath=a/b"))
    (step,) = steps(container(mounts=(bound,)), Op.BIND)
    assert step.name == 'bind "/from/a/b" on "/to"'
    assert (step.source, step.type) == ("/from", "a/b")
