"""Volumes that are mounts, what mounts of a container may do, and first use by several at once."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support import leaks, mounts, volumeimages
from tests.support.daemon import AiodDaemon
from tests.support.engine import Engine
from tests.support.http import Api, ApiError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and mounts")

IMAGE = "volumes:1"
Json = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def image(aiod: Engine) -> None:
    aiod.load(volumeimages.archive(IMAGE))


def output(api: Api, script: str, **config: Any) -> str:
    """What a container prints, which goes with its unnamed volumes."""
    made = api.create(**{"Image": "base", "Cmd": ["sh", "-c", script], **config})
    try:
        api.start(made)
        code = api.wait(made)
        said = api.logs(made).decode()
    finally:
        api.call("DELETE", f"/containers/{made}", force="1", v="1")
    assert code == 0, said
    return said


@contextlib.contextmanager
def volume(api: Api, name: str, **options: str) -> Iterator[dict[str, list[str]]]:
    """A volume with driver options, and the binds of a container that has it on /v."""
    api.call("POST", "/volumes/create", {"Name": name, "DriverOpts": options})
    try:
        yield {"Binds": [f"{name}:/v"]}
    finally:
        api.call("DELETE", f"/volumes/{name}")


def mounted_volumes(daemon: Engine) -> list[str]:
    """Where volumes are mounted now."""
    assert isinstance(daemon, AiodDaemon)
    return mounts.mount_points(daemon.paths.volumes)


def test_a_volume_in_memory_lives_as_long_as_it_is_used(aiod: Engine) -> None:
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=7"}
    with aiod.api() as api, volume(api, "memory", **options) as host:
        first = api.run("sleep", "1000", HostConfig=host)
        second = api.run("sleep", "1000", HostConfig=dict(host))
        try:
            said = output(api, "stat -c %u /v; grep -c ' /v .*size=1024k' /proc/mounts; touch /v/a",
                          HostConfig=dict(host))  # fmt: skip
            assert said == "7\n1\n"
            assert len(mounted_volumes(aiod)) == 1
            api.remove(first)
            assert output(api, "ls /v", HostConfig=dict(host)) == "a\n"
        finally:
            api.remove(second)
        assert mounted_volumes(aiod) == []
        assert output(api, "ls /v", HostConfig=dict(host)) == ""


def test_a_volume_that_is_a_bind(aiod: Engine, tmp_path: Path) -> None:
    place = tmp_path / "data"
    place.mkdir()
    (place / "file").write_text("host's\n")
    options = {"type": "none", "device": str(place), "o": "bind,ro"}
    with aiod.api() as api, volume(api, "bound", **options) as host:
        script = "cat /v/file; touch /v/other 2>/dev/null || echo fixed"
        assert output(api, script, HostConfig=host) == "host's\nfixed\n"
        assert mounted_volumes(aiod) == []
    assert (place / "file").read_text() == "host's\n"  # the volume went, its device did not


def test_content_is_copied_into_a_bind_that_is_empty(aiod: Engine, tmp_path: Path) -> None:
    place = tmp_path / "data"
    place.mkdir()
    options = {"type": "none", "device": str(place), "o": "bind"}
    with aiod.api() as api, volume(api, "bound", **options):
        host = {"Binds": ["bound:/seed"]}
        assert "second" in output(api, "cat /seed/more", Image=IMAGE, HostConfig=host)
        assert sorted(path.name for path in place.iterdir())[:2] == ["a", "hard"]
        assert place.stat().st_uid == 1000


def test_a_device_that_is_not_there(aiod: Engine) -> None:
    options = {"type": "none", "device": "/no/such", "o": "bind"}
    with aiod.api() as api, volume(api, "absent", **options) as host:
        made = api.create(Image="base", Cmd=["true"], HostConfig=host)
        with pytest.raises(ApiError) as refused:
            api.start(made)
        assert refused.value.status == 500
        assert refused.value.message.startswith("error while mounting volume '")
        assert "mount /no/such:" in refused.value.message
        assert refused.value.message.endswith("flags: 0x1000: no such file or directory")
        assert mounted_volumes(aiod) == []
        api.remove(made)


def test_a_file_system_of_the_network_is_mounted_by_a_process_of_its_own(aiod: Engine) -> None:
    """There is no such server: the kernel's refusal comes back, and no password with it."""
    options = {"type": "nosuchfs", "device": ":/export", "o": "addr=127.0.0.1,password=secret"}
    with aiod.api() as api, volume(api, "remote", **options) as host:
        made = api.create(Image="base", Cmd=["true"], HostConfig=host)
        with pytest.raises(ApiError) as refused:
            api.start(made)
        assert "no such device" in refused.value.message
        assert "secret" not in refused.value.message
        api.remove(made)


