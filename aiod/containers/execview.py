"""An exec in the Engine API's words. Pure."""

import msgspec

from aiod.store.records import ExecRecord


class Executed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was asked to be executed."""

    tty: bool
    entrypoint: str
    arguments: list[str]
    privileged: bool
    user: str = ""


class ExecInspect(msgspec.Struct, frozen=True):
    """The answer of `GET /exec/{id}/json`."""

    ID: str
    Running: bool
    ExitCode: int | None
    ProcessConfig: Executed
    OpenStdin: bool
    OpenStderr: bool
    OpenStdout: bool
    CanRemove: bool
    ContainerID: str
    DetachKeys: str
    Pid: int


def inspected(record: ExecRecord) -> ExecInspect:
    """The view of a record."""
    config = record.config
    command = config.Cmd or [""]
    running = record.status == "running"
    return ExecInspect(
        record.id,
        running,
        record.exit_code,
        Executed(config.Tty, command[0], command[1:], config.Privileged, config.User),
        config.AttachStdin,
        config.AttachStderr,
        config.AttachStdout,
        False,
        record.container_id,
        config.DetachKeys,
        record.pid if running else 0,
    )
