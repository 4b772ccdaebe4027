"""Volumes by themselves: rules, filters, options, content, and what removals leave."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from aiod.config import Paths
from aiod.containers import layered
from aiod.errors import ConflictError, InternalError, InvalidParameterError, NotFoundError
from aiod.store.database import Database
from aiod.store.records import EventRecord, VolumeRecord
from aiod.store.volumes import VolumeRepository
from aiod.volumes import copyup, mounting, rules, selection
from aiod.volumes.model import Request
from aiod.volumes.service import VolumeService


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = Paths(tmp_path / "r", tmp_path / "s")
    made.volumes.mkdir(parents=True)
    return made


@pytest_asyncio.fixture
async def database(paths: Paths) -> AsyncIterator[Database]:
    opened = await Database.open(paths.database)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def volumes(paths: Paths, database: Database) -> VolumeService:
    service = VolumeService(paths, VolumeRepository(database))
    await service.start()
    return service


def content(target: Path) -> None:
    """What an image has in a volume's place."""
    target.mkdir(0o750)
    (target / "file").write_text("of the image")
    (target / "sub").mkdir()


async def failing(work: AbstractAsyncContextManager[Any]) -> None:
    """Whoever is at work fails at it."""
    async with work:
        raise ZeroDivisionError


@pytest.mark.parametrize("name", ["ab", "a.b", "A_-1", "a" * 250])
def test_names(name: str) -> None:
    rules.check_name(name)


@pytest.mark.parametrize("name", ["", "a", ".a", "a/b", "a b", "-a", "a\n", "ä1", "a" * 251])
def test_no_names(name: str) -> None:
    with pytest.raises(InvalidParameterError):
        rules.check_name(name)


def test_every_letter_of_a_size_is_understood() -> None:
    rules.check_options("ab", {"size": "0"})
    for size in ("1", "1.5g", "10MiB", "3 kb"):
        with pytest.raises(InvalidParameterError, match="no quota support"):
            rules.check_options("ab", {"size": size})


RECORDS = [
    VolumeRecord("named", 1, labels={"a": "b"}),
    VolumeRecord("used", 2, labels={"a": "c"}),
    VolumeRecord("unnamed", 3, labels={rules.ANONYMOUS: ""}),
]


@pytest.mark.parametrize(
    ("filters", "named", "names"),
    [
        ({}, False, ["unnamed"]),
        ({}, True, ["named", "unnamed"]),
        ({"all": ["true"]}, False, ["named", "unnamed"]),
        ({"all": ["1"], "label": ["a=b"]}, False, ["named"]),
        ({"all": ["1"], "label!": ["a"]}, False, ["unnamed"]),
        ({"all": ["false"], "label": ["a"]}, False, []),
    ],
)
def test_what_a_prune_takes(filters: dict[str, list[str]], named: bool, names: list[str]) -> None:
    found = selection.prunable(RECORDS, filters, {"used"}, named=named)
    assert [record.name for record in found] == names


def test_a_pattern_that_could_take_for_ever_is_refused() -> None:
    with pytest.raises(InvalidParameterError):
        selection.select(RECORDS, {"name": ["(a+)+$"]}, set())
    assert selection.select(RECORDS, {"name": ["["]}, set()) == []


@pytest.mark.parametrize(
    ("words", "parsed"),
    [
        ("", (0, "", 0)),
        ("bind,ro", (0x1001, "", 0)),
        ("ro,rw,nosuid,size=1m,uid=5", (2, "size=1m,uid=5", 0)),
        ("rbind,rshared", (0x5000, "", (1 << 20) | 0x4000)),
        ("addr=1.2.3.4,vers=4", (0, "addr=1.2.3.4,vers=4", 0)),
    ],
)
def test_words_of_mount(words: str, parsed: tuple[int, str, int]) -> None:
    assert mounting.parse(words) == parsed


