"""Network namespaces: which is meant, and work done inside one.

Owns the entering. A thread that has entered another namespace never comes back: it ends there,
so that no later work of a thread pool is done in the wrong one.
"""

import os
import threading
from collections.abc import Callable
from typing import TypeVar

from aiod.native._native import lib
from aiod.native.errors import NativeError

T = TypeVar("T")


def open_of(pid: int) -> int:
    """A descriptor of the network namespace of a process. Raises NativeError."""
    try:
        return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NativeError("open the network namespace", error.errno or 0) from error


def enter(descriptor: int) -> None:
    """Have the calling thread be in a namespace from now on. Raises NativeError."""
    error = lib.aiod_netns_enter(descriptor)
    if error < 0:
        raise NativeError("enter the network namespace", -error)


def inside(descriptor: int, work: Callable[[], T]) -> T:
    """What `work` returns in the namespace of a descriptor, or raises; blocking."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            enter(descriptor)
            results.append(work())
        except BaseException as error:
            errors.append(error)

    worker = threading.Thread(target=run, name="netns")
    worker.start()
    worker.join()
    if errors:
        raise errors[0]
    return results[0]
