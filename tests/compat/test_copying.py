"""Containers' files from outside: copied in and out, compared, exported; beside dockerd."""

import base64
import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.engine import Engine
from tests.support.http import Reply
from tests.support.layertars import directory, layer, link, member, soft

TAR = {"Content-Type": "application/x-tar"}
SCRIPT = (
    "mkdir -p /d/sub; echo one >/d/one; echo two >/d/sub/two; ln -s one /d/soft;"
    "ln -s /d/sub /d/dirlink; ln -s /nowhere /d/broken; ln /d/one /d/hard;"
    "chown 5:6 /d/one; chmod 4750 /d/one; mkfifo /d/fifo; rm /etc/passwd; exec sleep 1000"
)


class Box:
    """One container of one engine, and what is asked of its files."""

    def __init__(self, engine: Engine, *, running: bool, host: dict[str, Any]) -> None:
        self.engine = engine
        with engine.api() as api:
            self.id = api.run("sh", "-c", SCRIPT, HostConfig={"NetworkMode": "none", **host})
            api.execute(self.id, *_READY)
            if not running:
                api.call("POST", f"/containers/{self.id}/kill")
                api.wait(self.id)

    def ask(self, method: str, path: str, body: bytes | None = None, **query: str) -> Reply:
        with self.engine.api() as api:
            words = urlencode({"path": path, **query})
            return api.raw(method, f"/containers/{self.id}/archive?{words}", body, TAR)

    def get(self, path: str) -> dict[str, tarfile.TarInfo]:
        reply = self.ask("GET", path)
        assert reply.status == 200, reply.message
        with tarfile.open(fileobj=io.BytesIO(reply.body)) as tar:
            return {entry.name: entry for entry in tar}

    def put(self, path: str, body: bytes, **query: str) -> Reply:
        return self.ask("PUT", path, body, **query)

    def read(self, path: str) -> bytes:
        reply = self.ask("GET", path)
        assert reply.status == 200, reply.message
        with tarfile.open(fileobj=io.BytesIO(reply.body)) as tar:
            file = tar.extractfile(tar.getmembers()[0])
            assert file is not None
            return file.read()

    def remove(self) -> None:
        with self.engine.api() as api:
            api.remove(self.id)


_READY = ("sh", "-c", "while test -e /etc/passwd; do :; done")


@pytest.fixture(params=["running", "resting"])
def boxes(
    request: pytest.FixtureRequest, engine: Engine, dockerd: Engine, tmp_path: Path
) -> Iterator[tuple[Box, Box]]:
    """The same container in both engines, with a bind that can be written and one that cannot."""
    made = []
    for each in (engine, dockerd):
        shared = tmp_path / each.name
        for name in ("rw", "ro"):
            (shared / name).mkdir(parents=True, exist_ok=True)
            (shared / name / "file").write_text(name)
        binds = [f"{shared}/rw:/rw", f"{shared}/ro:/ro:ro"]
        made.append(Box(each, running=request.param == "running", host={"Binds": binds}))
    yield made[0], made[1]
    for box in made:
        box.remove()


def told(reply: Reply) -> Any:
    """What the header says, without times, which are each engine's own."""
    found = json.loads(base64.b64decode(reply.headers["X-Docker-Container-Path-Stat"]))
    assert found.pop("mtime")
    found.pop("size") if found["mode"] >> 31 else None
    return found


def refused(reply: Reply, engine: Engine, status: int) -> str:
    """The message; the status is the specification's, which dockerd has as 500."""
    assert reply.status == (500 if engine.name == "dockerd" else status)
    return reply.message


@pytest.mark.parametrize(
    "path",
    ["/d/one", "d/one", "/d/soft", "/d/dirlink", "/d/dirlink/", "/d/broken", "/d/sub/..", "/d",
     "/d/", "/d/.", "/", ".", "/d/fifo", "/../d/one", "/rw/file", "/d/dirlink/two"],
)  # fmt: skip
def test_what_a_path_is(boxes: tuple[Box, Box], path: str) -> None:
    ours, theirs = (box.ask("HEAD", path) for box in boxes)
    assert (ours.status, theirs.status) == (200, 200)
    assert told(ours) == told(theirs)


