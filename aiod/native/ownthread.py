"""Work in a thread of its own, for what a thread changes of itself and cannot give back.

Owns the thread and the way its outcome comes back; must not know what is done there. Blocking.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def run(name: str, work: Callable[[], T]) -> T:
    """What `work` returns, from a new thread called `name`, which ends with its namespaces.

    Raises what `work` raises. Nobody else ever runs in that thread (unshare(2), setns(2)).
    """
    outcome: list[T] = []
    failure: list[BaseException] = []

    def attempt() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # handed to the caller
            failure.append(error)

    thread = threading.Thread(target=attempt, name=name, daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
