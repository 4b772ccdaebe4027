"""Identity of processes: what is the same one, and what only has its number."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from aiod.native import proc

GONE = 2**22 + 1  # above the kernel's highest pid


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_start_time_is_kept_and_differs_from_that_of_no_process() -> None:
    assert proc.start_time(os.getpid()) == proc.start_time(os.getpid()) > 0
    with pytest.raises(ProcessLookupError):
        proc.start_time(GONE)


def test_command_with_brackets_and_blanks() -> None:
    script = """
import sys
open("/proc/self/comm", "w").write(") R 1 (x) ")
from aiod.native import proc
import os
print(proc.start_time(os.getpid()), open("/proc/self/stat").read().rpartition(")")[2].split()[19])
"""
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout
    ours, theirs = output.split()
    assert ours == theirs


def test_boot_id_is_a_uuid_and_stays() -> None:
    assert proc.boot_id() == proc.boot_id()
    assert len(proc.boot_id()) == 36


def test_same_only_with_the_same_start(child: subprocess.Popen[bytes]) -> None:
    started = proc.start_time(child.pid)
    assert proc.is_same(child.pid, started)
    assert not proc.is_same(child.pid, started + 1)
    assert not proc.is_same(0, started)
    assert not proc.is_same(GONE, started)


def test_zombie_is_gone(child: subprocess.Popen[bytes]) -> None:
    started = proc.start_time(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not proc.is_same(child.pid, started)
    assert proc.start_time(child.pid) == started
    assert proc.open_pidfd(child.pid, started) is None
    assert not proc.send_signal(child.pid, started, signal.SIGKILL)


def test_process_outlives_its_main_thread() -> None:
    script = """
import ctypes, os, sys, threading, time
def rest():
    while "Z" != open(f"/proc/{os.getpid()}/stat").read().rpartition(")")[2].split()[0]: pass
    os.write(1, b"x")
    os.read(0, 1)
    os._exit(0)
threading.Thread(target=rest).start()
ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"x"
        assert proc.is_same(process.pid, proc.start_time(process.pid))
        assert proc.send_signal(process.pid, proc.start_time(process.pid), signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM


def test_signal_reaches_only_that_process(child: subprocess.Popen[bytes]) -> None:
    started = proc.start_time(child.pid)
    assert not proc.send_signal(child.pid, started - 1, signal.SIGKILL)
    assert child.poll() is None
    assert proc.send_signal(child.pid, started, signal.SIGTERM)
    assert child.wait() == -signal.SIGTERM
    assert not proc.send_signal(child.pid, started, signal.SIGTERM)


def test_pidfd_is_of_that_process(child: subprocess.Popen[bytes]) -> None:
    started = proc.start_time(child.pid)
    assert proc.open_pidfd(child.pid, started + 1) is None
    assert proc.open_pidfd(0, 0) is None
    descriptor = proc.open_pidfd(child.pid, started)
    assert descriptor is not None
    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    os.close(descriptor)
    assert child.wait() == -signal.SIGKILL


def test_no_descriptor_is_left_open(child: subprocess.Popen[bytes]) -> None:
    started = proc.start_time(child.pid)
    before = len(os.listdir("/proc/self/fd"))
    for offset in (0, 1):
        proc.send_signal(child.pid, started + offset, 0)
        proc.is_same(child.pid, started + offset)
    assert len(os.listdir("/proc/self/fd")) == before


def test_parent(child: subprocess.Popen[bytes]) -> None:
    assert proc.parent(child.pid) == os.getpid()
    with pytest.raises(ProcessLookupError):
        proc.parent(GONE)
