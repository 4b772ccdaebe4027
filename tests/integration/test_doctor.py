"""`aiod doctor` on this machine as it is, and with something taken away."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aiod.doctor import PROBES
from tests.support.daemon import AiodDaemon
from tests.support.mounts import hierarchies
from tests.support.terminal import Terminal

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it tries namespaces")

AIOD = (sys.executable, "-m", "aiod")
DOCTOR = [*AIOD, "doctor"]


def _doctor(
    *arguments: str, under: tuple[str, ...] = (), host: str = ""
) -> subprocess.CompletedProcess[str]:
    command = [*under, *AIOD, *(("-H", host) if host else ()), "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def _verdicts(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.stderr == ""
    document = msgspec.json.decode(done.stdout)
    assert document["canRun"] is (done.returncode == 0)
    found = {each["name"]: each for each in document["findings"]}
    for each in found.values():
        assert each["detail"]
        assert bool(each["remedy"]) is (each["verdict"] != "ok"), each
    return found


def _missing(found: dict[str, Any]) -> set[str]:
    return {name for name, each in found.items() if each["verdict"] == "missing"}


def test_this_machine_can_run_aiod() -> None:
    done = _doctor("--json")
    found = _verdicts(done)
    assert done.returncode == 0, done.stdout
    assert list(found) == [probe.name for probe in PROBES]
    assert found["overlay"]["verdict"] == "ok"


def test_another_firewall_that_drops_what_is_forwarded_is_named() -> None:
    rules = (
        "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }"
    )
    under = ("unshare", "--net", "sh", "-c", f'nft "{rules}" && exec "$@"', "sh")
    found = _verdicts(_doctor("--json", under=under))
    assert found["firewalls"]["verdict"] == "note"
    assert "ip filter FORWARD" in found["firewalls"]["detail"]
    assert "iptables -I FORWARD" in found["firewalls"]["remedy"]
    assert {found[name]["verdict"] for name in ("links", "rules")} == {"ok"}


def test_it_leaves_nothing(tmp_path: Path) -> None:
    places = ("--root", str(tmp_path / "a" / "b"), "--state", str(tmp_path / "s"))
    done = _doctor(*places, under=("sh", "-c", 'echo $$ >&2; exec "$@"', "sh"))
    assert done.returncode == 0, done.stdout
    assert list(tmp_path.iterdir()) == []
    name = f"aiod-doctor-{int(done.stderr)}"
    assert not [top for top in hierarchies() if (top / name).exists()]


def test_on_a_pipe_it_is_one_line_for_each_finding() -> None:
    lines = _doctor().stdout.splitlines()
    assert len(lines) == len(PROBES)
    assert {line.split("\t")[0] for line in lines} <= {"ok", "note"}


def test_on_a_terminal_it_ends_with_the_verdict() -> None:
    with Terminal(DOCTOR, {"TERM": "xterm", "PATH": os.environ["PATH"]}) as terminal:
        terminal.expect(b"kernel: namespaces")
        terminal.expect(b"aiod can run here")
        assert terminal.finish() == 0


def test_without_the_capability_to_make_namespaces() -> None:
    done = _doctor("--json", under=("setpriv", "--bounding-set=-sys_admin"))
    found = _verdicts(done)
    assert done.returncode == 1
    assert {"namespaces", "capabilities"} <= _missing(found)
    assert "root" not in _missing(found)
    assert "CAP_SYS_ADMIN" in found["capabilities"]["detail"]


def test_a_capability_that_is_a_nicety_is_a_note() -> None:
    found = _verdicts(_doctor("--json", under=("setpriv", "--bounding-set=-sys_resource")))
    assert found["resources"]["verdict"] == "note"
    assert _missing(found) == set()


def test_as_another_user() -> None:
    under = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    done = _doctor("--json", under=under)
    found = _verdicts(done)
    assert done.returncode == 1
    assert {"root", "namespaces", "directories", "delegation"} <= _missing(found)
    assert "sudo" in found["root"]["remedy"]


def test_without_any_cgroup() -> None:
    script = 'for top in {}; do umount "$top"; done; exec "$@"'.format(
        " ".join(map(str, reversed(hierarchies())))
    )
    done = _doctor("--json", under=("unshare", "--mount", "sh", "-c", script, "sh"))
    assert _missing(_verdicts(done)) == {"hierarchies", "delegation"}
    assert done.returncode == 1


def test_where_the_root_cannot_hold_an_upper_directory(tmp_path: Path) -> None:
    for name in ("lower", "upper", "work", "root"):
        (tmp_path / name).mkdir()
    options = ",".join(
        f"{key}={tmp_path / name}"
        for key, name in (("lowerdir", "lower"), ("upperdir", "upper"), ("workdir", "work"))
    )
    script = f'mount -t overlay overlay -o {options} {tmp_path}/root && exec "$@"'
    done = _doctor(
        "--root",
        f"{tmp_path}/root",
        "--json",
        under=("unshare", "--mount", "sh", "-c", script, "sh"),
    )
    found = _verdicts(done)
    assert found["overlay"]["verdict"] == "note"
    assert str(found["snapshots"]["detail"]).startswith("native")
    assert "--root" in found["overlay"]["remedy"]


def test_without_programs_that_are_a_convenience(tmp_path: Path) -> None:
    found = _verdicts(_doctor("--json", under=("env", f"PATH={tmp_path}")))
    for name in ("docker command", "ps command"):
        assert found[name]["verdict"] == "note"
    assert _missing(found) == set()


def test_a_running_daemon_is_found(daemon: AiodDaemon) -> None:
    found = _verdicts(_doctor("--json", host=daemon.host))
    assert found["daemon"]["verdict"] == "ok"
    daemon.sigkill()
    found = _verdicts(_doctor("--json", host=daemon.host))
    assert found["daemon"]["verdict"] == "note"


def test_directories_that_may_not_be_read_are_a_finding(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    tmp_path.parent.chmod(0o755)
    under = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    found = _verdicts(_doctor("--json", "--root", str(tmp_path), under=under))
    assert found["directories"]["verdict"] == "missing"
