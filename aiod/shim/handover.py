"""A maker's conversation with the shim that it is forked from; the shim's side is C (`takeover.c`).

Owns the messages. Knows nothing of how a container is made.
"""

import array
import os
import socket
from errno import EPIPE
from typing import Any

from aiod.native._native import ffi, lib
from aiod.native.errors import NativeError
from aiod.native.runtime import Task
from aiod.shim.core import driver_number
from aiod.shim.protocol import LogConfig
from aiod.shim.stdio import Stdio


def hand_over(
    link: socket.socket,
    task: Task,
    streams: Stdio,
    listener: int,
    log: LogConfig,
    started_ns: int,
    request: bytes,
) -> None:
    """Give the first process to the shim, which then serves its network.

    Raises NativeError if the log cannot be opened, or a socket of what is to be served.
    """
    outputs = streams.take_outputs()
    channel = task.hand_over()
    handed = (
        listener, task.pidfd, outputs.output, outputs.error, streams.stdin, task.console_fd, channel
    )  # fmt: skip
    made = ffi.new("struct aiod_handover *")
    made.kind = lib.AIOD_MAKER_MADE
    made.present = sum(1 << index for index, fd in enumerate(handed) if fd >= 0)
    made.pid, made.start_time, made.started_ns = task.pid, task.start_time, started_ns
    made.terminal, made.request_size = outputs.terminal, len(request)
    made.driver, made.path = driver_number(log), os.fsencode(log.path)
    made.max_size, made.max_file = log.max_size, log.max_file
    socket.send_fds(link, [bytes(ffi.buffer(made)), request], [fd for fd in handed if fd >= 0])
    for fd in (outputs.output, outputs.error, streams.stdin, channel):
        if fd >= 0:
            os.close(fd)
    _check(link.recv(ffi.sizeof("struct aiod_verdict")))


def _check(answer: bytes) -> None:
    if not answer:
        raise NativeError("hand over to the shim", EPIPE)
    verdict = ffi.new("struct aiod_verdict *")
    ffi.memmove(verdict, answer, len(answer))
    if verdict.result < 0:
        raise NativeError(ffi.string(verdict.failed).decode(errors="replace"), -verdict.result)


def warm() -> None:
    """In the template: have the structs' types made."""
    ffi.new("struct aiod_handover *")
    ffi.new("struct aiod_verdict *")


def finish(link: socket.socket, answer: bytes, *, failed: bool) -> None:
    """As a maker's last word: what the shim is to answer the daemon."""
    kind = lib.AIOD_MAKER_FAILED if failed else lib.AIOD_MAKER_DONE
    link.send(array.array("i", [kind]).tobytes() + answer)


def directory_of(born: Any) -> str:
    """The directory in a `struct aiod_born`."""
    return os.fsdecode(ffi.string(born.directory))
