"""What the running side asks of parts that are made after it. Must not know them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiod.containers.entries import Entry


async def _nothing(*_: object) -> None:
    return


@dataclass(slots=True)
class Hooks:
    """`remove_ended` removes what lives only as long as it runs; `exec_noticed` looks at one exec

    of a container; `settle_execs` looks at all of a container, which is over if that is true;
    `run_watched` is told of every run whose end is waited for.
    """

    remove_ended: Callable[[Entry], Awaitable[None]] = _nothing
    exec_noticed: Callable[[str, str], Awaitable[None]] = _nothing
    settle_execs: Callable[[str, bool], Awaitable[None]] = _nothing
    run_watched: Callable[[Entry], None] = lambda _: None
