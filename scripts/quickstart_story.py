"""The story of ./quickstart: a container that outlives its daemon, told and checked.

Every sentence that claims something is printed after it was checked; the exit code is 0 only
when all were true. Talks to the daemon with curl alone, by the lines that it prints. What it
makes is below one scratch directory and one cgroup, and is gone when it ends, also after a
failure or a signal (130 for Ctrl-C).
"""

import argparse
import contextlib
import json
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from aiod.config import DaemonConfig, Paths
from aiod.native import proc

API = "http://aiod/v1.51"
COUNT = "i=0; while :; do echo $((i=i+1)); sleep 0.05; done"
WORK = "while [ ! -e /gate/open ]; do sleep 0.05; done; echo finished; exit 42"
PATIENCE = 30.0  # seconds until a claim that has not come true counts as false


class BrokenClaimError(Exception):
    """Something that aiod promises was not so."""


class SignalledError(BaseException):
    """A signal asks to end; `code` is what a shell expects then."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Process:
    """A pid and the time it started: never another process that got the same pid."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> "Process":
        """The process that has `pid` now."""
        return cls(pid, proc.start_time(pid))

    def alive(self) -> bool:
        """Whether it still runs."""
        return proc.is_same(self.pid, self.started)

    def wait_gone(self) -> bool:
        """Whether it ended within PATIENCE."""
        descriptor = proc.open_pidfd(self.pid, self.started)
        if descriptor is None:
            return True
        try:
            return bool(select.select([descriptor], [], [], PATIENCE)[0])
        finally:
            os.close(descriptor)


def claim(true: object, words: str) -> None:
    """Print what was just found true; BrokenClaimError if it is not."""
    if not true:
        raise BrokenClaimError(words)
    print(f"   ok: {words}", flush=True)


def step(words: str) -> None:
    """Begin a chapter."""
    print(f"\n== {words}", flush=True)


