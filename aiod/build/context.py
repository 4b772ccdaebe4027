"""The build context: a tar from a client, unpacked, without what `.dockerignore` leaves out.

Owns the directory of one build. Blocking; must not know HTTP or what a Dockerfile says.
"""

import os
import posixpath
import shutil
import threading
from pathlib import Path

from aiod.build import beneath
from aiod.build.program import LARGEST_DOCKERFILE
from aiod.build.sources import Source, open_file
from aiod.build.unpacking import unpack_below
from aiod.errors import InvalidParameterError
from aiod.images.compression import Limits
from aiod.images.content import Reader
from aiod.wire import dockerignore

DEFAULT_DOCKERFILE = "Dockerfile"


class Context:
    """One context, in a new directory; `close` gives its descriptor back."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o755)
        self.root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._sums: dict[bytes, str] = {}
        self.source = Source(self.root, sums=self._sums)

    def close(self) -> None:
        """No more is read."""
        os.close(self.root)

    def unpack(self, body: Reader, limits: Limits, cancelled: threading.Event) -> None:
        """Take the client's tar in. Raises InvalidParameterError and Cancelled."""
        unpack_below(body, self.root, b".", limits, cancelled, "build context", self._sums)

    def dockerfile(self, name: str) -> str:
        """The Dockerfile's text; what is to be ignored is gone afterwards.

        Raises InvalidParameterError.
        """
        found = name or DEFAULT_DOCKERFILE
        text = self._text(found)
        if text is None and not name:
            found = found.lower()
            text = self._text(found)
        if text is None:
            raise InvalidParameterError(
                f"Cannot locate specified Dockerfile: {name or DEFAULT_DOCKERFILE}"
            )
        if not text:
            raise InvalidParameterError(f"the Dockerfile ({found}) cannot be empty")
        ignore = self._text(f"{found}{dockerignore.FILE}")
        if ignore is None:
            ignore = self._text(dockerignore.FILE)
        if ignore:
            self._leave_out(dockerignore.parse(ignore))
        return text

    def _text(self, name: str) -> str | None:
        path = beneath.resolve(self.root, os.fsencode(posixpath.normpath(name)))
        try:
            with open(open_file(self.root, path), "rb") as file:
                data = file.read(LARGEST_DOCKERFILE + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except IsADirectoryError:
            raise InvalidParameterError(f"{name} is a directory") from None
        if len(data) > LARGEST_DOCKERFILE:
            raise InvalidParameterError(f"{name} is larger than {LARGEST_DOCKERFILE} bytes")
        return data.decode("utf-8", "surrogateescape")

    def _leave_out(self, ignored: dockerignore.Ignore) -> None:
        kept: set[bytes] = set()
        doomed: list[bytes] = []
        for path in beneath.walk(self.root, b"."):
            if ignored.excludes(os.fsdecode(path)):
                doomed.append(path)
            else:
                kept.update(_ancestors(path))
        for path in doomed:
            status = beneath.status(self.root, path)
            if status is None or path in kept:
                continue
            if beneath.is_directory(self.root, path):
                shutil.rmtree(os.fsdecode(path), dir_fd=self.root)
            else:
                os.unlink(path, dir_fd=self.root)


def _ancestors(path: bytes) -> list[bytes]:
    parts = path.split(b"/")
    return [b"/".join(parts[:count]) for count in range(1, len(parts) + 1)]
