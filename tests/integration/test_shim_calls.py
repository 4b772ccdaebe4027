"""The calls of shim.proto on a real shim, with no daemon beside it."""

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
from grpclib.const import Status as Code
from grpclib.exceptions import GRPCError

from aiod.native import spec
from aiod.shim import execs, protocol
from aiod.shim.proto.aiod.shim.v1 import (
    CreateRequest,
    Empty,
    ExecRequest,
    KillRequest,
    ResizeRequest,
    StartRequest,
    StateRequest,
    StateResponse,
    Status,
    UpdateRequest,
    WaitRequest,
)
from aiod.tasks.shim_client import SpawnError, read_state
from tests.support.containers import ENV, extract
from tests.support.engine import eventually
from tests.support.processes import Identity, command_line, pss_kib, read_proc, wait_gone
from tests.support.shims import Made, Shims, shims_in

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and mounts")

FOREVER = ("sleep", "100000")


@pytest.fixture(scope="module")
def lower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extract(tmp_path_factory.mktemp("busybox"))


@pytest.fixture
def base(scratch: Path) -> Iterator[Path]:
    """A short path: a socket's address has 108 bytes."""
    with tempfile.TemporaryDirectory(dir=scratch, prefix="h") as made:
        yield Path(made)


@pytest.fixture
async def shims(base: Path, lower: Path) -> AsyncIterator[Shims]:
    async with shims_in(base, lower) as shims:
        yield shims


def process(*args: str) -> bytes:
    return msgspec.json.encode(spec.Process(args=args, env=ENV))


async def run_exec(made: Made, exec_id: str, *args: str) -> None:
    await made.stub.exec(ExecRequest(exec_id=exec_id, process=process(*args)))
    await made.stub.start(StartRequest(exec_id=exec_id))


async def state(made: Made, exec_id: str = "") -> StateResponse:
    return await made.stub.state(StateRequest(exec_id=exec_id))


async def kill(made: Made, number: int, *, everything: bool = False, exec_id: str = "") -> None:
    await made.stub.kill(KillRequest(signal=number, all=everything, exec_id=exec_id))


async def refused(made: Made, step: str, call: object) -> protocol.SpawnReply:
    """The reason in a refusal of `call`, an awaitable."""
    with pytest.raises(GRPCError) as caught:
        await call  # type: ignore[misc]
    assert caught.value.status is Code.FAILED_PRECONDITION, caught.value
    told = msgspec.json.decode(caught.value.message or "", type=protocol.SpawnReply)
    assert step in f"{told.step}: {told.message}"
    return told


async def test_state_tells_who_it_is_and_how_it_ended(shims: Shims) -> None:
    made = await shims.make("sh", "-c", "read x; exit 7", open_stdin=True)
    running = await state(made)
    assert (running.protocol, running.id, running.status) == (1, "c1", Status.RUNNING)
    assert (running.pid, running.start_time) == (made.init.pid, made.init.start_time)
    assert (running.stdin_open, running.terminal, running.exit) == (True, False, None)
    assert running.started_at_ns == made.spawned.started_at_ns
    attached = await made.client.attach("", stdin=True, stdout=True, stderr=True)
    await attached.write(b"\n")
    ended = await made.stub.wait(WaitRequest())
    await attached.close()
    assert (ended.exit_code, ended.signal, ended.oom_killed) == (7, 0, False)
    after = await state(made)
    assert (after.status, after.exit) == (Status.EXITED, ended)
    record = read_state(made.directory).exit
    assert record is not None
    assert (record.exit_code, record.exited_at_ns) == (7, ended.exited_at_ns)


async def test_create_is_idempotent_and_start_comes_later(shims: Shims) -> None:
    made = await shims.make("sh", "-c", "echo once", start=False)
    first = await made.stub.create(CreateRequest())
    again = await made.stub.create(CreateRequest())
    assert first == again
    assert (first.status, first.started_at_ns) == (Status.CREATED, 0)
    assert read_state(made.directory).init is None
    started = await made.stub.start(StartRequest())
    assert started.started_at_ns > 0
    assert (await made.stub.wait(WaitRequest())).exit_code == 0
    assert made.log.read_text().count('"log":"once\\n"') == 1
    await refused(made, "has ended", made.stub.start(StartRequest()))


async def test_a_late_start_names_the_command_that_is_not_there(shims: Shims) -> None:
    # The program passes the search at the making and is gone at the start.
    made = await shims.make("/bin/true", start=False)
    (Path(f"/proc/{made.init.pid}/root") / "bin/true").unlink()
    told = await refused(made, "true", made.stub.start(StartRequest()))
    assert (told.kind, told.errno) == ("not-found", 2)
    assert (await made.stub.wait(WaitRequest())).exit_code != 0


