"""The real `aiod` command as a user runs it: on pipes, in the background, on a terminal.

Must not know what any subcommand does.
"""

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.engine import Engine
from tests.support.terminal import Terminal

AIOD = Path(sys.executable).parent / "aiod"


def read_until(child: subprocess.Popen[bytes], text: bytes, seconds: float = 30.0) -> bytes:
    """Read the child's output until `text` has come."""
    assert child.stdout is not None
    output = b""
    deadline = time.monotonic() + seconds
    while text not in output:
        left = deadline - time.monotonic()
        ready = left > 0 and bool(select.select([child.stdout], [], [], left)[0])
        data = os.read(child.stdout.fileno(), 65536) if ready else b""
        assert data, f"no {text!r} in {output!r}"
        output += data
    return output


class Aiod:
    """The command against one engine; containers made with `background` go at the end."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._names: list[str] = []

    @property
    def environment(self) -> dict[str, str]:
        """Names the engine as a user's shell would."""
        return {**self.engine.environment(), "AIOD_HOST": self.engine.host}

    def name(self) -> str:
        """A container's name that nobody else uses; removed at the end."""
        self._names.append(f"c{time.monotonic_ns()}")
        return self._names[-1]

    def __call__(
        self, *arguments: str, stdin: bytes = b"", seconds: float = 60.0, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run it on pipes to its end; no status is an error, but a traceback always is."""
        done = subprocess.run(
            [AIOD, *arguments],
            input=stdin,
            capture_output=True,
            env=self.environment | env,
            timeout=seconds,
            check=False,
        )
        errors = done.stderr.decode()
        assert "Traceback" not in errors, errors
        assert "\x1b" not in errors, errors
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), errors)

    def ok(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run it; it must succeed. Its output."""
        done = self(*arguments, stdin=stdin)
        assert done.returncode == 0, f"{arguments}: {done.returncode} {done.stderr}"
        return done.stdout

    def fails(self, *arguments: str, status: int = 1, stdin: bytes = b"") -> str:
        """Run it; it must leave with `status` and one line on standard error, returned."""
        done = self(*arguments, stdin=stdin)
        assert done.returncode == status, f"{arguments}: {done.returncode} {done.stderr}"
        lines = [line for line in done.stderr.splitlines() if "aiod: warning:" not in line]
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("aiod: "), done.stderr
        return lines[0].removeprefix("aiod: ")

    def background(self, *command: str, flags: tuple[str, ...] = ()) -> str:
        """`aiod run -d`; the name."""
        name = self.name()
        self.ok("run", "-d", "--network", "none", "--name", name, *flags, "base", *command)
        return name

    @contextlib.contextmanager
    def spawned(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """It, running on pipes; killed in the end."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen([AIOD, *arguments], env=self.environment, **pipes) as child:  # type: ignore[call-overload]
            try:
                yield child
            finally:
                child.kill()

    def terminal(self, *arguments: str, rows: int = 24, columns: int = 80) -> Terminal:
        """It, running on a pty."""
        return Terminal([str(AIOD), *arguments], self.environment, rows, columns)

    def remove_all(self) -> None:
        """Remove what was named, whatever still exists."""
        with self.engine.api() as api:
            for name in self._names:
                api.send("DELETE", f"/containers/{name}", force="1")
