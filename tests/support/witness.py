"""A container that must not notice what happens to the daemon, and the proof that it did not.

It counts on its standard output; signal USR1 ends it with a code chosen beforehand.
"""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiod.shim.protocol import SHIM_FILE, ShimState, read_struct
from tests.support.daemon import AiodDaemon
from tests.support.engine import eventually
from tests.support.http import Api
from tests.support.processes import Identity, wait_gone

_SCRIPT = (
    "trap 'exit {code}' USR1; trap 'exit 3' TERM; i=0; "
    "while :; do echo $((i=i+1)); sleep {pause}; done"
)


def counting_command(code: int = 17, pause: float = 0.1) -> list[str]:
    """Counts upwards for ever; USR1 makes it exit with `code`, TERM with 3."""
    return ["sh", "-c", _SCRIPT.format(code=code, pause=pause)]


def counted(log: bytes) -> int:
    """How far a complete log has counted; AssertionError at a gap or a repeat."""
    lines = log.decode().splitlines()
    for number, line in enumerate(lines, 1):
        assert line == str(number), f"line {number} of the log is {line!r}"
    return len(lines)


@dataclass(frozen=True, slots=True)
class Witness:
    """A running container with its init and shim as they were at the beginning."""

    container: str
    init: Identity
    shim: Identity

    @classmethod
    def start(cls, api: Api, daemon: AiodDaemon, **config: Any) -> "Witness":
        """Create and start one; it has counted at least once when this returns."""
        command = config.pop("Cmd", counting_command())
        container = api.create(Image="base", Cmd=command, **config)
        api.start(container)
        return cls.of(api, daemon, container)

    @classmethod
    def of(cls, api: Api, daemon: AiodDaemon, container: str) -> "Witness":
        """The witness that an already running container is."""
        init = Identity.of(api.state(container)["Pid"])
        eventually(lambda: api.logs(container), bool)
        return cls(container, init, shim_of(daemon, container))

    def assert_undisturbed(self, api: Api) -> None:
        """Same pid, still running, still counting, log whole."""
        self.assert_beyond(api, self.standing(api))

    @staticmethod
    def assert_all_undisturbed(api: Api, witnesses: Sequence["Witness"]) -> None:
        """Of many, without waiting for each in turn."""
        counts = {one.container: one.standing(api) for one in witnesses}
        for one in witnesses:
            one.assert_beyond(api, counts[one.container])

    def standing(self, api: Api) -> int:
        """How far it has counted; it runs as it did at the beginning."""
        state = api.state(self.container)
        assert (state["Status"], state["Pid"]) == ("running", self.init.pid), state
        assert self.init.alive()
        assert self.shim.alive()
        count = counted(api.logs(self.container))
        assert count > 0
        return count

    def assert_beyond(self, api: Api, count: int) -> None:
        """It goes on counting, log whole."""
        eventually(lambda: counted(api.logs(self.container)), lambda now: now > count)

    def end(self, signo: int = signal.SIGUSR1) -> None:
        """Signal the init from the host and wait until it is gone.

        Its shim writes the exit down a moment later: a daemon that starts meanwhile shows it as
        running until then, so ask that one to `wait` before anything else.
        """
        assert self.init.alive()
        os.kill(self.init.pid, signo)
        wait_gone(self.init)


def shim_of(daemon: AiodDaemon, container: str) -> Identity:
    """The container's shim, from the file in which it says who it is."""
    state = read_struct(daemon.paths.shim(container) / SHIM_FILE, ShimState)
    assert state is not None, f"{container} has no shim"
    return Identity(state.pid, state.start_time)