async def test_wait_of_many_and_after_the_end(shims: Shims) -> None:
    made = await shims.make(*FOREVER)
    await run_exec(made, "e1", *FOREVER)
    waits = [asyncio.ensure_future(made.stub.wait(WaitRequest(exec_id=e))) for e in ("", "", "e1")]
    await kill(made, signal.SIGUSR1, exec_id="e1")
    assert (await waits[2]).exit_code == 128 + signal.SIGUSR1
    assert not waits[0].done()
    await kill(made, signal.SIGKILL)
    ended = await asyncio.gather(*waits[:2])
    assert {(e.exit_code, e.signal) for e in ended} == {(137, 9)}
    assert await made.stub.wait(WaitRequest()) == ended[0]
    assert (await made.stub.wait(WaitRequest(exec_id="e1"))).exit_code == 128 + signal.SIGUSR1


async def test_unknown_processes(shims: Shims) -> None:
    made = await shims.make(*FOREVER)
    calls = (
        made.stub.state(StateRequest(exec_id="no")),
        made.stub.wait(WaitRequest(exec_id="no")),
        made.stub.start(StartRequest(exec_id="no")),
        made.stub.kill(KillRequest(exec_id="no", signal=9)),
        made.stub.resize(ResizeRequest(exec_id="no", width=1, height=1)),
    )
    for call in calls:
        with pytest.raises(GRPCError) as caught:
            await call
        assert caught.value.status is Code.NOT_FOUND
    await refused(made, "invalid exec id", made.stub.state(StateRequest(exec_id="../init")))
    asked = ExecRequest(exec_id="../../x", process=process("true"))
    await refused(made, "invalid exec id", made.stub.exec(asked))
    await refused(made, "exec", made.stub.exec(ExecRequest(exec_id="e", process=b"{")))
    with pytest.raises(GRPCError) as caught:
        await kill(made, 65000)
    assert caught.value.status is Code.INVALID_ARGUMENT
    assert (await state(made)).execs == []


async def test_an_exec_id_is_used_once_at_a_time(shims: Shims) -> None:
    made = await shims.make(*FOREVER)
    await run_exec(made, "e1", *FOREVER)
    asked = ExecRequest(exec_id="e1", process=process(*FOREVER))
    await refused(made, "exists", made.stub.exec(asked))
    assert (await state(made)).execs == ["e1"]


async def test_kill_all_reaches_every_process(shims: Shims) -> None:
    made = await shims.make(
        "sh", "-c", "trap : USR1; sleep 100000 & sleep 100001 & wait; wait; wait; exec sleep 100002"
    )
    await run_exec(made, "e1", *FOREVER)
    listed = (await made.stub.processes(Empty())).pids
    assert made.init.pid in listed
    while len(listed) < 4:
        listed = (await made.stub.processes(Empty())).pids
    others = [Identity.of(pid) for pid in listed if pid != made.init.pid]
    for other in others:  # what a shell was not yet replaced by would take the signal for its own
        await asyncio.to_thread(
            eventually, lambda o=other: command_line(o.pid), lambda line: line.startswith("sleep ")
        )
    await kill(made, signal.SIGUSR1, everything=True)
    for other in others:
        await asyncio.to_thread(wait_gone, other)
    await kill(made, signal.SIGKILL, everything=True)
    assert (await made.stub.wait(WaitRequest())).signal in (0, 9)


async def test_finished_process_refuses(shims: Shims) -> None:
    made = await shims.make("true")
    await made.exit()
    assert (await state(made)).status is Status.EXITED
    calls = (
        made.stub.kill(KillRequest(signal=9)),
        made.stub.exec(ExecRequest(exec_id="e", process=process("true"))),
        made.stub.pause(Empty()),
        made.stub.resume(Empty()),
        made.stub.stats(Empty()),
        made.stub.processes(Empty()),
        made.stub.update(UpdateRequest(resources=b"{}")),
    )
    for call in calls:
        await refused(made, "has ended", call)


async def test_pause_and_resume(shims: Shims) -> None:
    made = await shims.make("sh", "-c", "while :; do echo x; sleep 0.01; done")
    await refused(made, "not paused", made.stub.resume(Empty()))
    await made.stub.pause(Empty())
    assert (await state(made)).status is Status.PAUSED
    await refused(made, "paused", made.stub.pause(Empty()))
    asked = ExecRequest(exec_id="e", process=process("true"))
    await refused(made, "paused", made.stub.exec(asked))
    attached = await made.client.attach("", stdin=False, stdout=True, stderr=False)
    await made.stub.resume(Empty())
    assert (await state(made)).status is Status.RUNNING
    async with asyncio.timeout(10):
        assert (await attached.read() or b"")[8:].startswith(b"x")
    await attached.close()


async def test_sigkill_ends_a_paused_container(shims: Shims) -> None:
    made = await shims.make(*FOREVER)
    await made.stub.pause(Empty())
    await kill(made, signal.SIGKILL)
    assert (await made.stub.wait(WaitRequest())).exit_code == 137


