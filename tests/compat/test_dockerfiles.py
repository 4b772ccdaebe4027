"""The Dockerfiles of `dockerfiles/` build to the same images as with dockerd's classic builder.

Compared are what `docker build` prints, the merged file systems (types, modes, owners, targets,
contents, links, attributes, kept times), the configs and the histories.
"""

from pathlib import Path

import pytest

from tests.support import contexts, rootfs
from tests.support.classicbuild import Build, build, saved
from tests.support.engine import Engine
from tests.support.layertars import directory, docker_archive, layer, member, soft

BASE = "ground:1"
OPTIONS: dict[str, list[str]] = {
    "04-arguments-before-from": ["--build-arg", "VARIANT=given"],
    "05-target": ["--target", "middle"],
}


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


@pytest.fixture(scope="module")
def builders(engine: Engine, dockerd: Engine) -> tuple[Engine, Engine]:
    """The engine under test, and dockerd; both have the base image."""
    archive = ground()
    for each in {engine, dockerd}:
        each.load(archive)
    return engine, dockerd


@pytest.fixture
def context(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The complete context of the case."""
    return contexts.prepare(request.param, tmp_path / "context")


def build_twice(engine: Engine, context: Path, *options: str) -> tuple[Build, Build]:
    """Once without the cache, and once more with it."""
    return build(engine, context, "--no-cache", *options), build(engine, context, *options)


@pytest.mark.parametrize("context", contexts.names(), indirect=True, ids=str)
def test_builds_as_dockerd_builds(
    builders: tuple[Engine, Engine], context: Path, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.id
    options = [*OPTIONS.get(name, []), "-t", f"case-{name}"]
    ours, theirs = [build_twice(engine, context, *options) for engine in builders]
    assert ours == theirs
    assert theirs[1].code == 0, theirs
    one, other = (saved(engine, f"case-{name}") for engine in builders)
    assert one.differences(other) == []
