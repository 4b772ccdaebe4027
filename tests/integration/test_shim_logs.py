"""Logs as a real shim writes them, read while they are written."""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from aiod.containers import logs
from aiod.containers.logformats import FORMATS, LogEntry
from aiod.containers.options import LogOptions
from aiod.shim import protocol
from aiod.shim.proto.aiod.shim.v1 import KillRequest, StateRequest
from aiod.tasks.shim_streams import JoinedStream
from aiod.wire.frames import Decoder
from tests.support.containers import extract
from tests.support.engine import eventually
from tests.support.shims import Made, Shims, shims_in

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and mounts")

ALL = LogOptions(stdout=True, stderr=True)


@pytest.fixture(scope="module")
def lower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extract(tmp_path_factory.mktemp("busybox"))


@pytest.fixture
async def shims(scratch: Path, lower: Path) -> AsyncIterator[Shims]:
    with tempfile.TemporaryDirectory(dir=scratch, prefix="l") as base:
        async with shims_in(Path(base), lower) as shims:
            yield shims


@pytest.fixture
def small_disk(scratch: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    with tempfile.TemporaryDirectory(dir=scratch, prefix="d") as made:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "small", made], check=True)
        try:
            yield Path(made)
        finally:
            subprocess.run(["umount", "-l", made], check=True)


async def read(made: Made, driver: str = "json-file", options: LogOptions = ALL) -> list[LogEntry]:
    ended = asyncio.Event()
    ended.set()
    return [e async for page in logs.read(made.log, options, ended, driver) for e in page]


async def logged(made: Made, lines: int, driver: str) -> None:
    """Until so many lines are in the log."""
    follow = LogOptions(stdout=True, stderr=True, follow=True)
    async with asyncio.timeout(30):
        async with contextlib.aclosing(
            logs.read(made.log, follow, asyncio.Event(), driver)
        ) as pages:
            found = 0
            async for page in pages:
                found += len(page)
                if found >= lines:
                    return


async def printed(shims: Shims, script: str, **log: object) -> list[LogEntry]:
    """What is in the log of a container that ran `script`."""
    made = await shims.make("sh", "-c", script, log=log)
    assert (await made.exit()).exit_code == 0
    return await read(made, str(log.get("driver", "json-file")))


@pytest.mark.parametrize("driver", FORMATS)
async def test_lines_streams_and_a_last_line_without_end(shims: Shims, driver: str) -> None:
    script = "echo one; read x; echo two >&2; read x; echo; printf three"
    made = await shims.make("sh", "-c", script, open_stdin=True, log={"driver": driver})
    attached = await made.client.attach("", stdin=True, stdout=False, stderr=False)
    for lines in (1, 2):  # of two pipes nobody says which was written to first
        await logged(made, lines, driver)
        await attached.write(b"\n")
    assert (await made.exit()).exit_code == 0
    await attached.close()
    found = await read(made, driver)
    assert [(e.stream, e.data) for e in found] == [
        (1, b"one\n"), (2, b"two\n"), (1, b"\n"), (1, b"three")
    ]  # fmt: skip
    assert sorted(e.time_ns for e in found) == [e.time_ns for e in found]


@pytest.mark.parametrize("driver", FORMATS)
async def test_a_long_line_is_cut_as_docker_cuts_it(shims: Shims, driver: str) -> None:
    script = "head -c 40000 /dev/zero | tr '\\0' x; echo; echo next"
    found = await printed(shims, script, driver=driver)
    assert [len(e.data) for e in found] == [16384, 16384, 40000 - 32768 + 1, 5]
    assert len({e.time_ns for e in found[:3]}) == 1
    assert b"".join(e.data for e in found) == b"x" * 40000 + b"\nnext\n"


async def test_what_is_no_utf8_is_replaced_in_json_and_kept_in_local(shims: Shims) -> None:
    script = "printf 'a\\377\\303\\251\\000<\\342\\200\\250\\n'"
    (found,) = await printed(shims, script)
    assert found.data == "a\ufffd\u00e9\0<\u2028\n".encode()
    (found,) = await printed(shims, script, driver="local")
    assert found.data == b"a\xff\xc3\xa9\0<\xe2\x80\xa8\n"


async def test_none_keeps_nothing(shims: Shims) -> None:
    made = await shims.make("sh", "-c", "echo x", log={"driver": "none"})
    assert (await made.exit()).exit_code == 0
    assert not made.log.exists()


@pytest.mark.parametrize("driver", FORMATS)
async def test_rotation_keeps_so_many_files(shims: Shims, driver: str) -> None:
    script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done"
    limits = {"driver": driver, "max_size": 10_000, "max_file": 3}
    found = await printed(shims, script, **limits)
    files = sorted(one.name for one in made_logs(shims))
    assert files == ["log", "log.1", "log.2"]
    assert all(one.stat().st_size <= 10_000 + 200 for one in made_logs(shims))
    last = [int(e.data.split()[1]) for e in found]
    assert last == list(range(last[0], 3000))
    assert len(last) > 100


def made_logs(shims: Shims) -> list[Path]:
    return [one for one in shims.base.glob("*/log*") if one.is_file()]


