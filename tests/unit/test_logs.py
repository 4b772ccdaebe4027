"""A container's log as its readers see it: formats, damage, rotation, selection."""

import asyncio
import json
import random
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from aiod.containers import logs
from aiod.containers.logfiles import LogFiles
from aiod.containers.logformats import FORMATS, JsonLines, LocalFrames, LogEntry
from aiod.containers.options import LogOptions

JSON, LOCAL = JsonLines(), LocalFrames()
Encode = Callable[[LogEntry], bytes]


def json_line(entry: LogEntry) -> bytes:
    seconds, fraction = divmod(entry.time_ns, 10**9)
    stamp = f"2026-01-01T00:00:{seconds:02}.{fraction:09}Z"
    stream = "stdout" if entry.stream == 1 else "stderr"
    return (
        json.dumps({"log": entry.data.decode(), "stream": stream, "time": stamp}).encode() + b"\n"
    )


def local_frame(entry: LogEntry) -> bytes:
    partial = not entry.data.endswith(b"\n")
    data = entry.data if partial else entry.data[:-1]
    fixed = bytes((entry.stream, partial)) + (START + entry.time_ns).to_bytes(8, "big")
    length = (len(fixed) + len(data)).to_bytes(4, "big")
    return length + fixed + data + length


START = 1767225600 * 10**9  # 2026-01-01 in UTC
ENCODERS: dict[str, Encode] = {"json-file": json_line, "local": local_frame}


def entry(number: int, stream: int = 1) -> LogEntry:
    return LogEntry(stream, number * 10**9, f"line {number}\n".encode())


def shown(number: int, stream: int = 1) -> LogEntry:
    """The entry as a reader gives it."""
    return LogEntry(stream, START + number * 10**9, f"line {number}\n".encode())


@pytest.mark.parametrize("driver", ENCODERS)
def test_records_are_read_wherever_a_block_ends(driver: str) -> None:
    data = b"".join(ENCODERS[driver](entry(n, 1 + n % 2)) for n in range(5))
    wanted = [shown(n, 1 + n % 2) for n in range(5)]
    for place in range(len(data) + 1):
        first, rest = FORMATS[driver].split(data[:place])
        second, left = FORMATS[driver].split(rest + data[place:])
        assert (first + second, left) == (wanted, b"")


def test_json_times_and_escapes() -> None:
    line = b'{"log":"\\u003ca\\ufffd\\n","stream":"stderr","time":"2026-01-01T00:00:01.5Z"}\n'
    assert JSON.split(line)[0] == [LogEntry(2, START + 1_500_000_000, "<a\ufffd\n".encode())]
    whole = b'{"log":"x","stream":"stdout","time":"2026-01-01T00:00:00Z"}\n'
    assert JSON.split(whole)[0] == [LogEntry(1, START, b"x")]


@pytest.mark.parametrize(
    "damage",
    [
        b"\0" * 100,
        b'{"log":"half',
        b"{}",
        b'{"log":"x","stream":"stdlog","time":"2026-01-01T00:00:00Z"}',
        b'{"log":"x","stream":"stdout","time":"yesterday"}',
        b'{"log":1,"stream":"stdout","time":"2026-01-01T00:00:00Z"}',
    ],
)
def test_a_damaged_line_hides_no_other(damage: bytes) -> None:
    data = json_line(entry(1)) + damage + b"\n" + json_line(entry(2))
    assert JSON.split(data) == ([shown(1), shown(2)], b"")


@pytest.mark.parametrize("cut", range(1, 26))
def test_a_local_record_that_was_cut_hides_no_other(cut: int) -> None:
    frame = local_frame(entry(1))
    data = local_frame(entry(0)) + frame[:cut] + local_frame(entry(10)) + local_frame(entry(11))
    found, _ = LOCAL.split(data)
    assert found[0] == shown(0)
    assert found[-2:] == [shown(10), shown(11)]


def test_a_local_length_beyond_reason_is_passed_over() -> None:
    data = b"\xff" * 40 + local_frame(entry(1))
    assert LOCAL.split(data) == ([shown(1)], b"")


@pytest.mark.parametrize("driver", ENCODERS)
@pytest.mark.parametrize("count", [0, 1, 3, 50, 1000])
@pytest.mark.parametrize("torn", [b"", b'{"log":"half', b"\0\0\0\x30\1\0"])
def test_tail(tmp_path: Path, driver: str, count: int, torn: bytes) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(ENCODERS[driver](entry(n)) for n in range(50)) + torn)
    found = everything(LogFiles(log, FORMATS[driver], tail=count, follow=False))
    assert found == [shown(n) for n in range(50)][-count or 50 :]


def test_tail_of_lines_longer_than_a_block(tmp_path: Path) -> None:
    log = tmp_path / "log"
    long = [LogEntry(1, n, bytes([97 + n]) * 100_000 + b"\n") for n in range(5)]
    log.write_bytes(b"".join(map(json_line, long)))
    found = everything(LogFiles(log, JSON, tail=2, follow=False))
    assert [one.data[:1] for one in found] == [b"d", b"e"]


