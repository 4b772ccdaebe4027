"""Probes of what is installed and running: programs, directories, service manager, a daemon.

Must not know the kernel's features.
"""

import http.client
import os
import shutil
import socket
from pathlib import Path

from aiod.doctor.findings import AbsentError, LessError, Probe, Subject
from aiod.errors import NotFoundError
from aiod.images.base import find_busybox

_LEAST_FREE = 1 << 30
_SECONDS = 5.0
_TOPIC = "host"


def _space(subject: Subject) -> str:
    found = shutil.disk_usage(subject.home)
    state = os.statvfs(subject.home)
    told = f"{found.free >> 20} MiB and {state.f_favail} files free on {subject.home}"
    if found.free < _LEAST_FREE:
        raise LessError(told)
    return told


def _writable(subject: Subject) -> str:
    for place in (subject.paths.root, subject.paths.state):
        above = place
        while not above.is_dir():
            above = above.parent
        if not os.access(above, os.W_OK):
            raise AbsentError(f"{place} cannot be written")
    return f"{subject.paths.root}, {subject.paths.state}"


def _busybox(subject: Subject) -> str:
    try:
        return str(find_busybox())
    except NotFoundError as error:
        raise AbsentError("no statically linked busybox") from error


def _docker(subject: Subject) -> str:
    found = shutil.which("docker")
    if found is None:
        raise AbsentError("no docker command")
    return found


def _ps(subject: Subject) -> str:
    found = shutil.which("ps")
    if found is None:
        raise AbsentError("no ps command: `top` fails")
    return found


def _systemd(subject: Subject) -> str:
    if not Path("/run/systemd/system").is_dir():
        raise AbsentError("systemd does not run this machine")
    units = [Path(place, "aiod.socket") for place in ("/etc/systemd/system", "/lib/systemd/system")]
    if not any(unit.exists() for unit in units):
        raise AbsentError("it runs, and has no aiod.socket")
    return "it runs, and has aiod.socket"


def _daemon(subject: Subject) -> str:
    scheme, _, address = subject.host.partition("://")
    if scheme != "unix":
        raise LessError(f"{subject.host} is not a unix socket: not asked")
    if not Path(address).exists():
        raise AbsentError(f"nobody listens on {address}")
    try:
        return f"version {_version(address)} answers on {address}"
    except (OSError, http.client.HTTPException) as error:
        raise AbsentError(f"no answer on {address}: {error}") from error


def _version(address: str) -> str:
    connection = http.client.HTTPConnection("aiod", timeout=_SECONDS)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(_SECONDS)
        sock.connect(address)
        connection.sock = sock
        connection.request("GET", "/_ping")
        return connection.getresponse().getheader("Server", "unknown")


PROBES = (
    Probe(_TOPIC, "directories", _writable,
          "run as root, or choose others with --root and --state"),
    Probe(_TOPIC, "space", _space, "free space, or choose another place with --root",
          needed=False),
    Probe(_TOPIC, "image base", _busybox, "apt-get install busybox-static", needed=False),
    Probe(_TOPIC, "docker command", _docker,
          "apt-get install docker.io, and export DOCKER_HOST=unix:///run/aiod/aiod.sock",
          needed=False),
    Probe(_TOPIC, "ps command", _ps, "apt-get install procps", needed=False),
    Probe(_TOPIC, "systemd", _systemd,
          "copy systemd/* to /etc/systemd/system, then systemctl enable --now aiod.socket",
          needed=False),
    Probe(_TOPIC, "daemon", _daemon, "systemctl start aiod, or aiod serve", needed=False),
)  # fmt: skip