def test_many_first_uses_at_once(aiod: Engine) -> None:
    """One fills it, none sees the half of it, and all have the same."""
    host = {"Binds": ["together:/seed"], "NetworkMode": "none"}
    body = {"Image": IMAGE, "Cmd": ["sh", "-c", "find /seed | wc -l"], "HostConfig": host}

    def one(_: int) -> str:
        with aiod.api() as api:
            made = api.call("POST", "/containers/create", body)["Id"]
            api.start(made)
            api.wait(made)
            said = api.logs(made).decode()
            api.remove(made)
            return said

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(one, range(24))) == {f"{volumeimages.FILES + 1}\n"}
    with aiod.api() as api:
        api.call("DELETE", "/volumes/together")


def test_a_volume_is_not_removed_under_a_create(aiod: Engine) -> None:
    """Whichever is first, a container that was made has its volume."""
    stop = threading.Event()

    def removing() -> None:
        with aiod.api() as api:
            while not stop.is_set():
                assert api.send("DELETE", "/volumes/fought-for").status in (204, 404, 409)

    thread = threading.Thread(target=removing)
    thread.start()
    try:
        with aiod.api() as api:
            for _ in range(30):
                host = {"Binds": ["fought-for:/v"]}
                made = api.create(Image="base", Cmd=["touch", "/v/x"], HostConfig=host)
                assert api.call("GET", "/volumes/fought-for")["Name"] == "fought-for"
                api.start(made)
                assert api.wait(made) == 0
                api.remove(made)
    finally:
        stop.set()
        thread.join()
    with aiod.api() as api:
        api.send("DELETE", "/volumes/fought-for")


def test_read_only_reaches_what_is_mounted_below(aiod: Engine, tmp_path: Path) -> None:
    """Unless that is not wanted; and nothing below is there without recursion."""
    below = tmp_path / "below"
    below.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(below)], check=True)
    (below / "file").touch()
    script = "touch /v/below/x 2>/dev/null && echo open; ls /v/below | grep -c file; true"
    plain = {"Type": "bind", "Source": str(tmp_path), "Target": "/v", "ReadOnly": True}
    try:
        with aiod.api() as api:
            for options, says in (
                ({}, "1\n"),
                ({"ReadOnlyForceRecursive": True}, "1\n"),
                ({"ReadOnlyNonRecursive": True}, "open\n1\n"),
                ({"NonRecursive": True}, "0\n"),
            ):
                host = {"Mounts": [{**plain, "BindOptions": options}]}
                assert output(api, script, HostConfig=host) == says, options
    finally:
        subprocess.run(["umount", str(below)], check=True)


def test_a_missing_source_is_made_where_that_is_asked_for(aiod: Engine, tmp_path: Path) -> None:
    mount = {
        "Type": "bind",
        "Source": str(tmp_path / "a" / "b"),
        "Target": "/v",
        "BindOptions": {"CreateMountpoint": True},
    }
    with aiod.api() as api:
        output(api, "touch /v/file", HostConfig={"Mounts": [mount]})
    assert (tmp_path / "a" / "b" / "file").exists()


def test_a_clients_mount_is_there_instead_of_the_engines(aiod: Engine) -> None:
    host = {"Binds": ["own-shm:/dev/shm", "own-etc:/etc:nocopy"]}
    script = "grep -c ' /dev/shm ' /proc/mounts; ls /etc | tr '\\n' ' '"
    with aiod.api() as api:
        assert output(api, script, HostConfig=host) == "1\nhostname hosts resolv.conf "
        for name in ("own-shm", "own-etc"):
            api.call("DELETE", f"/volumes/{name}")


def test_volumes_of_a_container_whose_root_was_copied(new_daemon: AiodDaemon) -> None:
    new_daemon.flags = ["--snapshotter", "native"]
    new_daemon.start()
    new_daemon.load(volumeimages.archive(IMAGE))
    with new_daemon.api() as api:
        config = {"Image": IMAGE, "Volumes": {"/seed/sub": {}}}
        said = output(api, volumeimages.LISTING, HostConfig={"Binds": ["v1:/seed"]}, **config)
        assert output(api, volumeimages.LISTING, Image=IMAGE) == said
        api.call("DELETE", "/volumes/v1")
    leaks.assert_none(new_daemon)


def test_a_link_put_in_the_place_of_a_subpath_meanwhile(aiod: Engine) -> None:
    """Whatever a neighbour renames, what is mounted is in the volume (or the start fails)."""
    swap = (
        "cd /v; mkdir real; echo inner > real/file; ln -s /etc evil; mkdir -p was; "
        "while :; do mv real was/; mv evil real; mv real evil; mv was/real .; done"
    )
    subpath = {"Type": "volume", "Source": "raced", "Target": "/m",
               "VolumeOptions": {"Subpath": "real"}}  # fmt: skip
    with aiod.api() as api:
        swapper = api.run("sh", "-c", swap, HostConfig={"Binds": ["raced:/v"]})
        try:
            for _ in range(20):
                made = api.create(Image="base", Cmd=["ls", "/m"], HostConfig={"Mounts": [subpath]})
                if api.send("POST", f"/containers/{made}/start").status == 204:
                    api.wait(made)
                    assert api.logs(made) in (b"file\n", b"")
                api.remove(made)
        finally:
            api.remove(swapper)
        api.call("DELETE", "/volumes/raced")
