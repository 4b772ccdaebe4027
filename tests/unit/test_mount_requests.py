"""What Binds, Mounts and Tmpfs ask for, and which of them a container gets."""

from typing import Any

import pytest

from aiod.config import Paths
from aiod.containers import mountchoice, mountplan, mountrequests, tmpfs
from aiod.errors import InvalidParameterError, NotFoundError
from aiod.store.models import (
    BindSettings,
    ContainerConfig,
    HostConfig,
    Mount,
    NetworkingConfig,
    TmpfsSettings,
    VolumeSettings,
)
from aiod.store.records import ContainerRecord, MountPoint
from aiod.volumes.rules import ANONYMOUS


def record(host: HostConfig, *mounts: MountPoint) -> ContainerRecord:
    return ContainerRecord(
        "i", "n", 1, "m", "m", "p", (), ContainerConfig(), host, NetworkingConfig(), "none", (),
        "h", "l", mounts=mounts,
    )  # fmt: skip


def nobody(name: str) -> ContainerRecord:
    raise NotFoundError(f"No such container: {name}")


def chosen(config: ContainerConfig, host: HostConfig) -> dict[str, MountPoint]:
    found = mountchoice.choose(config, host, nobody)
    return {one.point.destination: one.point for one in found}


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("/a:/b", MountPoint("bind", "/b", "/a", propagation="rprivate", create_source=True)),
        (
            "/a/:/b/./c/:ro,rslave",
            MountPoint("bind", "/b/c", "/a", mode="ro,rslave", writable=False,
                       propagation="rslave", create_source=True),
        ),
        ("name:/b", MountPoint("volume", "/b", name="name", driver="local", mode="z")),
        (
            "name:/b:nocopy,ro",
            MountPoint("volume", "/b", name="name", driver="local", mode="nocopy,ro",
                       writable=False),
        ),
        ("/b", MountPoint("volume", "/b", driver="local", mode="z", anonymous=True)),
    ],
)  # fmt: skip
def test_binds(text: str, point: MountPoint) -> None:
    assert mountrequests.binds(HostConfig(Binds=[text]))[0].point == point


def test_content_is_copied_unless_it_is_not_wanted() -> None:
    texts = ["name:/a", "name:/b:nocopy", "/c:/c"]
    found = mountrequests.binds(HostConfig(Binds=texts))
    assert [one.copy for one in found] == [True, False, False]


def test_options_of_mounts() -> None:
    options = BindSettings("shared", NonRecursive=True, ReadOnlyNonRecursive=True)
    host = HostConfig(
        Mounts=[
            Mount("bind", "/a", "/b", ReadOnly=True, BindOptions=options),
            Mount("volume", "name", "/c", VolumeOptions=VolumeSettings(Subpath="x/y")),
            Mount("tmpfs", Target="/d", ReadOnly=True, TmpfsOptions=TmpfsSettings(3 << 20, 0o700)),
        ]
    )
    points = [one.point for one in mountrequests.mounts(host)]
    made = mountplan.mounts(record(HostConfig(), *points[1:]), Paths())
    assert (points[0].recursive, points[0].read_only_below, points[0].propagation) == (
        False, False, "shared",
    )  # fmt: skip
    assert made[0].source == "/var/lib/aiod/volumes/name/_data"
    assert made[0].options == ("rbind", "rprivate", "subpath=x/y")
    assert made[1].options == (
        "noexec", "nosuid", "nodev", "rprivate", "ro", "mode=700", "size=3m",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "result"),
    [
        ("", ("noexec", "nosuid", "nodev", "rprivate")),
        ("exec,size=1m", ("nosuid", "nodev", "rprivate", "exec", "size=1m")),
        ("size=1m,size=2m,shared", ("noexec", "nosuid", "nodev", "size=2m", "shared")),
        ("defaults,rw,ro", ("noexec", "nosuid", "nodev", "rprivate", "ro")),
    ],
)
def test_the_last_word_about_a_tmpfs_counts(words: str, result: tuple[str, ...]) -> None:
    assert tmpfs.merged(words.split(",")) == result


@pytest.mark.parametrize(("size", "text"), [(1 << 30, "1g"), (1 << 10, "1k"), (1000, "1000")])
def test_sizes_of_a_tmpfs(size: int, text: str) -> None:
    assert tmpfs.options_of(TmpfsSettings(size), read_only=False) == (f"size={text}",)


def test_an_unnamed_volume_is_only_where_nothing_else_is() -> None:
    config = ContainerConfig(Volumes={"/a": {}, "/b/": {}, "/c": {}, "/d": {}, "d": {}})
    host = HostConfig(Binds=["name:/a"], Mounts=[Mount("tmpfs", Target="/b")], Tmpfs={"/c/": ""})
    found = chosen(config, host)
    assert {place: (point.kind, point.anonymous) for place, point in found.items()} == {
        "/a": ("volume", False), "/b": ("tmpfs", False), "/d": ("volume", True),
    }  # fmt: skip
    assert len(found["/d"].name) == 64


def test_other_containers_volumes_give_way() -> None:
    other = record(
        HostConfig(),
        MountPoint("volume", "/a", name="theirs", driver="local", mode="z"),
        MountPoint("volume", "/b", name="kept", driver="local", anonymous=True, writable=False),
        MountPoint("tmpfs", "/c"),
    )
    host = HostConfig(VolumesFrom=["other"], Binds=["mine:/a"])
    found = mountchoice.choose(ContainerConfig(Volumes={"/b": {}}), host, lambda _: other)
    assert [(one.point.name, one.copy) for one in found] == [("mine", True), ("kept", False)]
    assert not found[1].point.writable
    assert found[1].point.anonymous


def test_an_absent_container_has_no_volumes_to_give() -> None:
    with pytest.raises(InvalidParameterError, match="No such container: other"):
        chosen(ContainerConfig(), HostConfig(VolumesFrom=["other:ro"]))


def test_unnamed_volumes_are_labelled_and_copied_into_once() -> None:
    host = HostConfig(Binds=["/a", "name:/b", "name:/c:nocopy"], VolumeDriver="local")
    found = mountchoice.choose(ContainerConfig(), host, nobody)
    unnamed, named = mountchoice.volumes(found, [])
    assert unnamed.labels == {ANONYMOUS: ""}
    assert (named.name, named.driver, named.labels) == ("name", "local", None)


def test_a_record_of_before_has_its_binds() -> None:
    before = record(HostConfig(Binds=["/a:/b:ro"]))
    assert [point.destination for point in mountplan.points(before)] == ["/b"]


@pytest.mark.parametrize("path", ["..", "a/../..", "/a", "../a"])
def test_a_subpath_stays_inside(path: str) -> None:
    wrong: Any = Mount("volume", "name", "/a", VolumeOptions=VolumeSettings(Subpath=path))
    with pytest.raises(InvalidParameterError, match="subpath must be a relative path"):
        mountrequests.check(HostConfig(Mounts=[wrong]))
