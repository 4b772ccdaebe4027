"""A command under a pseudo-terminal, for `docker run -it` and `docker exec -it`."""

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence


class Terminal:
    """A child process whose standard streams are a pty; close it when done."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], rows: int = 24, columns: int = 80
    ) -> None:
        self._master, slave = pty.openpty()
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=dict(env),
            start_new_session=True,
            # The controlling terminal makes SIGWINCH reach the client, as in a user's shell.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.output = b""

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, data: bytes) -> None:
        """Type `data`."""
        os.write(self._master, data)

    def resize(self, rows: int, columns: int) -> None:
        """Change the window's size."""
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def expect(self, text: bytes, seconds: float = 30.0) -> bytes:
        """Read until `text` has come; returns all up to its end and forgets it."""
        deadline = time.monotonic() + seconds
        while text not in self.output:
            if not self._read(deadline):
                raise AssertionError(f"no {text!r} in {self.output!r}")
        end = self.output.index(text) + len(text)
        found, self.output = self.output[:end], self.output[end:]
        return found

    def finish(self, seconds: float = 30.0) -> int:
        """Read to the end and return the exit code."""
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            pass
        return self.process.wait(timeout=max(0.1, deadline - time.monotonic()))

    def hang_up(self) -> None:
        """Close the terminal while the child runs, as a lost connection does."""
        os.close(self._master)
        self._master = -1  # the number may soon be another's

    def close(self) -> None:
        """End the child if it still runs, and close the pty."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        with contextlib.suppress(OSError):
            os.close(self._master)

    def _read(self, deadline: float) -> bool:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self._master], [], [], left)[0]:
            raise AssertionError(f"timed out; so far: {self.output!r}")
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: the last holder of the slave side closed it
            return False
        self.output += data
        return bool(data)
