"""The bar of bytes that go to the engine or come from it. Must not know what they are."""

import contextlib
from collections.abc import Callable, Iterator

from aiod.cli import terminal

Advance = Callable[[int], None]


@contextlib.contextmanager
def bar(what: str, total: int | None, quiet: bool) -> Iterator[Advance]:
    """A bar on standard error; nothing at all unless that is a terminal."""
    if quiet or not terminal.is_terminal(terminal.STDERR):
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)
