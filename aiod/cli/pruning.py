"""What `prune` is for every kind: asked before, done, told of. Must not know what is needed yet."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from aiod.cli import asking, output, values, views
from aiod.cli.asking import Asking
from aiod.cli.client import decoded
from aiod.cli.consent import agreed
from aiod.cli.options import filtering, flag

F = TypeVar("F", bound=Callable[..., Any])
Pruned = TypeVar("Pruned", bound=msgspec.Struct)


def options(*, example: str) -> Callable[[F], F]:
    """The options that all have; `example` is one of a filter."""

    def added(command: F) -> F:
        command = flag("--json", "as_json", text="What was done, as JSON.")(command)
        command = filtering(example=example)(command)
        return flag("-f", "--force", text="Without asking.")(command)

    return added


def prune(
    kind: str,
    filters: Mapping[str, list[str]],
    view: type[Pruned],
    gone: Callable[[Pruned], Iterable[str] | None],
    *,
    warning: str,
    force: bool,
    as_json: bool,
) -> None:
    """Take away what is not needed of a kind, unless the user does not want to after all."""
    if not (force or agreed(warning)):
        return

    async def work(ask: Asking) -> None:
        body = await ask.client.send("POST", f"/{kind}/prune", values.filter_query(filters))
        if as_json:
            output.raw_json(body)
        else:
            pruned = decoded(body, view)
            _show(gone(pruned) or (), pruned)

    asking.ask(work)


def _show(names: Iterable[str], pruned: msgspec.Struct) -> None:
    for name in names:
        output.line(name)
    if isinstance(pruned, views.Reclaiming):
        output.line(f"Total reclaimed space: {output.size(pruned.SpaceReclaimed)}")