async def test_update_and_stats(shims: Shims) -> None:
    made = await shims.make(*FOREVER, resources=spec.Resources(pids=spec.Pids(100)))
    stats = msgspec.json.decode((await made.stub.stats(Empty())).stats)
    assert stats["pids"]["pids.max"].strip() == "100"
    assert int(stats["pids"]["pids.current"]) == 1
    changed = spec.Resources(pids=spec.Pids(50))
    await made.stub.update(UpdateRequest(resources=msgspec.json.encode(changed)))
    stats = msgspec.json.decode((await made.stub.stats(Empty())).stats)
    assert stats["pids"]["pids.max"].strip() == "50"
    with pytest.raises(GRPCError) as caught:
        await made.stub.update(UpdateRequest(resources=b'{"pids":{"limit":"many"}}'))
    assert caught.value.status is Code.INVALID_ARGUMENT


async def test_delete_and_shutdown_wait_for_the_end(shims: Shims) -> None:
    made = await shims.make(*FOREVER)
    await refused(made, "has not ended", made.stub.delete(Empty()))
    await refused(made, "has not ended", made.stub.shutdown(Empty()))
    await kill(made, signal.SIGTERM)  # the first of a pid namespace has no default action
    assert (await state(made)).status is Status.RUNNING
    await kill(made, signal.SIGKILL)
    await made.stub.wait(WaitRequest())
    assert (await made.stub.delete(Empty())).exit_code == 137
    await made.stub.shutdown(Empty())
    await asyncio.to_thread(wait_gone, made.shim)


async def test_hundreds_of_execs_leave_nothing(shims: Shims) -> None:
    made = await shims.make(*FOREVER)

    async def many(first: int, count: int) -> None:
        for number in range(first, first + count):
            await run_exec(made, f"e{number}", "true")
            await shims.exec_ended("c1", f"e{number}")

    await many(0, 100)
    descriptors = len(os.listdir(f"/proc/{made.shim.pid}/fd"))
    memory = pss_kib(made.shim.pid)
    await many(100, 400)
    await asyncio.to_thread(
        eventually, lambda: len(os.listdir(f"/proc/{made.shim.pid}/fd")),
        lambda now: now <= descriptors + 2,
    )  # fmt: skip
    assert pss_kib(made.shim.pid) < memory + 2048
    assert len(os.listdir(made.directory / protocol.EXECS_DIRECTORY)) <= execs.KEPT
    assert (await state(made)).execs == []
    assert (await state(made, "e499")).exit.exit_code == 0  # type: ignore[union-attr]
    assert (await made.stub.processes(Empty())).pids == [made.init.pid]


async def test_an_idle_shim_costs_little(shims: Shims) -> None:
    """Measured as what is its own: what it shares with the template counts once for all."""
    made = await shims.make(*FOREVER)
    lines = read_proc(made.shim.pid, "smaps_rollup").splitlines()
    sizes = {line.split()[0]: int(line.split()[1]) for line in lines[1:]}
    assert sizes["Private_Dirty:"] + sizes["Private_Clean:"] < 512


async def test_failures_name_the_step_and_leave_nothing(shims: Shims) -> None:
    with pytest.raises(SpawnError) as caught:
        await shims.make("no-such-command")
    assert (caught.value.kind, caught.value.errno) == ("not-found", 2)
    with pytest.raises(SpawnError, match="open log"):
        await shims.make("true", log={"path": "/no/such/directory/log"})
    with pytest.raises(SpawnError, match="no log driver 'splunk'"):
        await shims.make("true", log={"driver": "splunk"})
    directory = shims.describe("true")
    (directory / protocol.CONFIG_FILE).write_bytes(b'{"process":')
    with pytest.raises(SpawnError):
        await shims.template.spawn(directory)
    (directory / protocol.REQUEST_FILE).write_bytes(b"")
    with pytest.raises(SpawnError):
        await shims.template.spawn(directory)
    assert shims.leftovers() == []


@pytest.fixture
def small(base: Path) -> Iterator[Path]:
    """A small file system of its own."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "small", base], check=True)
    yield base
    subprocess.run(["umount", base], check=True)


async def test_a_full_disk_delays_the_exit_and_costs_an_exec_only(small: Path, lower: Path) -> None:
    """What the shim cannot write it does not invent, and it does not end for it."""
    async with shims_in(small, lower) as shims:
        made = await shims.make("sh", "-c", "read x; exit 7", open_stdin=True)
        await run_exec(made, "e1", *FOREVER)
        attached = await made.client.attach("", stdin=True, stdout=True, stderr=True)
        filler = filled(small)
        await refused(made, "No space left", run_exec(made, "e2", *FOREVER))
        await kill(made, signal.SIGKILL, exec_id="e1")
        await shims.exec_ended("c1", "e1")
        assert (await state(made)).status is Status.RUNNING
        await attached.write(b"\n")
        await asyncio.to_thread(wait_gone, made.init)
        assert not made.noticed.is_set()
        filler.unlink()
        assert (await made.exit()).exit_code == 7
        await attached.close()


def filled(directory: Path) -> Path:
    """Leave not one free block."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    assert os.statvfs(directory).f_bavail == 0
    return filler