def test_the_name_of_a_server_becomes_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def refused(kind: str, device: str, words: str, target: Path) -> int:
        seen.append((kind, words))
        return 111

    monkeypatch.setattr(mounting, "_in_process", refused)
    for kind, device, words in (
        ("nfs", ":/x", "addr=localhost,rw"),
        ("nfs", ":/x", "vers=4,addr=10.0.0.1"),
        ("cifs", "//localhost/x", "password=p"),
    ):
        with pytest.raises(InternalError, match="connection refused") as told:
            mounting.mount({"type": kind, "device": device, "o": words}, Path("/t"))
        assert "password=p" not in told.value.message
    assert seen == [
        ("nfs", "addr=127.0.0.1,rw"),
        ("nfs", "vers=4,addr=10.0.0.1"),
        ("cifs", "password=p,addr=127.0.0.1"),
    ]


async def test_a_volume_is_made_once(volumes: VolumeService, paths: Paths) -> None:
    made = await asyncio.gather(*(volumes.create("one") for _ in range(5)))
    assert len({record.created_ns for record in made}) == 1
    assert os.listdir(paths.volumes) == ["one"]
    assert paths.volume("one").stat().st_mode & 0o7777 == 0o755


async def test_what_was_refused_leaves_nothing(volumes: VolumeService, paths: Paths) -> None:
    wrong = (("a/b", "", None), ("ab", "other", None), ("ab", "", {"no": "option"}))
    for name, driver, options in wrong:
        with pytest.raises((InvalidParameterError, NotFoundError)):
            await volumes.create(name, driver, options)
    assert os.listdir(paths.volumes) == []
    assert volumes.list({}) == []


async def test_who_fails_to_record_leaves_nothing(volumes: VolumeService, paths: Paths) -> None:
    with pytest.raises(ZeroDivisionError):
        await failing(volumes.ready((Request("one", fill=content),)))
    assert os.listdir(paths.volumes) == []


async def test_an_empty_volume_is_filled_once(volumes: VolumeService, paths: Paths) -> None:
    await volumes.create("one")
    place = paths.volume("one")
    async with volumes.ready((Request("one", fill=content),)) as made:
        assert made == []
    assert sorted(os.listdir(place)) == ["file", "sub"]
    assert place.stat().st_mode & 0o7777 == 0o750
    (place / "file").write_text("mine")
    async with volumes.ready((Request("one", fill=content),)):
        pass
    assert (place / "file").read_text() == "mine"


async def test_content_that_cannot_be_copied_is_none(volumes: VolumeService, paths: Paths) -> None:
    def half(target: Path) -> None:
        content(target)
        raise OSError(28, "No space left on device")

    await volumes.create("one")
    for name in ("one", "two"):
        with pytest.raises(InternalError, match="No space left on device"):
            async with volumes.ready((Request(name, fill=half),)):
                pass
    assert os.listdir(paths.volume("one")) == []
    assert os.listdir(paths.volumes) == ["one"]


async def test_a_volume_in_use_stays(volumes: VolumeService) -> None:
    await volumes.create("one")
    volumes.references = lambda: {"one": ["c1", "c2"]}
    with pytest.raises(ConflictError, match=r"remove one: volume is in use - \[c1, c2\]"):
        await volumes.remove("one", force=True)
    volumes.references = dict
    async with volumes.ready((Request("one"),)):
        with pytest.raises(ConflictError):
            await volumes.remove("one")
    await volumes.remove("one")
    await volumes.remove("one", force=True)
    with pytest.raises(NotFoundError, match="get one: no such volume"):
        await volumes.remove("one")


class FullDisk(VolumeRepository):
    """Takes everything but the end of a removal."""

    async def delete(self, names: Iterable[str], events: Iterable[EventRecord]) -> None:
        raise InternalError("database: disk full")


async def test_a_removal_that_cannot_be_recorded_takes_nothing(
    database: Database, paths: Paths
) -> None:
    volumes = VolumeService(paths, FullDisk(database))
    await volumes.create("one")
    (paths.volume("one") / "file").touch()
    with pytest.raises(InternalError):
        await volumes.remove("one")
    assert [record.name for record in volumes.list({})] == ["one"]
    assert (paths.volume("one") / "file").exists()
    assert (await VolumeRepository(database).load_all()).removing == []


