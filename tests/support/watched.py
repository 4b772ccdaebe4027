"""`python -m tests.support.watched serve ...`: aiod that tells when its event loop is blocked.

Every blocking call made while the loop runs is written to the daemon's log with the place it
was made at; `assert_never_blocked` fails on them. Nothing behaves otherwise.
"""

import shutil  # noqa: F401 (before os is watched: once imported, it knows what os can do)
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blockbuster import BlockBuster
from blockbuster.blockbuster import BlockBusterFunction

_MARK = "BLOCKED "
# What may block, and why: the file's end, and the functions in it.
_ALLOWED = (
    ("native/proc.py", "_read"),  # of /proc: from the kernel's memory
    ("native/capabilities.py", "known"),
    ("native/capabilities.py", "held"),
    ("containers/resources.py", "_has_weights"),  # of sysfs
    ("native/cgroups.py", "detect_layout"),
    ("tasks/shim_client.py", "start"),  # once, before anybody is served
    ("importlib._bootstrap>", "_find_and_load"),  # each module once
    ("importlib._bootstrap_external>", "get_data"),
    ("logging/__init__.py", "emit"),  # one line to a pipe or the journal
)


def assert_never_blocked(log: Path) -> None:
    """Nothing blocked the loop of the daemon whose log this is."""
    lines = log.read_text(errors="replace").splitlines()
    found = sorted({line for line in lines if line.startswith(_MARK)})
    assert not found, "\n".join(found)


def _is_allowed(stack: traceback.StackSummary, function: BlockBusterFunction) -> bool:
    rules = [*_ALLOWED, *((end, f) for end, names in function.can_block_functions for f in names)]
    return any(
        frame.filename.endswith(end) and frame.name == name
        for frame in stack
        for end, name in rules
    )


def _watch(function: BlockBusterFunction) -> None:
    cannot_block: Callable[..., bool] = function.can_block_predicate

    def reported(*arguments: Any, **named: Any) -> bool:
        if not cannot_block(*arguments, **named):
            stack = traceback.extract_stack()
            if not _is_allowed(stack, function):
                _report(function.full_name, stack)
        return True

    function.can_block_predicate = reported


def _report(name: str, stack: traceback.StackSummary) -> None:
    ours = [
        f"{f.filename.rpartition('/aiod/')[2]}:{f.lineno}" for f in stack if "/aiod/" in f.filename
    ]
    place = " < ".join(reversed(ours[-4:])) or f"{stack[-4].filename}:{stack[-4].lineno}"
    sys.stderr.write(f"{_MARK}{name} at {place}\n")


def activate() -> None:
    """Report from now on."""
    blocker = BlockBuster()
    for function in blocker.functions.values():
        _watch(function)
    blocker.activate()


def main() -> None:
    """Be aiod, watched."""
    from aiod.cli import main as aiod

    activate()
    aiod()


if __name__ == "__main__":
    main()
