"""./quickstart: ends 0 only when every claim was true, and leaves nothing in any case."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aiod.config import DaemonConfig, Paths
from tests.support.mounts import cgroups, mount_points
from tests.support.processes import command_line, running_pids

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it runs containers")

ROOT = Path(__file__).parents[2]
# A daemon that is honest until it is started again on the same root.
SABOTAGE = """
import json, os, sys
from pathlib import Path
root = Path(sys.argv[sys.argv.index("--root") + 1])
state = Path(sys.argv[sys.argv.index("--state") + 1])
if (root / "aiod.db").exists():
    DEED
os.execv(sys.executable, [sys.executable, "-m", "aiod", *sys.argv[1:]])
"""
LOGS = (
    "logs = [p for p in root.glob('containers/*/*.log') if b'\"log\":\"7\\\\n' in p.read_bytes()]"
)
DEEDS = {
    "a second daemon that does not start": ("sys.exit(1)", "the daemon is ready"),
    "a container killed by the restart": (
        "[os.system(f\"kill -9 {json.loads(p.read_bytes())['pid']} 2>/dev/null\") "
        "for p in state.glob('shims/*/init.json')]",
        "the counter never stopped",
    ),
    "a log with a gap": (
        f"{LOGS}; lines = logs[0].read_bytes().splitlines(keepends=True); "
        "logs[0].write_bytes(b''.join(lines[:5] + lines[6:]))",
        "no gap, no line twice",
    ),
    "a log with a line twice": (
        f"{LOGS}; lines = logs[0].read_bytes().splitlines(keepends=True); "
        "logs[0].write_bytes(b''.join(lines[:5] + lines[4:]))",
        "no gap, no line twice",
    ),
    "a lost exit code": (
        "[p.unlink() for p in state.glob('shims/*/exit.json')]",
        "the worker's exit code",
    ),
}


def _traces(base: str) -> list[str]:
    """Whatever the story that worked in `base` has left on this machine."""
    cgroup = DaemonConfig(paths=Paths(Path(base, "root"), Path(base, "state"))).cgroup_parent
    commands = {pid: command_line(pid) for pid in running_pids()}
    return [
        *(base for _ in [base] if Path(base).exists()),
        *(str(group) for group in cgroups(cgroup)),
        *(f"process {pid}: {command}" for pid, command in commands.items() if base in command),
        *mount_points(Path(base)),
    ]


def _assert_nothing_left(output: str) -> None:
    found = re.search(r"/tmp/aiod-story\.\w+", output)
    assert found, output
    assert _traces(found.group()) == []


def _command(*arguments: str) -> list[str]:
    return [str(ROOT / "quickstart"), "--python", sys.executable, *arguments]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        _command(*arguments), capture_output=True, text=True, timeout=300, check=False
    )
    _assert_nothing_left(done.stdout)
    return done


def test_every_claim_is_true() -> None:
    done = _run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no gap, no line twice" in done.stdout
    assert "the worker's exit code is 42" in done.stdout
    assert done.stdout.count("$ curl -sS") >= 10


@pytest.mark.parametrize("what", DEEDS)
def test_a_false_claim_is_told_and_fails(what: str, tmp_path: Path) -> None:
    deed, claim = DEEDS[what]
    daemon = tmp_path / "daemon.py"
    daemon.write_text(SABOTAGE.replace("DEED", deed))
    done = _run("--daemon", f"{sys.executable} {daemon}")
    assert done.returncode == 1, done.stdout
    assert "NOT TRUE: " in done.stderr
    assert claim in done.stderr.partition("NOT TRUE: ")[2].splitlines()[0]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("signo", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_leaves_nothing(signo: int, code: int) -> None:
    with subprocess.Popen(_command(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        output = ""
        for line in process.stdout:
            output += line
            if "container worker runs" in line:
                process.send_signal(signo)
        assert process.wait(60) == code
    _assert_nothing_left(output)