async def test_what_goes_with_a_container(volumes: VolumeService, paths: Paths) -> None:
    for name in ("mine", "shared"):
        await volumes.create(name)
    volumes.references = lambda: {"mine": ["c1"], "shared": ["c1", "c2"]}
    with pytest.raises(ZeroDivisionError):
        await failing(volumes.leaving(("mine", "shared"), "c1"))
    assert sorted(os.listdir(paths.volumes)) == ["mine", "shared"]
    async with volumes.leaving(("mine", "shared", "gone"), "c1") as leaving:
        assert list(leaving) == ["mine"]
        assert os.listdir(paths.volumes) != ["mine", "shared"]
    assert os.listdir(paths.volumes) == ["shared"]
    assert [record.name for record in volumes.list({})] == ["shared"]


async def test_a_prune_counts_what_is_free_again(volumes: VolumeService, paths: Paths) -> None:
    made = await volumes.create("")
    (paths.volume(made.name) / "file").write_bytes(b"x" * 1000)
    os.link(paths.volume(made.name) / "file", paths.volume(made.name) / "same")
    assert await volumes.usage(made.name) == 1000
    report = await volumes.prune({})
    assert (report.deleted, report.reclaimed) == ((made.name,), 1000)


async def test_a_daemon_finishes_what_another_was_at(database: Database, paths: Paths) -> None:
    repository = VolumeRepository(database)
    records = [VolumeRecord(name, 1) for name in ("staged", "lost", "going", "half", "whole")]
    await repository.insert(records, ())
    await repository.begin_removal(("going",))
    for place in (
        ".new-staged/_data",
        ".new-nobody/_data",
        ".gone-0/_data",
        "going/_data",
        "half/_data/.aiod-copy-partial",
        "whole/_data/.aiod-copy-whole",
        "other/_data",
    ):
        (paths.volumes / place).mkdir(parents=True)
        (paths.volumes / place / "file").touch()
    volumes = VolumeService(paths, repository)
    await volumes.start()
    assert sorted(os.listdir(paths.volumes)) == ["half", "lost", "other", "staged", "whole"]
    found = {name: os.listdir(paths.volume(name)) for name in os.listdir(paths.volumes)}
    assert found == {
        "half": [], "lost": [], "other": ["file"], "staged": ["file"], "whole": ["file"],
    }  # fmt: skip
    assert [record.name for record in volumes.list({})] == ["half", "lost", "staged", "whole"]
    assert (await repository.load_all()).removing == []


async def test_a_broken_record_hides_no_other(database: Database, paths: Paths) -> None:
    repository = VolumeRepository(database)
    await repository.insert([VolumeRecord("good", 1), VolumeRecord("bad", 1)], ())

    async def damage(connection: object) -> None:
        await connection.execute("UPDATE volumes SET document = '{' WHERE name = 'bad'")  # type: ignore[attr-defined]

    await database.transact(damage)
    volumes = VolumeService(paths, repository)
    await volumes.start()
    assert [record.name for record in volumes.list({})] == ["good"]
    with pytest.raises(ConflictError):
        await volumes.create("bad")


def test_directories_of_a_stack(tmp_path: Path) -> None:
    upper, lower = tmp_path / "upper", tmp_path / "lower"
    for place in ("upper/a", "lower/a/b", "lower/c"):
        (tmp_path / place).mkdir(parents=True)
    (lower / "link").symlink_to("/../c/../a")
    (lower / "file").touch()
    stack = [tmp_path / "absent", upper, lower]
    assert layered.directories(stack, "/a") == [upper / "a", lower / "a"]
    assert layered.directories(stack, "/link/b/") == [lower / "a" / "b"]
    assert layered.directories(stack, "/a/no") == []
    for path in ("/file", "/file/below"):
        with pytest.raises(NotADirectoryError):
            layered.directories(stack, path)


def test_a_copy_is_finished_by_whoever_finds_it(tmp_path: Path) -> None:
    copyup.fill(tmp_path, content)
    assert not copyup.is_empty(tmp_path)
    copyup.finish(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["file", "sub"]
