"""The stack of tests/compose on a machine: its images' base, docker-compose, and clients.

Must not know which engine runs it.
"""

import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.support import debian, rootfs
from tests.support.binaries import require
from tests.support.engine import Engine
from tests.support.netns import Namespace
from tests.support.traffic import connected

PORT = 8088
_PROJECT = Path(__file__).parents[1] / "compose"
_PACKAGES = ("busybox-static", "nginx", "postgresql", "python3", "python3-psycopg2")
_ACCOUNTS = {
    "passwd": (
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"
        "user:x:1000:1000::/:/bin/sh\npostgres:x:70:70::/var/lib/postgresql:/bin/sh\n"
    ),
    "group": "root:x:0:\nnogroup:x:65534:\nuser:x:1000:\npostgres:x:70:\n",
}


def base_image(scratch: Path) -> bytes:
    """`debian-parts`: what the three services run, as an archive to load."""
    root = scratch / "parts"
    debian.unpacked(_PACKAGES, root)
    for name in ("dev", "proc", "sys", "run", "root", "tmp", "var/log", "etc/nginx"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for name, text in _ACCOUNTS.items():
        (root / "etc" / name).write_text(text)
    for applet in ("sh", "mkdir", "chown", "chmod", "echo"):
        (root / "usr/bin" / applet).symlink_to("busybox")
    pack = ("tar", "-c", "--sort=name", "-C", str(root), ".")
    layer = subprocess.run(pack, capture_output=True, check=True).stdout
    shutil.rmtree(root)
    return rootfs.docker_archive("debian-parts:latest", [layer])


class Stack:
    """The project under one name, driven by docker-compose."""

    def __init__(self, engine: Engine, directory: Path) -> None:
        self._engine = engine
        self._directory = directory / "stack"
        shutil.copytree(_PROJECT, self._directory)

    def compose(self, *arguments: str) -> str:
        """Run docker-compose to its end; it must succeed."""
        done = subprocess.run(
            [require("docker-compose"), "-f", "compose.yaml", "-p", "stack", *arguments],
            cwd=self._directory,
            env=self._engine.environment(),
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout


def get(where: Namespace, address: str, path: str = "/", seconds: float = 30.0) -> int:
    """The number that the stack answers a request with; OSError or ValueError when it does not."""
    with connected(where, address, PORT, seconds) as client:
        client.sendall(f"GET {path} HTTP/1.0\r\nHost: stack\r\n\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise ValueError(answer[:300].decode(errors="replace"))
    return int(body)


class Visitors:
    """Clients that ask one after the other, inside `with`, and keep account."""

    def __init__(self, places: Sequence[tuple[Namespace, str]]) -> None:
        self._end = threading.Event()
        self._counted = threading.Condition()
        self._threads = [threading.Thread(target=self._visit, args=place) for place in places]
        self.answered = 0
        self.failures: list[str] = []

    def more(self, count: int, seconds: float = 60.0) -> None:
        """Wait until that many further requests were answered."""
        with self._counted:
            wanted = self.answered + count
            enough = self._counted.wait_for(
                lambda: self.answered >= wanted or bool(self.failures), seconds
            )
        assert enough, f"{self.answered} requests were answered, not {wanted}"
        assert self.failures == []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _visit(self, where: Namespace, address: str) -> None:
        while not self._end.is_set():
            try:
                get(where, address)
            except (OSError, ValueError) as error:
                with self._counted:
                    self.failures.append(f"{address}: {error!r}")
                    self._counted.notify_all()
                return
            with self._counted:
                self.answered += 1
                self._counted.notify_all()
