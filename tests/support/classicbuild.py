"""`docker build` by the classic builder of an engine, and what it printed, without ids.

Must not know what a test wants.
"""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.support import rootfs
from tests.support.binaries import require
from tests.support.engine import Engine
from tests.support.imagetrees import Image, read_image
from tests.support.layertars import directory, docker_archive, layer, member, soft

BASE = "ground:1"
_IDS = re.compile(r"\b(?:[0-9a-f]{64}|[0-9a-f]{12})\b")
_RED_AGAIN = "\x1b[0m\x1b[91m"  # standard error comes in pieces of no certain size
_ADVICE = re.compile(r"\ADEPRECATED: .*?\n\n", re.DOTALL)  # the docker command's own


@dataclass(frozen=True, slots=True)
class Build:
    """How a build ended; ids are masked, as `<id>`."""

    code: int
    output: str
    errors: str

    @property
    def steps(self) -> list[str]:
        """The lines of the output."""
        return self.output.splitlines()

    @property
    def cached(self) -> list[str]:
        """The steps that were taken from the cache."""
        found, step = [], ""
        for line in self.steps:
            step = line if line.startswith("Step ") else step
            if line == " ---> Using cache":
                found.append(step)
        return found


def build(engine: Engine, context: Path, *options: str, seconds: float = 300.0) -> Build:
    """Build `context` by the real docker command; the engine runs the classic builder."""
    done = subprocess.run(
        [require("docker"), "build", *options, str(context)],
        capture_output=True,
        env={**engine.environment(), "DOCKER_BUILDKIT": "0", "SOURCE_DATE_EPOCH": ""},
        timeout=seconds,
        check=False,
    )
    return Build(
        done.returncode,
        _IDS.sub("<id>", done.stdout.decode().replace(_RED_AGAIN, "")),
        _ADVICE.sub("", _IDS.sub("<id>", done.stderr.decode())),
    )


def post(engine: Engine, body: bytes, **query: str) -> Build:
    """Build the tar `body` through the API alone; `code` is the error's, or the answer's status."""
    with engine.api(timeout=300.0) as api:
        headers = {"Content-Type": "application/x-tar"}
        reply = api.raw("POST", f"/build?{urlencode(query)}", body, headers)
    if reply.status != 200:
        return Build(reply.status, "", _IDS.sub("<id>", reply.message))
    messages = [json.loads(line) for line in reply.body.splitlines() if line.strip()]
    error: dict[str, Any] = next(
        (one["errorDetail"] for one in messages if "errorDetail" in one), {}
    )
    return Build(
        error.get("code", 0),
        _IDS.sub("<id>", "".join(one.get("stream", "") for one in messages)),
        _IDS.sub("<id>", error.get("message", "")),
    )


def saved(engine: Engine, image: str) -> Image:
    """The image as `docker save` gives it."""
    with engine.api() as api:
        reply = api.raw("GET", f"/images/{image}/get")
    assert reply.status == 200, reply.message
    return read_image(reply.body)


def ground() -> bytes:
    """The base image of every Dockerfile: busybox, and a layer with something to run into."""
    above = layer([
        directory("srv/deep/tree"), member("srv/deep/tree/leaf", b"leaf\n"),
        member("srv/removed", b"to be removed\n"), member("srv/kept", b"kept\n", uid=7, gid=8),
        soft("srv/shortcut", "deep/tree"), soft("srv/absolute", "/srv/deep"),
        member("srv/setuid", b"#!/bin/sh\n", mode=0o4755),
    ])  # fmt: skip
    config = {"config": {"Cmd": ["sh"], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}}
    return docker_archive([rootfs.busybox_tar(), above], config=config, tags=[BASE])