def eventually(condition: Any, words: str) -> None:
    """Claim what becomes true within PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    claim(found, words)


class Machine:
    """The daemon in its scratch directories, curl, and what the kernel says about both."""

    def __init__(self, base: Path, daemon: Sequence[str]) -> None:
        self.base = base
        self.paths = Paths(base / "root", base / "state")
        self.socket = base / "aiod.sock"
        self.log = base / "daemon.log"
        self.cgroup = DaemonConfig(paths=self.paths).cgroup_parent
        self.process: subprocess.Popen[bytes] | None = None
        self._command = [
            *daemon, "serve", "--root", str(self.paths.root), "--state", str(self.paths.state),
            "--host", f"unix://{self.socket}",
        ]  # fmt: skip

    def start(self) -> int:
        """Start a daemon and wait for it to say READY, as systemd would; returns its pid."""
        print(f"   $ {shlex.join(self._command)} &", flush=True)
        address = self.base / "notify.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, self.log.open("ab") as log:
            notify.bind(str(address))
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": str(address)}, start_new_session=True,
                cwd=self.base,
            )  # fmt: skip
            ready = self._is_ready(notify, self.process.pid)
        address.unlink()
        claim(ready, f"the daemon is ready, pid {self.process.pid}")
        return self.process.pid

    @staticmethod
    def _is_ready(notify: socket.socket, pid: int) -> bool:
        gone = os.pidfd_open(pid)
        try:
            while found := select.select([notify.fileno(), gone], [], [], PATIENCE)[0]:
                if notify.fileno() not in found:
                    return False
                if b"READY=1" in notify.recv(4096).split(b"\n"):
                    return True
        finally:
            os.close(gone)
        return False

    def kill(self) -> None:
        """SIGKILL the daemon, and only it."""
        assert self.process is not None
        print(f"   $ kill -KILL {self.process.pid}", flush=True)
        self.process.kill()
        claim(self.process.wait() == -signal.SIGKILL, "the daemon is dead")

    def stop(self) -> None:
        """Ask the daemon to end."""
        assert self.process is not None
        print(f"   $ kill -TERM {self.process.pid}", flush=True)
        self.process.terminate()
        claim(self.process.wait(PATIENCE) == 0, "the daemon has ended with exit code 0")

    def curl(self, method: str, path: str, body: Any = None, *, quiet: bool = False) -> bytes:
        """One request, by the very line that is printed; BrokenClaimError if it fails."""
        line = ["curl", "-sS", "--fail-with-body", "--unix-socket", str(self.socket)]
        line += [] if method == "GET" else ["-X", method]
        if body is not None:
            line += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        line.append(API + path)
        if not quiet:
            print(f"   $ {shlex.join(line)}", flush=True)
        done = subprocess.run(line, capture_output=True, timeout=PATIENCE, check=False)
        if done.returncode != 0:
            said = (done.stdout + done.stderr).decode(errors="replace").strip()
            raise BrokenClaimError(f"{method} {path} succeeds; it says: {said}")
        return done.stdout

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of the answer."""
        return json.loads(self.curl(method, path, body))

    def run(self, name: str, script: str, **host: Any) -> Process:
        """Create and start a container of the built-in image; returns its process."""
        command = ["sh", "-c", script]
        config = {"Image": "base", "Cmd": command, "HostConfig": {"NetworkMode": "none", **host}}
        made = self.ask("POST", f"/containers/create?name={name}", config)
        print(f"   {json.dumps(made)}", flush=True)
        self.curl("POST", f"/containers/{name}/start")
        state = self.inspect(name)["State"]
        claim(state["Running"], f"container {name} runs, its process is {state['Pid']}")
        return Process.of(state["Pid"])

    def inspect(self, name: str) -> Any:
        """What the daemon knows of a container."""
        return self.ask("GET", f"/containers/{name}/json")

    def cgroups(self) -> list[Path]:
        """Every cgroup of this daemon, in every hierarchy, the innermost first."""
        rows = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
        tops = [
            Path(row[1]) / self.cgroup.strip("/") for row in rows if row[2].startswith("cgroup")
        ]
        return [Path(place) for top in tops for place, _, _ in os.walk(top, topdown=False)]

    def processes(self) -> set[Process]:
        """Every process of this daemon: in its cgroups, or named after its directories."""
        pids: set[int] = set()
        for group in self.cgroups():
            with contextlib.suppress(OSError):
                pids |= {int(word) for word in (group / "cgroup.procs").read_text().split()}
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if str(self.paths.state).encode() in Path(f"/proc/{name}/cmdline").read_bytes():
                    pids.add(int(name))
        found = set()
        for pid in pids - {os.getpid()}:
            with contextlib.suppress(ProcessLookupError):
                found.add(Process.of(pid))
        return {process for process in found if process.alive()}

    def mounts(self) -> list[str]:
        """Mount points below the scratch directory, the innermost first."""
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
        return [point for point in reversed(points) if point.startswith(f"{self.base}/")]

    def leavings(self) -> list[str]:
        """Everything of the containers that is still there."""
        return [
            *(f"process {process.pid}" for process in self.processes()),
            *(f"mount {point}" for point in self.mounts()),
            *(f"{path}" for path in self.paths.containers.glob("*")),
            *(f"{path}" for path in self.paths.shims.glob("*")),
        ]

    def sweep(self) -> None:
        """End every process and take away mounts, cgroups and directories, whatever happened.

        The daemon by its pid, like the others: a signal in the midst of a call of `Popen` leaves
        its lock held.
        """
        for _ in range(10):  # a process that was just born may not have been seen
            found = self.processes()
            for process in found:
                proc.send_signal(process.pid, process.started, signal.SIGKILL)
            for process in found:
                process.wait_gone()
        for point in self.mounts():
            subprocess.run(["umount", "--lazy", point], check=False)
        for group in self.cgroups():
            with contextlib.suppress(OSError):  # what resists is told by `left`
                group.rmdir()
        shutil.rmtree(self.base, ignore_errors=True)

    def left(self) -> list[str]:
        """What even the sweep could not take away."""
        groups = [f"cgroup {group}" for group in self.cgroups()]
        return [*self.leavings(), *groups, *([str(self.base)] if self.base.exists() else [])]


def lines_of(stream: bytes) -> list[bytes]:
    """Standard output in Docker's stream of frames: 1 byte kind, 3 zero, 4 length, the bytes."""
    output = b""
    while stream:
        kind, length = stream[0], int.from_bytes(stream[4:8], "big")
        output += stream[8 : 8 + length] if kind == 1 else b""
        stream = stream[8 + length :]
    return output.splitlines()


def counted(log: Path) -> int:
    """How many lines are in a container's log file, asking no daemon."""
    return log.read_bytes().count(b"\n")


def tell(machine: Machine) -> None:
    """The story; BrokenClaimError at the first claim that is not true."""
    gate = machine.base / "gate"
    gate.mkdir()
    step("A daemon starts, in directories of its own")
    first = machine.start()

    step("A container that counts, one line after the other")
    counter = machine.run("counter", COUNT)
    log = Path(machine.inspect("counter")["LogPath"])
    eventually(lambda: counted(log) >= 10, "it has counted to 10")

    step("A second container: it will end with exit code 42 when its gate opens")
    worker = machine.run("worker", WORK, Binds=[f"{gate}:/gate:ro"])

    step("The daemon is killed with SIGKILL: no time for it to prepare anything")
    killed = datetime.now(UTC)
    machine.kill()
    without_daemon(machine, counter, worker, log)
    window = (killed, datetime.now(UTC))

    step("A new daemon starts on the same directories")
    claim(machine.start() != first, "it is another process than the first")
    reattached(machine, counter, window)

    step("Everything is removed")
    for name in ("counter", "worker"):
        machine.curl("DELETE", f"/containers/{name}?force=1")
    claim(machine.ask("GET", "/containers/json?all=1") == [], "no container is left")
    claim(counter.wait_gone(), f"process {counter.pid} is gone")
    machine.stop()
    eventually(lambda: not machine.leavings(), "no process, mount or directory of them is left")


