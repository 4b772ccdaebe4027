"""The daemon dies in the middle of a push; or whoever asked for it goes away.

The store is whole afterwards, nothing is left over, and the same push then succeeds.
"""

import json
import random
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.support import layertars, rootfs
from tests.support.daemon import AiodDaemon
from tests.support.engine import eventually
from tests.support.registry import Registry

POINTS = [("push.packed", 1), ("push.packed", 3), ("push.uploaded", 1), ("push.uploaded", 4),
          ("push.manifest-put", 1)]  # fmt: skip
SEED = 20240917
INSTANTS = 12
_NOISE = random.Random(7)
LAYERS = [
    layertars.layer([layertars.member(f"f{n}", _NOISE.randbytes(3_000_000) + bytes(3_000_000))])
    for n in range(4)
]


@pytest.fixture(scope="module")
def registry(scratch: Path) -> Iterator[Registry]:
    with Registry(scratch / "registry-killed") as running:
        yield running


def push(daemon: AiodDaemon, name: str) -> list[Any]:
    with daemon.api() as api:
        reply = api.raw("POST", f"/images/{name}/push?tag=1", None, {"X-Registry-Auth": "e30="})
        return [json.loads(line) for line in reply.body.splitlines()]


def push_in_vain(daemon: AiodDaemon, name: str) -> None:
    with suppress(OSError, HTTPException, ValueError):
        push(daemon, name)


def check(daemon: AiodDaemon, name: str) -> None:
    """All is sound; the push succeeds; afterwards nothing is there that nobody needs."""
    with daemon.api() as api:
        assert _problems(api) == []
        assert "aux" in push(daemon, name)[-1]
        assert _problems(api) == []
        blobs = {path.name for path in daemon.paths.blobs.iterdir()}
        shown = api.call("GET", f"/images/{name}:1/json", manifests="1")
        assert len(shown["Manifests"]) == 1
        assert len(blobs) == 2 + len(LAYERS)
    assert list(daemon.paths.ingest.iterdir()) == []


def _problems(api: Any) -> list[Any]:
    reply = api.raw("POST", "/aiod/images/verify", None)
    lines = [json.loads(line) for line in reply.body.splitlines()]
    assert "summary" in lines[-1]
    return [line for line in lines if line.get("problem")]


@pytest.mark.parametrize(("point", "nth"), POINTS)
def test_killed_at_a_point(
    new_daemon: AiodDaemon, registry: Registry, point: str, nth: int
) -> None:
    name = f"{registry.address}/{point.replace('.', '-')}-{nth}"
    new_daemon.crash_at(point, nth)
    new_daemon.load(rootfs.docker_archive(f"{name}:1", LAYERS))
    push_in_vain(new_daemon, name)
    assert new_daemon.wait_death() == -9
    new_daemon.restart()
    check(new_daemon, name)


def test_killed_at_random_instants(new_daemon: AiodDaemon, registry: Registry) -> None:
    print("seed", SEED)
    instants = random.Random(SEED)
    new_daemon.start()
    for number in range(INSTANTS):
        name = f"{registry.address}/instant-{number}"
        new_daemon.load(rootfs.docker_archive(f"{name}:1", LAYERS))
        thread = threading.Thread(target=push_in_vain, args=(new_daemon, name))
        thread.start()
        time.sleep(instants.uniform(0.0, 0.5))  # the instant
        new_daemon.sigkill()
        thread.join(60)
        new_daemon.restart()
        check(new_daemon, name)
        with new_daemon.api() as api:
            for row in api.call("GET", "/images/json"):
                api.call("DELETE", f"/images/{row['Id']}", force="1")


def test_a_client_that_goes_away_ends_the_push(daemon: AiodDaemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # connects, and never answers
        name = f"127.0.0.1:{deaf.getsockname()[1]}/gone:1"
        daemon.load(rootfs.docker_archive(name, LAYERS))
        with daemon.spawn("push", name) as client:
            assert client.stdout is not None
            assert client.stdout.readline().startswith(b"The push refers to repository")
            eventually(lambda: _in_flight(daemon), lambda number: number == 2)  # and the push
            client.kill()
        eventually(lambda: _in_flight(daemon), lambda number: number == 1)  # this question
    with daemon.api() as api:
        assert _problems(api) == []


def _in_flight(daemon: AiodDaemon) -> int:
    with daemon.api() as api:
        text = api.raw("GET", "/metrics").body.decode()
    found = re.search(r"^aiod_api_requests_in_flight (\d+)", text, re.MULTILINE)
    assert found is not None, text
    return int(found[1])
