"""Small files made in one go."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiod.native.file import make_file

OWNER = (os.getuid(), os.getgid())


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("data", [b"", b"content", bytes(3 << 20)])
@pytest.mark.parametrize("mtime_ns", [0, -1_500_000_000, 1_600_000_000_123_456_789])
def test_all_that_was_asked_for(directory: int, tmp_path: Path, data: bytes, mtime_ns: int) -> None:
    inode = make_file(directory, b"f", data, OWNER, 0o4751, mtime_ns)
    status = (tmp_path / "f").stat()
    assert (tmp_path / "f").read_bytes() == data
    assert (status.st_ino, status.st_mode & 0o7777, status.st_mtime_ns) == (inode, 0o4751, mtime_ns)
    assert (status.st_uid, status.st_gid) == OWNER


def test_nothing_that_is_there_is_touched_or_followed(directory: int, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")
    (tmp_path / "l").symlink_to("elsewhere")
    for name in (b"f", b"l"):
        with pytest.raises(FileExistsError):
            make_file(directory, name, b"new", OWNER, 0o644, 0)
    assert (tmp_path / "f").read_text() == "old"
    assert not (tmp_path / "elsewhere").exists()


def test_what_the_kernel_says_is_raised(directory: int) -> None:
    with pytest.raises(FileNotFoundError):
        make_file(directory, b"no/f", b"", OWNER, 0o644, 0)
    with pytest.raises(OSError, match="too long"):
        make_file(directory, b"n" * 300, b"", OWNER, 0o644, 0)
    with pytest.raises(OverflowError):
        make_file(directory, b"f", b"", OWNER, 0o644, 1 << 100)
