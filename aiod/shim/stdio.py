"""Standard streams of one process: pipes, or what a terminal needs instead.

Owns the descriptors until they are handed to the child, to the core or to a writer. Knows
nothing of logs or gRPC.
"""

import contextlib
import fcntl
import os
import struct
import termios
from dataclasses import dataclass

from aiod.shim.core import Outputs


@dataclass(slots=True)
class Stdio:
    """Both ends of a process's standard streams; -1 where there is none.

    With a terminal the child's three are -1 (the runtime makes the console inside the
    container) and `output` is filled from the console afterwards.
    """

    child_stdin: int
    child_stdout: int
    child_stderr: int
    stdin: int
    output: int
    error: int
    terminal: bool

    def close_child(self) -> None:
        """Close the ends that only the child may hold."""
        _close(self.child_stdin, self.child_stdout, self.child_stderr)
        self.child_stdin = self.child_stdout = self.child_stderr = -1

    def close_stdin(self) -> None:
        """End the process's input; a terminal's stays, being its output too."""
        if not self.terminal:
            _close(self.stdin)
            self.stdin = -1

    def close(self) -> None:
        """Close whatever is still held here."""
        self.close_child()
        _close(self.stdin, self.output, self.error)
        self.stdin = self.output = self.error = -1

    def take_console(self, console: int) -> None:
        """Use the master side of a terminal, of which the runtime keeps the ownership."""
        self.output = fcntl.fcntl(console, fcntl.F_DUPFD_CLOEXEC, 3)
        self.stdin = fcntl.fcntl(console, fcntl.F_DUPFD_CLOEXEC, 3)
        os.set_blocking(self.stdin, False)

    def take_outputs(self) -> Outputs:
        """Hand the readable ends over; `give_back` if the taker refuses."""
        outputs = Outputs(self.output, self.error, self.terminal)
        self.output = self.error = -1
        return outputs

    def give_back(self, outputs: Outputs) -> None:
        """Undo `take_outputs`."""
        self.output, self.error = outputs.output, outputs.error


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        if descriptor >= 0:
            os.close(descriptor)


def open_stdio(*, terminal: bool, open_stdin: bool) -> Stdio:
    """Make the streams of a process. Raises OSError."""
    if terminal:
        return Stdio(-1, -1, -1, -1, -1, -1, terminal=True)
    with contextlib.ExitStack() as undo:
        made: list[int] = []
        undo.callback(lambda: _close(*made))
        if open_stdin:
            child_stdin, stdin = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(stdin, False)
        else:
            child_stdin, stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), -1
        made += [child_stdin, stdin]
        output, child_stdout = os.pipe2(os.O_CLOEXEC)
        made += [output, child_stdout]
        error, child_stderr = os.pipe2(os.O_CLOEXEC)
        undo.pop_all()
    return Stdio(child_stdin, child_stdout, child_stderr, stdin, output, error, terminal=False)


def set_window(console: int, width: int, height: int) -> None:
    """Tell a terminal its size in characters (ioctl_tty(2), TIOCSWINSZ). Raises OSError."""
    fcntl.ioctl(console, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