@pytest.mark.parametrize("path", ["/d/one", "/d", "/d/", "/d/.", "/d/soft", "/d/dirlink", "/d/sub"])
def test_the_same_members_come_out(boxes: tuple[Box, Box], path: str) -> None:
    ours, theirs = (box.get(path) for box in boxes)
    for name, entry in theirs.items():
        mine = ours.pop(name)
        for field in ("type", "uid", "gid", "size", "linkname"):
            assert getattr(mine, field) == getattr(entry, field), (name, field)
        # dockerd puts the kind there, too.
        assert mine.mode & 0o7777 == entry.mode & 0o7777, name
    assert not ours


@pytest.mark.parametrize("path", ["/none", "/d/none", "/d/broken/x", ""])
@pytest.mark.parametrize("method", ["HEAD", "GET", "PUT"])
def test_what_is_not_there(boxes: tuple[Box, Box], path: str, method: str) -> None:
    ours, theirs = (box.ask(method, path, b"" if method == "PUT" else None) for box in boxes)
    assert ours.status == theirs.status
    messages = [
        reply.message.replace(box.id, "ID").replace("pathcannot", "path cannot")  # dockerd's slip
        for reply, box in zip((ours, theirs), boxes, strict=True)
    ]
    assert messages[0] == messages[1]


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_name_that_no_file_can_have(boxes: tuple[Box, Box], method: str) -> None:
    for box in boxes:
        reply = box.ask(method, "/" + "n" * 300, b"" if method == "PUT" else None)
        assert refused(reply, box.engine, 400).endswith("file name too long")


def test_members_go_in(boxes: tuple[Box, Box]) -> None:
    body = layer([
        directory("new", mode=0o700, uid=7, gid=8), member("new/file", b"data", mode=0o711),
        member("new/suid", b"data", mode=0o4711, uid=9),
        soft("new/soft", "file"), link("new/hard", "new/file"), member("deep/er/file", b"x"),
        member("one", b"replaced", uid=3),
    ])  # fmt: skip
    for box in boxes:
        reply = box.put("/d", body)
        assert reply.status == 200, reply.message
        found = box.get("/d/new")
        assert (found["new"].mode & 0o7777, found["new"].uid, found["new"].gid) == (0o700, 7, 8)
        assert (found["new/suid"].mode & 0o7777, found["new/suid"].uid) == (0o4711, 9)
        assert found["new/soft"].linkname == "file"
        assert found["new/hard"].linkname in ("new/file", "file") or found["new/hard"].size == 4
        assert box.read("/d/deep/er/file") == b"x"
        assert box.read("/d/one") == b"replaced"
        assert box.get("/d/one")["one"].mtime == 1_600_000_000


def test_links_in_the_way_end_at_the_root(boxes: tuple[Box, Box]) -> None:
    for box in boxes:
        assert (
            box.put("/", layer([soft("out", "/d/sub"), soft("up", "../../../../d")])).status == 200
        )
        assert box.put("/out", layer([member("inside", b"in")])).status == 200
        assert box.put("/", layer([member("up/above", b"up")])).status == 200
        assert box.read("/d/sub/inside") == b"in"
        assert box.read("/d/above") == b"up"
    assert not os.path.exists("/d/above")


@pytest.mark.parametrize("name", ["../evil", "a/../../evil"])
def test_members_that_point_upwards_are_refused(boxes: tuple[Box, Box], name: str) -> None:
    for box in boxes:
        assert box.put("/d", layer([member(name, b"evil")])).status >= 400
        assert box.ask("HEAD", "/evil").status == 404


def test_a_directory_gives_way_to_nothing_else_if_told(boxes: tuple[Box, Box]) -> None:
    for name, body in (
        ("sub", layer([member("sub", b"file")])),
        ("one", layer([directory("one")])),
    ):
        ours, theirs = (box.put("/d", body, noOverwriteDirNonDir="1") for box in boxes)
        for box, reply in zip(boxes, (ours, theirs), strict=True):
            assert "cannot overwrite" in refused(reply, box.engine, 400), name
    for box in boxes:
        assert box.put("/d", layer([member("sub", b"file")])).status == 200
        assert box.read("/d/sub") == b"file"


