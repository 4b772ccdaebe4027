"""The Dockerfiles of `dockerfiles/` build to the same images as with dockerd's classic builder.

Compared are what `docker build` prints, the merged file systems (types, modes, owners, targets,
contents, links, attributes, kept times), the configs and the histories.
"""

from pathlib import Path

import pytest

from tests.support import contexts
from tests.support.classicbuild import Build, build, saved
from tests.support.engine import Engine

# dockerd records `ENTRYPOINT []` as if it had inherited one, and so never finds the step again.
NEVER_CACHED_BY_DOCKERD = {"23-commands"}


@pytest.fixture
def context(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The complete context of the case."""
    return contexts.prepare(request.param, tmp_path / "context")


def build_twice(engine: Engine, context: Path, *options: str) -> tuple[Build, Build]:
    """Once without the cache, and once more with it."""
    return build(engine, context, "--no-cache", *options), build(engine, context, *options)


def options_of(name: str, web: str) -> list[str]:
    """The arguments of `docker build` for a case."""
    options = {
        "04-arguments-before-from": ["--build-arg", "VARIANT=given"],
        "05-target": ["--target", "middle"],
        "10-add-url": ["--build-arg", f"ADDRESS={web}"],
        "22-onbuild": ["--build-arg", "WHAT=given"],
        "28-build-arguments": [
            *("--build-arg", "GIVEN=by the client", "--build-arg", "OVERRIDDEN=in vain"),
            *("--build-arg", "HTTP_PROXY=http://proxy.example", "--build-arg", "ftp_proxy=f"),
            *("--build-arg", "LATER=later", "--label", "z=last", "--label", "b=before it"),
        ],
    }
    return [*options.get(name, []), "-t", f"case-{name}"]


@pytest.mark.parametrize("context", contexts.names(), indirect=True, ids=str)
def test_builds_as_dockerd_builds(
    builders: tuple[Engine, Engine], context: Path, web: str, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.id
    if (context / "Dockerfile.parent").exists():
        for each in builders:
            build(each, context, "-f", str(context / "Dockerfile.parent"), "-t", "parent:1")
    ours, theirs = [build_twice(each, context, *options_of(name, web)) for each in builders]
    assert ours[0] == theirs[0]
    assert ours[1] == theirs[1] or name in NEVER_CACHED_BY_DOCKERD
    assert (ours[1].code, theirs[1].code) == (0, 0)
    one, other = (saved(each, f"case-{name}") for each in builders)
    assert one.differences(other) == []
