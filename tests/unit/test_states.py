"""The lifecycle's table: what may happen in which state, and what a container is afterwards."""

import pytest

from aiod.containers.states import RULES, IllegalMoveError, Move, moved
from aiod.store.records import Intent, RunState, Status

LIFE = [
    (Move.BEGIN_START, Status.CREATED, Intent.START),
    (Move.START, Status.RUNNING, Intent.NONE),
    (Move.PAUSE, Status.PAUSED, Intent.NONE),
    (Move.UNPAUSE, Status.RUNNING, Intent.NONE),
    (Move.SIGNAL, Status.RUNNING, Intent.NONE),
    (Move.EXIT_TO_RETRY, Status.RESTARTING, Intent.NONE),
    (Move.BEGIN_START, Status.RESTARTING, Intent.START),
    (Move.UNDO_START, Status.RESTARTING, Intent.NONE),
    (Move.BEGIN_START, Status.RESTARTING, Intent.START),
    (Move.START, Status.RUNNING, Intent.NONE),
    (Move.BEGIN_STOP, Status.RUNNING, Intent.STOP),
    (Move.EXIT, Status.EXITED, Intent.STOP),
    (Move.END_STOP, Status.EXITED, Intent.NONE),
    (Move.RETRY, Status.RESTARTING, Intent.NONE),
    (Move.GIVE_UP, Status.EXITED, Intent.NONE),
    (Move.BEGIN_START, Status.EXITED, Intent.START),
    (Move.FAIL_START, Status.EXITED, Intent.NONE),
    (Move.NOTE, Status.EXITED, Intent.NONE),
    (Move.BEGIN_REMOVE, Status.EXITED, Intent.REMOVE),
    (Move.REMOVE, Status.REMOVING, Intent.REMOVE),
]


def test_a_whole_life() -> None:
    state = RunState()
    for move, status, intent in LIFE:
        state = moved(state, move)
        assert (state.status, state.intent) == (status, intent), move
    assert {move for move, _, _ in LIFE} == set(Move)


def test_every_move_has_a_rule() -> None:
    assert set(RULES) == set(Move)


@pytest.mark.parametrize(
    ("status", "move"),
    [
        (Status.CREATED, Move.PAUSE),
        (Status.EXITED, Move.BEGIN_STOP),
        (Status.EXITED, Move.EXIT),
        (Status.RESTARTING, Move.EXIT),
        (Status.RUNNING, Move.BEGIN_START),
        (Status.RUNNING, Move.REMOVE),
        (Status.PAUSED, Move.PAUSE),
        (Status.REMOVING, Move.BEGIN_START),
        (Status.REMOVING, Move.START),
    ],
)
def test_an_illegal_move_names_state_and_operation(status: Status, move: Move) -> None:
    with pytest.raises(IllegalMoveError, match=f"cannot {move.value}: .* {status.value}$"):
        moved(RunState(status), move)


def test_nobody_assigns_a_status() -> None:
    with pytest.raises(TypeError):
        moved(RunState(), Move.NOTE, status=Status.DEAD)
    with pytest.raises(TypeError):
        moved(RunState(), Move.NOTE, intent=Intent.REMOVE)


def test_other_fields_change_with_the_move() -> None:
    state = moved(RunState(exit_code=3), Move.BEGIN_START, restart_count=2)
    assert (state.exit_code, state.restart_count) == (3, 2)


@pytest.mark.parametrize("status", Status)
def test_whatever_it_is_it_can_be_removed(status: Status) -> None:
    """By force: what runs is ended first."""
    state = moved(RunState(status), Move.BEGIN_REMOVE)
    if status in (Status.RUNNING, Status.PAUSED):
        state = moved(state, Move.EXIT)
    assert moved(state, Move.REMOVE).status is Status.REMOVING
