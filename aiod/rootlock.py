"""Never two daemons on one root, and an identity for it.

Owns the lock file and the engine's id; must not know what else is below the root.
"""

import contextlib
import fcntl
import os
import secrets
from pathlib import Path

from aiod.config import Paths
from aiod.errors import ConflictError


class RootLock:
    """flock(2) on a file below the root, held as long as the daemon lives.

    The kernel releases it with the process, so nothing stale can be left.
    """

    def __init__(self, paths: Paths) -> None:
        self._path = paths.lock
        self._descriptor = -1

    def acquire(self) -> None:
        """Take the lock; ConflictError naming the holder's pid when another daemon has it."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise ConflictError(
                f"{self._path.parent} is in use by another aiod daemon (pid {holder})"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; the file stays, as removing it would race with the next holder."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def engine_id(root: Path) -> str:
    """A random identity made at first need, the same for this root ever after."""
    path = root / "engine-id"
    with contextlib.suppress(FileNotFoundError):
        if found := path.read_text().strip():
            return found
    made = secrets.token_hex(16)
    temporary = path.with_name(f".engine-id.{os.getpid()}")
    with temporary.open("w") as file:
        file.write(made + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return made