def test_binds_are_gone_through(boxes: tuple[Box, Box]) -> None:
    for box in boxes:
        assert box.read("/rw/file") == b"rw"
        assert box.put("/rw", layer([member("put", b"in")])).status == 200
        assert box.read("/rw/put") == b"in"
    ours, theirs = (box.put("/ro", layer([member("put", b"in")])) for box in boxes)
    assert refused(ours, boxes[0].engine, 403) == refused(theirs, boxes[1].engine, 403)


def test_a_file_is_no_directory_to_extract_to(boxes: tuple[Box, Box]) -> None:
    ours, theirs = (box.put("/d/one", layer([member("x", b"")])) for box in boxes)
    assert refused(ours, boxes[0].engine, 400) == refused(theirs, boxes[1].engine, 400)


def test_a_damaged_archive_is_refused(boxes: tuple[Box, Box]) -> None:
    for box in boxes:
        assert box.put("/d", b"no tar at all" * 100).status >= 400


def test_the_differences(boxes: tuple[Box, Box]) -> None:
    found = []
    for box in boxes:
        with box.engine.api() as api:
            rows = api.call("GET", f"/containers/{box.id}/changes")
        found.append({row["Path"]: row["Kind"] for row in rows})
    ours, theirs = found
    engines = ("/dev", "/etc", "/rw", "/ro", "/root", "/var")
    mine, peer = (
        {path: kind for path, kind in one.items() if not path.startswith(engines)} for one in found
    )
    assert mine == peer
    assert (mine["/d"], mine["/d/sub/two"]) == (1, 1)
    assert (ours["/etc/passwd"], ours["/etc"]) == (2, 0) == (theirs["/etc/passwd"], theirs["/etc"])


def test_one_that_wrote_nothing_differs_in_nothing(engine: Engine) -> None:
    with engine.api() as api:
        made = api.run("true")
        api.wait(made)
        assert not api.call("GET", f"/containers/{made}/changes")
        api.remove(made)


def test_the_root_is_exported_without_mounts(boxes: tuple[Box, Box]) -> None:
    found = []
    for box in boxes:
        with box.engine.api() as api:
            reply = api.raw("GET", f"/containers/{box.id}/export")
        assert reply.status == 200
        with tarfile.open(fileobj=io.BytesIO(reply.body)) as tar:
            found.append({entry.name: entry for entry in tar})
    ours, theirs = found
    assert {name for name in ours if name.startswith(("d/", "bin/"))} == {
        name for name in theirs if name.startswith(("d/", "bin/"))
    }
    assert "rw/file" not in ours
    assert "proc/1" not in ours
    assert ours["d/one"].mode & 0o7777 == theirs["d/one"].mode & 0o7777 == 0o4750


def test_a_root_that_is_read_only(engine: Engine, dockerd: Engine) -> None:
    replies = []
    for each in (engine, dockerd):
        with each.api() as api:
            made = api.create(Image="base", Cmd=["true"], HostConfig={"ReadonlyRootfs": True})
            words = urlencode({"path": "/tmp"})
            body = layer([member("x", b"")])
            replies.append(api.raw("PUT", f"/containers/{made}/archive?{words}", body, TAR))
            api.remove(made)
    ours, theirs = replies
    assert refused(ours, engine, 403) == refused(theirs, dockerd, 403)


def test_the_command_copies_both_ways(engine: Engine, tmp_path: Path) -> None:
    with engine.api() as api:
        made = api.run("sleep", "1000")
        try:
            (tmp_path / "in").mkdir()
            (tmp_path / "in" / "file").write_text("through")
            engine.docker("cp", str(tmp_path / "in"), f"{made}:/there")
            engine.docker("cp", f"{made}:/there/file", str(tmp_path / "out"))
            assert (tmp_path / "out").read_text() == "through"
            engine.docker("cp", "-L", f"{made}:/there/.", str(tmp_path / "all"))
            assert (tmp_path / "all" / "file").read_text() == "through"
            assert "A /there/file" in engine.docker("diff", made).stdout
            failed = engine.docker("cp", f"{made}:/none", str(tmp_path), check=False)
            assert failed.returncode == 1
            assert "Could not find the file /none in container" in failed.stderr
        finally:
            api.remove(made)
