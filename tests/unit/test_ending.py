"""What a run's end makes of the record, and what is seen of a run by the next daemon."""

import os
from pathlib import Path

import msgspec
import pytest

from aiod.containers import mountrequests
from aiod.containers.ending import ending
from aiod.containers.mountplan import make_sources
from aiod.containers.reconcile import case_of
from aiod.containers.states import Move
from aiod.native import proc
from aiod.shim import protocol
from aiod.store.models import ContainerConfig, HostConfig, NetworkingConfig, RestartSettings
from aiod.store.records import ContainerRecord, EventRecord, Intent, RunState, Status
from aiod.tasks.recovery import Boot, Case, ExitFile, Recorded, Seen
from aiod.tasks.shim_client import ShimFiles

SECOND = 10**9
BOOT = "this-boot"
US = (os.getpid(), proc.start_time(os.getpid()))
RUN = RunState(Status.RUNNING, started_ns=100 * SECOND, boot_id=BOOT)
NOTHING = ShimFiles(None, None, None, exit_damaged=False, problems=())
EXIT = protocol.ExitRecord(3, None, False, 101 * SECOND, 100 * SECOND)


def record(state: RunState, policy: str = "no") -> ContainerRecord:
    host = HostConfig(RestartPolicy=RestartSettings(policy, 0))
    return ContainerRecord(
        "c", "n", 1, "i", "i", "sh", (), ContainerConfig(), host, NetworkingConfig(),
        "none", (), "h", "", state,
    )  # fmt: skip


def actions(events: tuple[str | EventRecord, ...]) -> list[str]:
    return [e if isinstance(e, str) else e.action for e in events]


def test_an_exit_is_recorded_as_the_shim_saw_it() -> None:
    change = ending(record(RUN), EXIT, known=True)
    assert change.move is Move.EXIT
    assert actions(change.events) == ["die"]
    assert change.fields["exit_code"] == 3
    assert change.fields["finished_ns"] == 101 * SECOND
    assert change.fields["exit_known"] is True


def test_memory_that_ran_out_is_told_before_the_end() -> None:
    change = ending(record(RUN), msgspec.structs.replace(EXIT, oom_killed=True), known=True)
    assert actions(change.events) == ["oom", "die"]


def test_a_restart_is_counted_with_the_end_that_calls_for_it() -> None:
    change = ending(
        record(msgspec.structs.replace(RUN, restart_count=2), "always"), EXIT, known=True
    )
    assert change.fields["restart_count"] == 3


def test_a_policy_is_asked_with_what_is_on_record_now() -> None:
    """A stop that was recorded in time keeps it from being started again."""
    assert ending(record(RUN, "always"), EXIT, known=True).move is Move.EXIT_TO_RETRY
    stopped = msgspec.structs.replace(RUN, intent=Intent.STOP, manually_stopped=True)
    assert ending(record(stopped, "always"), EXIT, known=True).move is Move.EXIT


@pytest.mark.parametrize(
    ("state", "recorded"),
    [
        (RunState(), Recorded.IDLE),
        (RunState(Status.EXITED), Recorded.IDLE),
        (RunState(Status.RESTARTING), Recorded.IDLE),
        (RunState(Status.EXITED, Intent.STOP), Recorded.IDLE),
        (RunState(Status.CREATED, Intent.START), Recorded.STARTING),
        (RunState(Status.RESTARTING, Intent.START), Recorded.STARTING),
        (RunState(Status.RUNNING), Recorded.RUNNING),
        (RunState(Status.PAUSED, Intent.STOP), Recorded.RUNNING),
        (RunState(Status.RUNNING, Intent.REMOVE), Recorded.REMOVING),
        (RunState(Status.REMOVING), Recorded.REMOVING),
    ],
)
def test_what_the_record_says(state: RunState, recorded: Recorded) -> None:
    assert case_of(state, NOTHING, BOOT).recorded is recorded


def test_a_running_containers_processes_are_those_on_record() -> None:
    """Whatever the files say, which anyone may have damaged."""
    pid, start = US
    state = msgspec.structs.replace(
        RUN, pid=pid, pid_start=start, shim_pid=pid, shim_start=start + 1
    )
    found = case_of(state, NOTHING, BOOT)
    assert found == Case(Recorded.RUNNING, Seen.DEAD, Seen.ALIVE, ExitFile.ABSENT, Boot.SAME)


def test_a_starting_containers_processes_are_those_in_the_files() -> None:
    pid, start = US
    files = ShimFiles(
        protocol.ShimState(pid, start), protocol.InitState(pid, start + 1), EXIT,
        exit_damaged=False, problems=(),
    )  # fmt: skip
    found = case_of(RunState(intent=Intent.START, boot_id="another"), files, BOOT)
    assert found == Case(Recorded.STARTING, Seen.ALIVE, Seen.DEAD, ExitFile.PRESENT, Boot.OTHER)


def test_a_damaged_exit_record_is_none() -> None:
    files = ShimFiles(None, None, None, exit_damaged=True, problems=("exit.json: no",))
    assert case_of(RUN, files, BOOT).exit_file is ExitFile.DAMAGED


def test_missing_sources_of_binds_are_made(tmp_path: Path) -> None:
    there, link = tmp_path / "file", tmp_path / "link"
    there.write_text("kept")
    link.symlink_to("nowhere")
    missing = tmp_path / "a" / "b"
    binds = [f"{there}:/x", f"{missing}:/y:ro", f"{link}:/z"]
    make_sources(request.point for request in mountrequests.binds(HostConfig(Binds=binds)))
    assert there.read_text() == "kept"
    assert missing.is_dir()
    assert link.is_symlink()
    assert not link.exists()