def without_daemon(machine: Machine, counter: Process, worker: Process, log: Path) -> None:
    """What goes on while no daemon runs."""
    step("No daemon runs now")
    line = ["curl", "-sS", "--unix-socket", str(machine.socket), f"{API}/_ping"]
    print(f"   $ {shlex.join(line)}", flush=True)
    done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=False)
    print(f"   {done.stderr.strip()}", flush=True)
    claim(done.returncode == 7, "nobody answers on the socket")
    claim(counter.alive(), f"process {counter.pid} of the counter is the same, and alive")
    before = counted(log)
    eventually(
        lambda: counted(log) >= before + 20,
        f"its log grew from {before} lines by 20 and more, with no daemon there",
    )
    print("   $ touch gate/open", flush=True)
    (machine.base / "gate" / "open").touch()
    claim(
        worker.wait_gone(), f"the worker's process {worker.pid} has ended; nobody is there to ask"
    )
    records = machine.paths.shims
    eventually(lambda: list(records.glob("*/exit.json")), "its shim has put that on record")


def reattached(machine: Machine, counter: Process, window: tuple[datetime, datetime]) -> None:
    """What the new daemon knows; `window` is when there was none."""
    state = machine.inspect("counter")["State"]
    claim(state["Running"] and state["Pid"] == counter.pid and counter.alive(),
          f"the counter never stopped: still process {state['Pid']}")  # fmt: skip
    state = machine.inspect("worker")["State"]
    claim(
        (state["Status"], state["ExitCode"]) == ("exited", 42),
        f"the worker's exit code is {state['ExitCode']}",
    )
    claim(
        window[0] < datetime.fromisoformat(state["FinishedAt"]) < window[1],
        f"it ended at {state['FinishedAt']}, when no daemon ran",
    )
    waited = machine.ask("POST", "/containers/worker/wait")
    claim(waited["StatusCode"] == 42, "who waits for the worker is told 42")
    path = "/containers/counter/logs?stdout=1"
    lines = lines_of(machine.curl("GET", path))
    expected = [b"%d" % number for number in range(1, len(lines) + 1)]
    claim(len(lines) > 30 and lines == expected,
          f"the counter's log reads 1 to {len(lines)}: no gap, no line twice")  # fmt: skip
    eventually(lambda: len(lines_of(machine.curl("GET", path, quiet=True))) > len(lines),
               "and it goes on counting")  # fmt: skip


@contextlib.contextmanager
def signals() -> Iterator[None]:
    """HUP, INT and TERM end the story by an exception, once: then the sweep is left alone."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        for other in numbers:
            signal.signal(other, signal.SIG_IGN)
        raise SignalledError(128 + number)

    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        signal.signal(number, end)
    yield
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def perform(machine: Machine) -> int:
    """Tell the story and sweep up; returns the exit code."""
    code = 1
    try:
        with signals():
            tell(machine)
            code = 0
    except SignalledError as ending:
        code = ending.code
    except (
        BrokenClaimError,
        OSError,
        subprocess.SubprocessError,
        ValueError,
        LookupError,
    ) as error:
        print(f"\nNOT TRUE: {error}", file=sys.stderr)
        with contextlib.suppress(OSError):
            print(f"The daemon's own words:\n{machine.log.read_text()[-3000:]}", file=sys.stderr)
    finally:
        machine.sweep()
    if left := machine.left():
        print(f"NOT TRUE: nothing is left behind: {', '.join(left)}", file=sys.stderr)
        return code or 1
    return code


def main() -> int:
    """Run as ./quickstart does."""
    parser = argparse.ArgumentParser(prog="quickstart", description=__doc__.partition("\n")[0])
    parser.add_argument("--daemon", default="", help="the aiod command to run, as one string")
    asked = parser.parse_args()
    if os.geteuid() != 0:
        print("containers need root here: sudo ./quickstart", file=sys.stderr)
        return 1
    began = time.monotonic()
    daemon = shlex.split(asked.daemon) or [str(Path(sys.executable).with_name("aiod"))]
    # Short: the path of a unix socket has 108 bytes.
    code = perform(Machine(Path(tempfile.mkdtemp(prefix="aiod-story.", dir="/tmp")), daemon))
    if code == 0:
        print(f"\nEvery claim was checked and true, in {time.monotonic() - began:.1f} s. "
              "Nothing is left behind.")  # fmt: skip
    return code


if __name__ == "__main__":
    sys.exit(main())
