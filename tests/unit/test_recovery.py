"""The reconcile table: it decides every possible case, and each row decides some."""

from itertools import product

import pytest

from aiod.tasks.recovery import (
    TABLE,
    Action,
    Boot,
    Case,
    ExitFile,
    Recorded,
    Row,
    Seen,
    decide,
)

CASES = [Case(*values) for values in product(Recorded, Seen, Seen, ExitFile, Boot)]
DECIDED = {case: decide(case) for case in CASES}


def deciding(action: Action) -> list[Case]:
    return [case for case, row in DECIDED.items() if row.action is action]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.title)
def test_every_row_decides_some_case(row: Row) -> None:
    assert [case for case, found in DECIDED.items() if found is row]


def test_titles_name_one_row_each() -> None:
    assert len({row.title for row in TABLE}) == len(TABLE)


def test_no_running_container_is_left_alone() -> None:
    """A live init is watched on, or ended: never forgotten and never unsupervised."""
    for case, row in DECIDED.items():
        if case.init is Seen.ALIVE and row.action is Action.REATTACH:
            assert case.shim is Seen.ALIVE


def test_an_exit_on_disk_is_believed_over_everything_but_a_reboot() -> None:
    for case, row in DECIDED.items():
        up = case.recorded in (Recorded.RUNNING, Recorded.STARTING)
        if up and case.boot is Boot.SAME and case.exit_file is ExitFile.PRESENT:
            assert row.action is Action.TAKE_EXIT, case


def test_only_an_exit_on_disk_is_known() -> None:
    assert all(case.exit_file is ExitFile.PRESENT for case in deciding(Action.TAKE_EXIT))


def test_pids_from_before_a_reboot_mean_nothing() -> None:
    assert all(case.boot is Boot.SAME for case in deciding(Action.REATTACH))


def test_a_start_that_was_not_recorded_never_counts_as_a_lost_run() -> None:
    assert all(case.recorded is Recorded.RUNNING for case in deciding(Action.END_LOST))


def test_a_removal_goes_on_whatever_is_there() -> None:
    for case, row in DECIDED.items():
        assert (case.recorded is Recorded.REMOVING) is (row.action is Action.REMOVE)


def test_without_a_record_everything_goes() -> None:
    for case, row in DECIDED.items():
        if case.recorded in (Recorded.NONE, Recorded.IDLE):
            assert row.action is Action.SWEEP
