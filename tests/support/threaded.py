"""What a thread of the suite's own does as long as a `with` lasts. Must not know what that is."""

import threading
from abc import ABC, abstractmethod
from typing import Self


class Threaded(ABC):
    """Serves inside `with`, in a thread that has ended when that is left."""

    def __init__(self) -> None:
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @abstractmethod
    def _serve(self) -> None:
        """What the thread does until `_end` is called."""

    @abstractmethod
    def _end(self) -> None:
        """Make `_serve` return soon; called by another thread."""

    @abstractmethod
    def _close(self) -> None:
        """Let go of what it was served with; the thread has ended."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._thread.join()
        self._close()
