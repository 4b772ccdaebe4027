"""The lifecycle of a container as one table: every state, and every legal move from it.

A verb announces what it does (`Move`) and the table says what the container is afterwards;
nobody assigns a status. Pure: `ledger` writes the outcome down.

An intent is on record while something is being done, so that the next daemon knows what its
predecessor did not live to finish: a started container keeps its old state until it runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import msgspec

from aiod.errors import ConflictError
from aiod.store.records import Intent, RunState, Status


class Move(Enum):
    """What happens to a container, in the words of an error message."""

    BEGIN_START = "begin to start"
    START = "start"
    FAIL_START = "fail to start"
    UNDO_START = "undo the start"
    SIGNAL = "signal"
    NOTE = "note"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    BEGIN_STOP = "begin to stop"
    END_STOP = "finish the stop"
    EXIT = "exit"
    EXIT_TO_RETRY = "exit, to be started again"
    RETRY = "wait for another start"
    GIVE_UP = "give up the next start"
    BEGIN_REMOVE = "begin to remove"
    REMOVE = "remove"


class IllegalMoveError(ConflictError):
    """The container is in a state from which this cannot happen."""


@dataclass(frozen=True, slots=True)
class Rule:
    """From which states a move leads where, and the intent it leaves; None for the one before."""

    leads: Mapping[Status, Status]
    intent: Intent | None = None


def _staying(*states: Status) -> dict[Status, Status]:
    return {state: state for state in states}


def _to(target: Status, *states: Status) -> dict[Status, Status]:
    return dict.fromkeys(states, target)


_RESTING = (Status.CREATED, Status.EXITED, Status.RESTARTING)
_UP = (Status.RUNNING, Status.PAUSED)

RULES: Mapping[Move, Rule] = {
    Move.BEGIN_START: Rule(_staying(*_RESTING), Intent.START),
    Move.START: Rule(_to(Status.RUNNING, *_RESTING), Intent.NONE),
    Move.FAIL_START: Rule(
        {**_staying(Status.CREATED, Status.EXITED), Status.RESTARTING: Status.EXITED}, Intent.NONE
    ),
    Move.UNDO_START: Rule(_staying(*_RESTING), Intent.NONE),
    Move.SIGNAL: Rule(_staying(*_UP)),
    Move.NOTE: Rule(_staying(*Status)),
    Move.PAUSE: Rule({Status.RUNNING: Status.PAUSED}),
    Move.UNPAUSE: Rule({Status.PAUSED: Status.RUNNING}),
    Move.BEGIN_STOP: Rule(_staying(*_UP), Intent.STOP),
    Move.END_STOP: Rule(_staying(Status.EXITED), Intent.NONE),
    Move.EXIT: Rule(_to(Status.EXITED, *_UP)),
    Move.EXIT_TO_RETRY: Rule(_to(Status.RESTARTING, *_UP), Intent.NONE),
    Move.RETRY: Rule({Status.EXITED: Status.RESTARTING}, Intent.NONE),
    Move.GIVE_UP: Rule({Status.RESTARTING: Status.EXITED}, Intent.NONE),
    Move.BEGIN_REMOVE: Rule(_staying(*Status), Intent.REMOVE),
    Move.REMOVE: Rule(_to(Status.REMOVING, *_RESTING, Status.DEAD, Status.REMOVING)),
}


def moved(state: RunState, move: Move, **changes: object) -> RunState:
    """`state` after `move`, with further `changes`.

    Raises IllegalMoveError naming the state and the operation.
    """
    if changes.keys() & {"status", "intent"}:
        raise TypeError("a status or an intent is the outcome of a move")
    rule = RULES[move]
    target = rule.leads.get(state.status)
    if target is None:
        raise IllegalMoveError(f"cannot {move.value}: the container is {state.status.value}")
    intent = state.intent if rule.intent is None else rule.intent
    return msgspec.structs.replace(state, **changes, status=target, intent=intent)
