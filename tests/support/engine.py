"""An engine under test: started, killed and asked through the same interface, whichever it is.

Owns the daemon's process and its private directories; must not know how an engine keeps
its state (that is `daemon` and `dockerd`).
"""

import contextlib
import os
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from tests.support import rootfs
from tests.support.binaries import require
from tests.support.http import Api
from tests.support.netns import Namespace
from tests.support.notify import NotifySocket
from tests.support.processes import mortal
from tests.support.terminal import Terminal

T = TypeVar("T")


class DaemonDiedError(Exception):
    """The daemon ended before it was ready."""


class Engine(ABC):
    """One daemon in directories of its own, and in `namespace` if that is set before its start."""

    name: str

    def __init__(self, base: Path) -> None:
        self.base = base
        self.base.mkdir(parents=True, exist_ok=True)
        self.socket = base / "d.sock"
        self.log = base / "daemon.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.namespace: Namespace | None = None

    @property
    def host(self) -> str:
        """For DOCKER_HOST."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        """The running daemon's pid."""
        assert self.process is not None, "the daemon was not started"
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether the daemon is."""
        return self.process is not None and self.process.poll() is None

    @abstractmethod
    def command(self) -> list[str]:
        """What starts the daemon."""

    @abstractmethod
    def clean_up(self) -> None:
        """End and remove everything of this engine; the daemon itself has stopped."""

    def start(self, env: Mapping[str, str] | None = None) -> None:
        """Start the daemon and wait until it is ready; DaemonDiedError when it ends before."""
        if not self.launch(env):
            raise DaemonDiedError(f"{self.name} ended with {self.wait_death()}:\n{self.log_tail()}")

    def launch(self, env: Mapping[str, str] | None = None) -> bool:
        """Start the daemon; whether it got ready (False: it ended first)."""
        assert not self.running, "already running"
        environment = {**os.environ, **(env or {})}
        with NotifySocket(self.base / "n.sock") as notify, self.log.open("ab") as log:
            environment["NOTIFY_SOCKET"] = str(notify.path)
            self.process = subprocess.Popen(
                mortal(self._command_there()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
            return notify.wait_ready(self.process)

    def there(self) -> contextlib.AbstractContextManager[None]:
        """The calling thread is in the daemon's network namespace meanwhile."""
        return contextlib.nullcontext() if self.namespace is None else self.namespace.entered()

    def _command_there(self) -> list[str]:
        command = self.command()
        return command if self.namespace is None else self.namespace.inside(*command)

    def sigkill(self) -> None:
        """Kill the daemon alone, as the OOM killer would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def wait_death(self, seconds: float = 60.0) -> int:
        """The daemon's return code (negative: the signal), once it has ended."""
        assert self.process is not None
        return self.process.wait(timeout=seconds)

    def stop(self, seconds: float = 60.0) -> int:
        """Ask the daemon to end (SIGTERM) and return its code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=seconds)

    def restart(self, env: Mapping[str, str] | None = None) -> None:
        """Start again after `sigkill` or `stop`."""
        self.start(env)

    def destroy(self) -> None:
        """End the daemon and all it left; the last call."""
        try:
            if self.running:
                self.remove_containers()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.stop()
        finally:
            if self.process is not None:
                self.sigkill()
            self.clean_up()

    def remove_containers(self) -> None:
        """Remove every container by force; one that resists hides no other."""
        with self.api() as api:
            for container in api.containers():
                api.send("DELETE", f"/containers/{container['Id']}", force="1", v="1")

    def api(self, version: str = "", timeout: float = 60.0) -> Api:
        """A new connection to the API."""
        return Api(self.socket, version, timeout)

    def environment(self) -> dict[str, str]:
        """For a docker command that talks to this engine and to no other."""
        return {
            "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            "HOME": str(self.base),
            "DOCKER_HOST": self.host,
            "DOCKER_CLI_HINTS": "false",
            "TERM": "xterm",
            "LANG": "C.UTF-8",
        }

    def docker(
        self,
        *arguments: str,
        stdin: bytes = b"",
        check: bool = True,
        seconds: float = 60.0,
        env: Mapping[str, str] = MappingProxyType({}),
    ) -> subprocess.CompletedProcess[str]:
        """Run the real docker command; AssertionError with its words when `check` and it fails."""
        done = subprocess.run(
            [require("docker"), *arguments],
            input=stdin,
            capture_output=True,
            env={**self.environment(), **env},
            timeout=seconds,
            check=False,
        )
        result = subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )
        if check and result.returncode != 0:
            raise AssertionError(
                f"docker {' '.join(arguments)}: exit code {result.returncode}\n"
                f"{result.stdout}{result.stderr}\n{self.log_tail()}"
            )
        return result

    def spawn(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the real docker command and leave it running; the caller ends it."""
        return subprocess.Popen(
            [require("docker"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment(),
        )

    def terminal(self, *arguments: str) -> Terminal:
        """Start the real docker command on a pty."""
        return Terminal([require("docker"), *arguments], self.environment())

    @abstractmethod
    def ensure_base(self) -> None:
        """Have an image `base`; engines that have it built in do nothing."""

    def load(self, archive: bytes) -> None:
        """Load an image archive."""
        with self.api() as api:
            reply = api.raw("POST", "/images/load?quiet=1", archive, _TAR)
            assert reply.status == 200, reply.message
            assert b'"error"' not in reply.body, reply.body

    def log_tail(self, size: int = 6000) -> str:
        """The end of the daemon's own log."""
        try:
            return self.log.read_bytes()[-size:].decode(errors="replace")
        except FileNotFoundError:
            return ""


_TAR = {"Content-Type": "application/x-tar"}


def load_busybox(engine: Engine, tag: str) -> None:
    """Load the busybox image under `tag`."""
    engine.load(rootfs.docker_archive(tag, [rootfs.busybox_tar()]))


def eventually(probe: Callable[[], T], accept: Callable[[T], bool], seconds: float = 30.0) -> T:
    """Ask again until the answer is acceptable: only for what the API offers no event for."""
    deadline = time.monotonic() + seconds
    while not accept(value := probe()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s; last: {value!r}")
        time.sleep(0.02)
    return value
