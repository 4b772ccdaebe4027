"""What a build's context holds: files as they are, owned by root, without what is ignored."""

import asyncio
import io
import os
import socket
import tarfile
from pathlib import Path

import pytest

from aiod.cli import buildcontext, contexttar
from aiod.cli.errors import CliError
from aiod.wire import dockerignore


def _members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: member for member in tar}


def _packed(root: Path, ignore: str = "") -> dict[str, tarfile.TarInfo]:
    return _members(b"".join(contexttar.packed(root, dockerignore.parse(ignore), {})))


def _opened(source: str, file: str | None = None) -> tuple[dict[str, tarfile.TarInfo], str]:
    async def collect() -> tuple[bytes, str]:
        context = await buildcontext.opened(source, file)
        return b"".join([piece async for piece in context.pieces]), context.dockerfile

    data, dockerfile = asyncio.run(collect())
    return _members(data), dockerfile


def test_every_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir(mode=0o750)
    (tmp_path / "d" / "f").write_bytes(b"x" * 1000)
    (tmp_path / "d" / "f").chmod(0o4711)
    (tmp_path / "e").hardlink_to(tmp_path / "d" / "f")
    (tmp_path / "l").symlink_to("nowhere")
    os.mkfifo(tmp_path / "p")
    os.utime(tmp_path / "d" / "f", (1.5, 1000.75))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        found = _packed(tmp_path)
    assert list(found) == ["d", "d/f", "e", "l", "p"]
    assert (found["d"].isdir(), found["d"].mode) == (True, 0o750)
    file = found["d/f"]
    assert (file.size, file.mode, file.mtime, file.uid, file.gid) == (1000, 0o4711, 1000, 0, 0)
    assert (found["e"].islnk(), found["e"].linkname) == (True, "d/f")
    assert (found["l"].issym(), found["l"].linkname) == (True, "nowhere")
    assert found["p"].isfifo()


def test_names_of_any_bytes_and_length(tmp_path: Path) -> None:
    names = ["ä" * 100, "x" * 200, os.fsdecode(b"\xff\xfe")]
    for name in names:
        (tmp_path / name).touch()
    assert set(_packed(tmp_path)) == set(names)


def test_ignored_files_stay_out_and_exceptions_go_in(tmp_path: Path) -> None:
    for name in ("a/b/keep", "a/b/drop", "c/drop", "top"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list(_packed(tmp_path, "a\nc\n!a/b/keep")) == ["a/b/keep", "top"]


def test_file_that_shrinks_while_it_is_read_leaves_a_sound_tar(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(bytes(1 << 20))
    pieces = contexttar.packed(tmp_path, dockerignore.Ignore(), {})
    begun = next(pieces)
    file.write_bytes(b"")
    assert _members(begun + b"".join(pieces))["f"].size == 1 << 20


def test_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").touch()
    monkeypatch.setattr(os, "open", _denied)
    with pytest.raises(CliError, match="f: Permission denied"):
        _packed(tmp_path)


def _denied(path: Path, *_: object) -> int:
    raise PermissionError(13, "Permission denied", str(path))


def test_dockerfile_in_the_context(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "Other").write_text("FROM base\n")
    (tmp_path / ".dockerignore").write_text("*\n")
    members, dockerfile = _opened(str(tmp_path), str(tmp_path / "sub" / "Other"))
    assert dockerfile == "sub/Other"
    assert set(members) == {".dockerignore", "sub/Other"}


def test_dockerfiles_own_ignore_file_comes_first(tmp_path: Path) -> None:
    for name in ("Dockerfile", "a", "b"):
        (tmp_path / name).touch()
    (tmp_path / ".dockerignore").write_text("a\n")
    (tmp_path / "Dockerfile.dockerignore").write_text("b\n*.dockerignore")
    members, _ = _opened(str(tmp_path))
    assert set(members) == {".dockerignore", "Dockerfile", "Dockerfile.dockerignore", "a"}


@pytest.mark.parametrize("name", ["Dockerfile", "context/link"])
def test_dockerfile_outside_the_context_goes_along(tmp_path: Path, name: str) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / ".dockerignore").write_text("*\n")
    (tmp_path / "Dockerfile").write_text("FROM base\n")
    (tmp_path / "context" / "link").symlink_to("../Dockerfile")
    members, dockerfile = _opened(str(tmp_path / "context"), str(tmp_path / name))
    assert dockerfile.startswith(".dockerfile.")
    assert members[dockerfile].size == len("FROM base\n")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("absent", "absent: No such directory"),
        ("file", "file: Not a directory"),
        ("empty", "Dockerfile: No such file"),
        ("https://example.org/x.git", "not supported by aiod yet"),
    ],
)
def test_what_is_no_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, words: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CliError, match=words):
        _opened(source)


def test_broken_ignore_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").touch()
    (tmp_path / ".dockerignore").write_text("[")
    with pytest.raises(CliError, match=r"\.dockerignore: syntax error"):
        _opened(str(tmp_path))
