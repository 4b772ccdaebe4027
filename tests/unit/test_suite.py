"""The suite's own promises."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import binaries, processes

ABSENT = "a-program-that-nobody-has"


def test_an_absent_program_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match=f"apt-get install {ABSENT}"):
        binaries.require(ABSENT)


def test_an_absent_program_skips_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"apt-get install {ABSENT}"):
        binaries.require(ABSENT)


def test_a_process_is_named_by_whole_paths_only(tmp_path: Path) -> None:
    lines = (f"--data-root={tmp_path}/1/data", f"unix://{tmp_path}/1", f"{tmp_path}/10", "1")
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(_sleeper(line)) for line in lines]
        assert set(processes.naming(tmp_path / "1")) == {made[0].pid, made[1].pid}


@contextlib.contextmanager
def _sleeper(argument: str) -> Iterator[subprocess.Popen[bytes]]:
    command = ["sh", "-c", "echo; read x", argument]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process


def test_a_mortal_process_ends_with_whoever_started_it() -> None:
    script = (
        "import subprocess; from tests.support.processes import mortal;"
        "subprocess.Popen(mortal(['sh', '-c', 'echo $$; exec sleep 1000'])).wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = processes.Identity.of(int(parent.stdout.readline()))
        parent.kill()
    processes.wait_gone(child)
