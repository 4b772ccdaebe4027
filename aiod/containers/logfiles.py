"""The files of one log in their order, over rotations, read on from where it was left.

Owns which file comes when; must not know what a record looks like. Blocking.

The writer renames `log.1` to `log.2`, `log` to `log.1` and makes a new `log`, or, if it keeps
one file only, unlinks it: names only ever move to higher numbers. So whoever walks from `log`
upwards may meet a file twice, which its inode shows, and misses none but those that were
removed for good.
"""

import contextlib
import os
import threading
from collections import deque
from pathlib import Path
from typing import IO

from aiod.containers.logformats import Format, LogEntry

_BLOCK = 65536  # bytes that a reader has of a file at a time


def _identity(file: IO[bytes]) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino


class LogFiles:
    """A reader's place in a log. Without `follow` it ends where the log ended at the opening."""

    def __init__(self, path: Path, form: Format, *, tail: int | None, follow: bool) -> None:
        self._path = path
        self._format = form
        self._follow = follow
        self._lock = threading.Lock()
        self._rest = b""
        self._files = deque(self._newer(None))
        self._until = os.fstat(self._files[-1].fileno()).st_size if self._files else 0
        if tail is not None:
            self._seek(tail)

    def _seek(self, count: int) -> None:
        """Go to the last `count` records; older files are left out."""
        for index in range(len(self._files) - 1, -1, -1):
            file = self._files[index]
            size = os.fstat(file.fileno()).st_size
            place, found = self._format.tail(file.fileno(), size, count)
            file.seek(place)
            count -= found
            if count == 0:
                for _ in range(index):
                    self._files.popleft().close()
                return

    def take(self) -> list[LogEntry] | None:
        """The next entries; None when there are no more now."""
        with self._lock:
            while self._files or self._look():
                data = self._read(self._files[0])
                if data:
                    entries, self._rest = self._format.split(self._rest + data)
                    if entries:
                        return entries
                elif len(self._files) > 1:
                    # The next one was begun when this one was whole, before it was read empty.
                    self._files.popleft().close()
                    self._rest = b""
                elif not self._look():
                    return None
            return None

    def _read(self, file: IO[bytes]) -> bytes:
        if self._follow or len(self._files) > 1:
            return file.read(_BLOCK)
        return file.read(max(0, min(_BLOCK, self._until - file.tell())))

    def _look(self) -> bool:
        """Whether files were begun since."""
        if not self._follow:
            return False
        newer = self._newer(self._files[-1] if self._files else None)
        self._files.extend(newer)
        return bool(newer)

    def _newer(self, held: IO[bytes] | None) -> list[IO[bytes]]:
        """Open all files after `held`, the oldest first."""
        known = set() if held is None else {_identity(held)}
        if held is not None and self._named(self._path) in known | {None}:
            return []
        found: list[IO[bytes]] = []
        for path in self._names():
            try:
                file = path.open("rb", buffering=0)
            except FileNotFoundError:
                continue  # it is being renamed: the next number has it
            if held is not None and _identity(file) == _identity(held):
                file.close()
                break
            if _identity(file) in known:
                file.close()
                continue
            known.add(_identity(file))
            found.append(file)
        return found[::-1]

    def _names(self) -> list[Path]:
        """The log, and its numbers upwards with one more than there is."""
        prefix = f"{self._path.name}."
        numbers = [0]
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self._path.parent):
                number = name.removeprefix(prefix)
                if name.startswith(prefix) and number.isdigit():
                    numbers.append(int(number))
        rotated = [self._path.with_name(f"{prefix}{n}") for n in range(1, max(numbers) + 2)]
        return [self._path, *rotated]

    @staticmethod
    def _named(path: Path) -> tuple[int, int] | None:
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    def close(self) -> None:
        """Close the files, when nobody is in `take`."""
        with self._lock:
            while self._files:
                self._files.popleft().close()