@pytest.mark.parametrize("driver", FORMATS)
async def test_follow_while_it_rotates(shims: Shims, driver: str) -> None:
    """At the reader's pace, which is never more than three files behind."""
    script = (
        "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); "
        "[ $((i % 50)) = 0 ] && read x; done; exit 0"
    )
    limits = {"driver": driver, "max_size": 2500, "max_file": 4}
    made = await shims.make("sh", "-c", script, open_stdin=True, log=limits)
    attached = await made.client.attach("", stdin=True, stdout=False, stderr=False)
    follow = LogOptions(stdout=True, stderr=True, follow=True)
    ended = asyncio.Event()
    found: list[bytes] = []

    async def reader() -> None:
        async for page in logs.read(made.log, follow, ended, driver):
            for entry in page:
                found.append(entry.data)
                if len(found) % 50 == 0:
                    await attached.write(b"\n")

    async with asyncio.timeout(60), asyncio.TaskGroup() as both:
        both.create_task(reader())
        await made.exit()
        ended.set()
    await attached.close()
    assert found == [b"line %d\n" % n for n in range(400)]
    assert (made.directory / "log.3").exists()


@pytest.mark.parametrize("driver", FORMATS)
async def test_a_full_disk_blocks_no_container(shims: Shims, small_disk: Path, driver: str) -> None:
    script = "trap 'echo again; exit 5' USR1; i=0; read x; "
    script += "while [ $i -lt 4000 ]; do echo line number $i; i=$((i+1)); done; "
    script += "while :; do sleep 0.05; done"
    log = {"driver": driver, "path": str(small_disk / "log")}
    made = await shims.make("sh", "-c", script, open_stdin=True, log=log)
    attached = await made.client.attach("", stdin=True, stdout=True, stderr=False)
    await attached.write(b"\n")
    decoder, seen = Decoder(), b""
    while not seen.endswith(b"\nline number 3999\n"):  # it is told what the log was told before
        data = await attached.read()
        assert data is not None
        seen += b"".join(frame.data for frame in decoder.feed(data))
    await attached.close()
    state = await made.stub.state(StateRequest())
    assert state.log_lost_bytes > 0
    first, rest = FORMATS[driver].split((small_disk / "log").read_bytes())
    numbers = [int(e.data.removeprefix(b"line number ")) for e in first]
    assert (rest, numbers) == (b"", sorted(set(numbers)))
    assert numbers[:500] == list(range(500))
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    await made.stub.kill(KillRequest(signal=signal.SIGUSR1))
    assert (await made.exit()).exit_code == 5
    after, rest = FORMATS[driver].split((small_disk / "log").read_bytes())
    assert (rest, after[-1].data) == (b"", b"again\n")
    assert after[: len(first)] == first


@pytest.mark.parametrize("driver", FORMATS)
async def test_a_log_that_a_crash_has_cut_goes_on(shims: Shims, driver: str) -> None:
    directory = shims.describe("sh", "-c", "echo after", log={"driver": driver})
    log = directory / "log"
    first = await shims.spawn(directory)
    await first.exit()
    before = log.read_bytes()
    log.write_bytes(before + before[: len(before) // 2])
    await asyncio.to_thread(shims.release, first)
    second = await shims.spawn(directory)
    await second.exit()
    assert [e.data for e in await read(second, driver)] == [b"after\n", b"after\n"]


@pytest.mark.parametrize("way", ["socket", "call"])
async def test_a_slow_reader_stalls_nobody(shims: Shims, way: str) -> None:
    """The container writes 20 MiB and ends while an attached client has read nothing.

    The same where the shim could make no socket for streams, and they are messages of a call.
    """
    script = "read x; dd if=/dev/zero bs=64k count=320 2>/dev/null; exit 3"
    made = await shims.make("sh", "-c", script, open_stdin=True, log={"driver": "none"})
    await made.stub.state(StateRequest())
    if way == "call":
        (made.directory / protocol.STREAMS_FILE).unlink()
    attached = await made.client.attach("", stdin=True, stdout=True, stderr=False)
    assert isinstance(attached, JoinedStream) is (way == "socket")
    await attached.write(b"\n")
    assert (await made.exit()).exit_code == 3
    decoder, size = Decoder(), 0
    while data := await attached.read():
        size += sum(len(frame.data) for frame in decoder.feed(data))
    await attached.close()
    assert (size, decoder.pending) == (320 * 65536, 0)


@pytest.mark.parametrize("way", ["socket", "call"])
async def test_what_a_client_sent_before_it_left_arrives(shims: Shims, way: str) -> None:
    script = "sleep 0.2; head -c 50000 | sha256sum; exec sleep 1000"
    made = await shims.make("sh", "-c", script, open_stdin=True, stdin_once=True)
    await made.stub.state(StateRequest())
    if way == "call":
        (made.directory / protocol.STREAMS_FILE).unlink()
    attached = await made.client.attach("", stdin=True, stdout=False, stderr=False)
    data = os.urandom(50000)
    await attached.write(data)
    await attached.close()
    told = hashlib.sha256(data).hexdigest()
    await asyncio.to_thread(eventually, made.log.read_text, lambda log: told in log)


async def test_nobody_reads_and_nobody_blocks(shims: Shims) -> None:
    """No daemon, no client: output goes to the log and the container ends."""
    script = (
        "i=0; while [ $i -lt 300 ]; do head -c 1000 /dev/zero | tr '\\0' y; echo; i=$((i+1)); done"
    )
    made = await shims.make("sh", "-c", script)
    assert (await made.exit()).exit_code == 0
    lines = [json.loads(line) for line in made.log.read_text().splitlines()]
    assert [len(line["log"]) for line in lines] == [1001] * 300
