"""Digests of trees: every difference shows, and how a file came or is stored does not."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from aiod.images.trees import CHUNK, ContentSum, digest, file_sum


def whole(data: bytes) -> int:
    total = ContentSum()
    total.update(0, data)
    return total.value()


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
def test_pieces_make_no_difference(size: int, tmp_path: Path) -> None:
    rng = random.Random(size)
    data = rng.randbytes(size // 2) + bytes(size - size // 2)
    total, position = ContentSum(), 0
    while position < size:
        piece = data[position : position + rng.randrange(1, CHUNK)]
        total.update(position, piece)
        position += len(piece)
    (tmp_path / "f").write_bytes(data)
    assert total.value() == whole(data) == file_sum(os.fsencode(tmp_path / "f"), lambda: None)


def test_holes_are_zeros_and_take_no_time(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with path.open("wb") as file:
        file.truncate(1 << 42)
        file.seek((1 << 41) + 5)
        file.write(b"here")
    total = ContentSum()
    total.update((1 << 41) + 5, b"here")
    assert file_sum(os.fsencode(path), lambda: None) == total.value()
    other = ContentSum()
    other.update((1 << 41) + 5 + CHUNK, b"here")
    assert other.value() != total.value()


def test_zeros_before_and_after_count_for_nothing_but_their_place() -> None:
    assert whole(b"\0a") == whole(b"\0a\0") != whole(b"a")


def make(root: Path) -> None:
    (root / "d").mkdir(parents=True)
    (root / "d/f").write_bytes(b"content")
    os.link(root / "d/f", root / "g")
    (root / "l").symlink_to("d")
    for path in (root / "d/f", root / "d", root):
        os.utime(path, (1, 1))
    os.utime(root / "l", (1, 1), follow_symlinks=False)


def _rot(root: Path) -> None:
    (root / "d/f").write_bytes(b"c0ntent")
    os.utime(root / "d/f", (1, 1))


def _relink(root: Path) -> None:
    (root / "g").unlink()
    (root / "g").write_bytes(b"content")
    os.utime(root / "g", (1, 1))
    os.utime(root, (1, 1))


CHANGES: list[Callable[[Path], object]] = [
    _rot,
    _relink,
    lambda root: (root / "d/f").chmod(0o600),
    lambda root: os.utime(root / "g", (1, 2)),
    lambda root: os.setxattr(root / "d", "user.x", b""),
    lambda root: (root / "d").rename(root / "e"),
    lambda root: (root / "new").touch(),
]


@pytest.mark.parametrize("change", CHANGES)
def test_every_difference_shows(change: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "a")
    make(tmp_path / "b")
    assert digest(str(tmp_path / "a")) == digest(str(tmp_path / "b"))
    change(tmp_path / "b")
    assert digest(str(tmp_path / "a")) != digest(str(tmp_path / "b"))
