"""The steps of a second build that come from the cache are those that dockerd's takes from it.

Each build has a label of its own, so that no test finds what another one cached.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import contexts
from tests.support.classicbuild import BASE, build
from tests.support.engine import Engine

DOCKERFILE = f"""\
FROM {BASE}
ARG TEST
LABEL test=$TEST
ARG EARLY=1
ENV NAME=value
RUN echo "$EARLY" > /early
COPY one /one
RUN cat /one > /copy
COPY tree /tree
ARG LATE
LABEL late=$LATE
COPY t* /wild/
ADD two /two
RUN true
"""
FILES = {"Dockerfile": DOCKERFILE, "one": "1\n", "two": "2\n", "tree/a": "a\n", "tree/b": "b\n"}


def rewritten(name: str, old: str, new: str) -> Callable[[Path], object]:
    """A change of a file's text."""

    def change(context: Path) -> None:
        text = (context / name).read_text()
        assert old in text
        (context / name).write_text(text.replace(old, new))

    return change


def nothing(context: Path) -> None:
    """No change."""


def a_link_instead(context: Path) -> None:
    """A file becomes a symbolic link."""
    (context / "two").unlink()
    (context / "two").symlink_to("one")


CHANGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "nothing": (nothing, []),
    "content": (rewritten("one", "1", "x"), []),
    "content below": (rewritten("tree/b", "b", "x"), []),
    "a time": (lambda at: (at / "one").touch(), []),
    "a mode": (lambda at: (at / "one").chmod(0o600), []),
    "a directory's mode": (lambda at: (at / "tree").chmod(0o700), []),
    "a new file beside": (lambda at: (at / "beside").touch(), []),
    "a new file below": (lambda at: (at / "tree" / "c").touch(), []),
    "a file less": (lambda at: (at / "tree" / "b").unlink(), []),
    "a name": (lambda at: (at / "tree" / "b").rename(at / "tree" / "c"), []),
    "a link instead": (a_link_instead, []),
    "a match more": (lambda at: (at / "third").touch(), []),
    "an early argument": (nothing, ["--build-arg", "EARLY=2"]),
    "the default given": (nothing, ["--build-arg", "EARLY=1"]),
    "a late argument": (nothing, ["--build-arg", "LATE=2"]),
    "a proxy": (nothing, ["--build-arg", "HTTP_PROXY=x"]),
    "an instruction": (rewritten("Dockerfile", "NAME=value", "NAME=other"), []),
    "white space": (rewritten("Dockerfile", "COPY one /one", "COPY   one   /one"), []),
    "a comment": (rewritten("Dockerfile", "COPY one", "# comment\nCOPY one"), []),
    "case": (rewritten("Dockerfile", "COPY one", "copy one"), []),
    "an owner": (rewritten("Dockerfile", "COPY one", "COPY --chown=0:0 one"), []),
    "a target": (rewritten("Dockerfile", "/two", "/two/"), []),
    "no cache": (nothing, ["--no-cache"]),
    "a label": (nothing, ["--label", "a=b"]),
}


@pytest.mark.parametrize(("change", "options"), CHANGES.values(), ids=CHANGES)
def test_what_a_change_invalidates(
    builders: tuple[Engine, Engine],
    change: Callable[[Path], object],
    options: list[str],
    tmp_path: Path,
) -> None:
    context = contexts.write(tmp_path / "context", FILES)
    own = [["--build-arg", f"TEST={tmp_path}-{number}"] for number in range(len(builders))]
    for each, only in zip(builders, own, strict=True):
        assert build(each, context, *only).code == 0
    change(context)
    ours, theirs = [
        build(each, context, *only, *options) for each, only in zip(builders, own, strict=True)
    ]
    assert ours.cached == theirs.cached
    assert ours == theirs
