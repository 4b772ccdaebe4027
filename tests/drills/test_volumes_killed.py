"""The daemon is killed at work on volumes: nothing leaks, nothing is lost, nothing is by halves."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.drills import tour
from tests.drills.test_daemon_killed import VOLUME_POINTS, finish
from tests.drills.tour import Step, Walk
from tests.support import leaks, mounts, volumeimages
from tests.support.daemon import AiodDaemon, armed
from tests.support.engine import eventually
from tests.support.http import Api, Json
from tests.support.witness import Witness

IMAGE = "volumes:1"
MEMORY = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}


def _step(title: str, do: Callable[[Api], int], first: int, *again: int) -> Step:
    return Step(title, do, frozenset({first}), frozenset(again))


def _volume(name: str, **options: Json) -> Callable[[Api], int]:
    return lambda api: api.send("POST", "/volumes/create", {"Name": name, **options}).status


def _container(name: str, command: str, **config: Json) -> Callable[[Api], int]:
    def do(api: Api) -> int:
        host = {"NetworkMode": "none", **config.get("HostConfig", {})}
        body = {"Image": IMAGE, "Cmd": ["sh", "-c", command], **config, "HostConfig": host}
        return api.send("POST", "/containers/create", body, name=name).status

    return do


def _post(path: str, **query: str | int) -> Callable[[Api], int]:
    return lambda api: api.send("POST", path, None, **query).status


def _delete(path: str, **query: str | int) -> Callable[[Api], int]:
    return lambda api: api.send("DELETE", path, None, **query).status


def _load(api: Api) -> int:
    tar = {"Content-Type": "application/x-tar"}
    return api.raw("POST", "/images/load", volumeimages.archive(IMAGE), tar).status


def _ends_well(name: str) -> Callable[[Api], int]:
    def do(api: Api) -> int:
        assert api.wait(name) == 0, api.logs(name)
        return 200

    return do


def _left(api: Api) -> int:
    volumes = {
        one["Name"]: Path(one["Mountpoint"]) for one in api.call("GET", "/volumes")["Volumes"]
    }
    assert volumes.keys() == {"keep", "named"}
    assert (volumes["keep"] / "kept").exists()
    return 200


CHECK = "set -e; cat /seed/more >/dev/null; [ $(find /seed ! -name kept | wc -l) = 14 ]"
FIRST = {
    "HostConfig": {"Binds": ["keep:/seed", "memory:/memory", "named:/seed/opaque"]},
    "Volumes": {"/own": {}, "/seed/sub": {}},
}
STEPS = [
    _step("load", _load, 200),
    _step("make a volume", _volume("keep", Labels={"a": "b"}), 201),
    _step("make a mount", _volume("memory", DriverOpts=MEMORY), 201),
    _step("create", _container("one", f"{CHECK}; echo kept > /seed/kept", **FIRST), 201, 409),
    _step("start", _post("/containers/one/start"), 204, 304),
    _step("it found all of its content", _ends_well("one"), 200),
    _step(
        "create another",
        _container("two", "cat /seed/kept", HostConfig={"VolumesFrom": ["one:ro"]}),
        201,
        409,
    ),
    _step("start another", _post("/containers/two/start"), 204, 304),
    _step("it found what the first wrote", _ends_well("two"), 200),
    _step(
        "create passing",
        _container("three", "true", HostConfig={"AutoRemove": True}, Volumes={"/own": {}}),
        201,
        409,
    ),
    _step("start passing", _post("/containers/three/start"), 204, 304, 404),
    _step("passing goes", _post("/containers/three/wait", condition="removed"), 200, 404),
    _step("remove another", _delete("/containers/two", v=1), 204, 404),
    _step("remove", _delete("/containers/one", v=1), 204, 404),
    _step("remove the mount", _delete("/volumes/memory"), 204, 404),
    _step("make an unused one", _volume(""), 201),
    _step("prune", _post("/volumes/prune"), 200),
    _step("two are left, with what was written", _left, 200),
    _step("remove one of them", _delete("/volumes/named"), 204, 404),
    _step("remove the other", _delete("/volumes/keep"), 204, 404),
    _step("remove the image", _delete(f"/images/{IMAGE}"), 200, 404),
]


def content(daemon: AiodDaemon, name: str) -> set[str]:
    """What is in a volume."""
    top = daemon.paths.volume(name)
    return {str(path.relative_to(top)) for path in top.rglob("*")} if top.is_dir() else set()


# What is done to containers, volumes take part in.
OTHERS = [
    *("create.directory-made", "create.recorded", "start.bundle-written", "start.spawned"),
    *("start.recorded", "stop.exit-taken", "remove.marked", "remove.files-removed"),
    "remove.recorded",
]


@pytest.fixture(scope="class")
def walk(class_daemon: AiodDaemon) -> Iterator[Walk]:
    """The tour, beside a container that must not notice."""
    daemon = class_daemon
    daemon.start()
    with daemon.api() as api:
        witness = Witness.start(api, daemon)

    def settled() -> None:
        with daemon.api() as api:
            witness.assert_undisturbed(api)
        leaks.assert_none(daemon)
        assert len(content(daemon, "keep")) in (0, volumeimages.FILES, volumeimages.FILES + 1)

    walk = Walk(daemon, STEPS, settled)
    yield walk
    walk.complete()
    settled()
    finish(daemon)


class TestKilledAtEveryPoint:
    """Of volumes, and of what is done to containers with volumes."""

    @pytest.mark.parametrize("point", [*VOLUME_POINTS, *OTHERS])
    def test_killed_at(self, walk: Walk, point: str) -> None:
        """The daemon dies at `point` in a tour with which its successor goes on."""
        walk.die_at(point)


@pytest.mark.parametrize("nth", [1, 4, 9])
def test_killed_while_content_is_moved(daemon: AiodDaemon, nth: int) -> None:
    """The next daemon moves the rest, before anybody can see the half of it."""
    host = {"Binds": ["keep:/seed"]}
    daemon.load(volumeimages.archive(IMAGE))
    daemon.sigkill()
    daemon.start(armed("volume.copy-moving", nth))
    with daemon.api() as api:
        api.call("POST", "/volumes/create", {"Name": "keep"})
    create = [_step("create", _container("one", "true", HostConfig=host), 201)]
    assert tour.passes(daemon, 0, repeated=False, steps=create) == 0
    daemon.restart()
    with daemon.api() as api:
        assert [one["Name"] for one in api.call("GET", "/volumes")["Volumes"]] == ["keep"]
    assert len(content(daemon, "keep")) == volumeimages.FILES
    status = daemon.paths.volume("keep").stat()
    assert (status.st_uid, status.st_mode & 0o7777) == (1000, 0o750)
    finish(daemon)


def mounted(daemon: AiodDaemon, name: str) -> bool:
    """Whether a volume that is a mount is there now."""
    return str(daemon.paths.volume(name)) in mounts.mount_points(daemon.paths.volumes)


def test_a_volume_stays_mounted_for_a_running_container(daemon: AiodDaemon) -> None:
    """And is gone when that has ended while no daemon ran."""
    host = {"Binds": ["memory:/memory"]}
    with daemon.api() as api:
        api.call("POST", "/volumes/create", {"Name": "memory", "DriverOpts": MEMORY})
        first, second = (
            Witness.start(api, daemon, HostConfig=host),
            Witness.start(api, daemon, HostConfig=host),
        )
        (daemon.paths.volume("memory") / "file").write_text("seen by both")
    daemon.sigkill()
    first.end()
    daemon.restart()
    with daemon.api() as api:
        second.assert_undisturbed(api)
        assert (daemon.paths.volume("memory") / "file").read_text() == "seen by both"
    daemon.sigkill()
    second.end()
    daemon.restart()
    eventually(lambda: mounted(daemon, "memory"), lambda there: not there)
    finish(daemon)


def test_what_is_nobodys_is_left_alone(daemon: AiodDaemon) -> None:
    """A directory without a record may be somebody's data; a volume of its name takes it over."""
    daemon.sigkill()
    stranger: Path = daemon.paths.volumes / "stranger" / "_data"
    stranger.mkdir(parents=True)
    (stranger / "precious").write_text("data")
    daemon.restart()
    assert (stranger / "precious").read_text() == "data"
    with daemon.api() as api:
        api.call("POST", "/volumes/create", {"Name": "stranger"})
        assert (stranger / "precious").read_text() == "data"
        api.call("DELETE", "/volumes/stranger")
    finish(daemon)


def test_a_volume_outlives_an_unreadable_container(daemon: AiodDaemon) -> None:
    """It may be that container's, so a prune leaves it; it is removed by the names of others."""
    with daemon.api() as api:
        made = api.create(Image="base", Volumes={"/own": {}})
        api.create("named", Image="base")
    assert daemon.stop() == 0
    connection = sqlite3.connect(daemon.paths.database)
    with connection:
        connection.execute("UPDATE containers SET document = '{'")
    connection.close()
    daemon.restart()
    with daemon.api() as api:
        assert api.call("POST", "/volumes/prune")["VolumesDeleted"] == []
        assert api.send("DELETE", "/containers/other").status == 404
        api.remove(made[:12])
        assert api.call("POST", "/volumes/prune")["VolumesDeleted"] == []
        api.remove("named")
        assert api.send("DELETE", "/containers/named").status == 404
        assert len(api.call("POST", "/volumes/prune")["VolumesDeleted"]) == 1
    finish(daemon)
