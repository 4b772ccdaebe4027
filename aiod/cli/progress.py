"""What a long operation on images answers, line by line, as a person or a script reads it.

Owns the bars (on a terminal's standard error only), the plain lines that stand for them on a
pipe, and failures in the middle. Must not know what the operation is.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING

from aiod.cli import output, terminal, views
from aiod.cli.client import decoded
from aiod.cli.errors import CliError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Feed = Callable[[views.Progress], None]

_HEADING = "Pulling from"  # has an id, but is not about a layer


async def messages(
    lines: AsyncIterator[bytes], *, as_json: bool = False
) -> AsyncIterator[views.Progress]:
    """The lines, read; printed as they are, for a script, if `as_json`.

    Raises CliError, with a command's code if it has one, for a failure.
    """
    async for line in lines:
        if as_json:
            output.line(line.decode(errors="replace"))
        message = decoded(line, views.Progress)
        if message.error or message.error_detail is not None:
            detail = message.error_detail or views.Failure()
            raise CliError(message.error or detail.message, detail.code or 1)
        yield message


@contextlib.contextmanager
def shown(*, quiet: bool = False) -> Iterator[Feed]:
    """Where messages go: bars above all, lines without a terminal, nowhere when quiet."""
    if quiet:
        yield lambda message: None
    elif terminal.is_terminal(terminal.STDERR):
        bars = _Bars()
        try:
            yield bars.feed
        finally:
            bars.end()
    else:
        yield _plain


def _text(message: views.Progress) -> str:
    status = message.status
    return f"{message.id}: {status}" if message.id and status else status


def _has_amount(message: views.Progress) -> bool:
    detail = message.progress_detail
    return detail is not None and bool(detail.current or detail.total)


def _plain(message: views.Progress) -> None:
    if not _has_amount(message):
        _say(message)


def _say(message: views.Progress) -> None:
    if message.stream:  # what a build's commands say comes as it comes
        output.text(message.stream)
    elif message.status:
        output.line(output.printable(_text(message)))


class _Bars:
    """A bar for each layer, until a message that is about none."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def feed(self, message: views.Progress) -> None:
        """Move a bar, or say what is to be said."""
        if message.id and not message.status.startswith(_HEADING):
            self._move(self._progress or self._begin(), message)
        elif message.stream or message.status:
            self.end()
            _say(message)

    def _begin(self) -> "Progress":
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

        words = TextColumn("{task.description}", markup=False)
        columns = (words, BarColumn(), DownloadColumn())
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._progress.start()
        return self._progress

    def _move(self, progress: "Progress", message: views.Progress) -> None:
        words = output.printable(_text(message))
        detail = message.progress_detail
        if message.id not in self._tasks:
            self._tasks[message.id] = progress.add_task(words, total=None)
        task = self._tasks[message.id]
        progress.update(task, description=words)
        if detail is not None and _has_amount(message):
            progress.update(task, completed=detail.current, total=detail.total or None)
        elif message.status.endswith(("complete", "exists", "Pushed")):
            known = progress.tasks[progress.task_ids.index(task)]
            whole = known.total or known.completed or 1
            progress.update(task, completed=whole, total=whole)

    def end(self) -> None:
        """Leave the bars as they are."""
        if self._progress is not None:
            self._progress.stop()
        self._progress = None
        self._tasks.clear()