def everything(files: LogFiles) -> list[LogEntry]:
    found: list[LogEntry] = []
    while (more := files.take()) is not None:
        found += more
    files.close()
    return found


class Writer:
    """What the shim does to the files, a step at a time."""

    def __init__(self, log: Path, encode: Encode, kept: int) -> None:
        self.log, self.encode, self.kept = log, encode, kept
        self.count = 0
        log.write_bytes(b"")

    def write(self) -> None:
        record = self.encode(entry(self.count % 60))
        with self.log.open("ab") as file:
            file.write(record[:5])
            file.flush()
            file.write(record[5:])
        self.count += 1

    def rotate(self) -> list[Callable[[], None]]:
        """The steps of a rotation."""
        names = [self.log, *(Path(f"{self.log}.{n}") for n in range(1, self.kept))]
        pairs = list(pairwise(names))[::-1]
        steps: list[Callable[[], None]] = [partial(_move, *pair) for pair in pairs]
        if self.kept == 1:
            steps = [partial(self.log.unlink)]
        return [*steps, partial(self.log.touch)]


def _move(source: Path, target: Path) -> None:
    if source.exists():
        source.rename(target)


@pytest.mark.parametrize("driver", ENCODERS)
@pytest.mark.parametrize("seed", range(30))
def test_follow_over_rotations_without_gap_or_repeat(
    tmp_path: Path, driver: str, seed: int
) -> None:
    """A reader that looks between any two steps of the writer's sees every record once."""
    chance = random.Random(seed)
    writer = Writer(tmp_path / "log", ENCODERS[driver], kept=6)
    for _ in range(chance.randrange(3)):
        writer.write()
        for step in writer.rotate():
            step()
    files = LogFiles(tmp_path / "log", FORMATS[driver], tail=None, follow=True)
    found: list[LogEntry] = []
    unseen = 0  # rotations since the last look: more than are kept, and records are lost for good

    def look() -> None:
        nonlocal unseen
        while chance.random() < 0.8 and (more := files.take()) is not None:
            found.extend(more)
            unseen = 0

    for _ in range(60):
        for _ in range(chance.randrange(4)):
            writer.write()
            look()
        if chance.random() < 0.4 and unseen < 2:
            unseen += 1
            for step in writer.rotate():
                step()
                look()
    while (more := files.take()) is not None:
        found += more
    files.close()
    assert found == [shown(n % 60) for n in range(writer.count)]


def test_one_file_only_is_followed_to_its_end(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "log", json_line, kept=1)
    files = LogFiles(tmp_path / "log", JSON, tail=None, follow=True)
    found: list[LogEntry] = []
    for _ in range(5):
        writer.write()
        for step in writer.rotate():
            step()
        while (more := files.take()) is not None:
            found += more
    files.close()
    assert found == [shown(n) for n in range(5)]


def test_without_follow_it_ends_where_it_ended(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(json_line(entry(1)))
    files = LogFiles(log, JSON, tail=None, follow=False)
    log.write_bytes(json_line(entry(1)) + json_line(entry(2)))
    assert everything(files) == [shown(1)]


def test_a_log_that_is_not_there_yet(tmp_path: Path) -> None:
    log = tmp_path / "log"
    files = LogFiles(log, JSON, tail=5, follow=True)
    assert files.take() is None
    log.write_bytes(json_line(entry(1)))
    assert files.take() == [shown(1)]
    files.close()


async def collected(log: Path, **options: object) -> list[LogEntry]:
    ended = asyncio.Event()
    ended.set()
    asked = LogOptions(**{"stdout": True, "stderr": True, **options})  # type: ignore[arg-type]
    return [entry async for page in logs.read(log, asked, ended) for entry in page]


async def test_selection(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(json_line(entry(n, 1 + n % 2)) for n in range(10)))
    assert await collected(log, stderr=False) == [shown(n) for n in range(0, 10, 2)]
    since = {"since_ns": START + 7 * 10**9, "until_ns": START + 8 * 10**9}
    assert await collected(log, **since) == [shown(7, 2), shown(8)]
    # As in Docker, tail counts what is in the log, whatever of it is asked for.
    assert await collected(log, tail=3, stdout=False) == [shown(7, 2), shown(9, 2)]
    assert await collected(log, tail=0) == []
    assert await collected(log, follow=True, tail=1) == [shown(9, 2)]
    assert await collected(tmp_path / "none", follow=True) == []


async def test_follow_ends_with_until(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(json_line(entry(1)))
    options = LogOptions(stdout=True, stderr=True, follow=True, until_ns=START + 10**10)
    async with asyncio.timeout(10):
        assert [page async for page in logs.read(log, options, asyncio.Event())] == [[shown(1)]]
