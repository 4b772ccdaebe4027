"""The reconcile table: what a starting daemon does about each container, as data.

A case is what the record says, and what `/run` and `/proc` say. Rows are tried in order and
the first that fits decides; together they cover every case. Pure; `containers.reconcile`
looks at the world and carries the actions out.
"""

from dataclasses import dataclass
from enum import Enum


class Recorded(Enum):
    """What the database says."""

    NONE = "no record"
    IDLE = "not running"
    STARTING = "being started"
    RUNNING = "running"
    REMOVING = "being removed"


class Seen(Enum):
    """What the kernel says of a process that a state file names, by pid and start time."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "no usable state file"


class ExitFile(Enum):
    """What is in `exit.json`."""

    PRESENT = "present"
    ABSENT = "absent"
    DAMAGED = "damaged"


class Boot(Enum):
    """Whether the host was restarted since the record was written."""

    SAME = "same"
    OTHER = "other"


class Action(Enum):
    """What is done."""

    REATTACH = "watch it on"
    TAKE_EXIT = "record the exit in the file, release the shim"
    END_LOST = "end what is left of it; record 137, exit unknown"
    END_REBOOTED = "record 255, exit unknown: the host was restarted"
    UNDO_START = "end what is left of the start; it did not happen"
    SWEEP = "end what is left, clean the run directory"
    REMOVE = "finish the removal"


@dataclass(frozen=True, slots=True)
class Case:
    """One container as it was found."""

    recorded: Recorded
    shim: Seen
    init: Seen
    exit_file: ExitFile
    boot: Boot


@dataclass(frozen=True, slots=True)
class Row:
    """A set of cases; None stands for any value."""

    title: str
    action: Action
    recorded: tuple[Recorded, ...] | None = None
    shim: Seen | None = None
    init: Seen | None = None
    exit_file: ExitFile | None = None
    boot: Boot | None = None

    def fits(self, case: Case) -> bool:
        """Whether `case` is one of the row's."""
        return (
            (self.recorded is None or case.recorded in self.recorded)
            and self.shim in (None, case.shim)
            and self.init in (None, case.init)
            and self.exit_file in (None, case.exit_file)
            and self.boot in (None, case.boot)
        )


_UP = (Recorded.RUNNING, Recorded.STARTING)

TABLE: tuple[Row, ...] = (
    Row("a removal was begun", Action.REMOVE, recorded=(Recorded.REMOVING,)),
    Row("nobody owns it", Action.SWEEP, recorded=(Recorded.NONE,)),
    Row("it had ended, the shim was not released", Action.SWEEP, recorded=(Recorded.IDLE,)),
    Row(
        "the host was restarted while it ran",
        Action.END_REBOOTED,
        recorded=(Recorded.RUNNING,),
        boot=Boot.OTHER,
    ),
    Row(
        "the host was restarted during its start",
        Action.UNDO_START,
        recorded=(Recorded.STARTING,),
        boot=Boot.OTHER,
    ),
    Row("it ended meanwhile", Action.TAKE_EXIT, recorded=_UP, exit_file=ExitFile.PRESENT),
    Row("it runs", Action.REATTACH, recorded=_UP, shim=Seen.ALIVE, init=Seen.ALIVE),
    Row(
        "it has ended and its shim is about to say so",
        Action.REATTACH,
        recorded=_UP,
        shim=Seen.ALIVE,
        init=Seen.DEAD,
        exit_file=ExitFile.ABSENT,
    ),
    Row("the start never came to a process", Action.UNDO_START, recorded=(Recorded.STARTING,)),
    Row(
        "its shim died, or its files are damaged: it may not run unsupervised",
        Action.END_LOST,
        recorded=(Recorded.RUNNING,),
    ),
)


def decide(case: Case) -> Row:
    """The row that decides `case`."""
    return next(row for row in TABLE if row.fits(case))
