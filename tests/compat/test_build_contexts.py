"""Contexts as no docker command sends them: through the API alone, compared with dockerd.

What the docker command does itself, such as forgetting owners, is then not done by anybody.
"""

import bz2
import gzip
import lzma
import tarfile
from dataclasses import replace

import pytest

from tests.support.classicbuild import BASE, post, saved
from tests.support.engine import Engine
from tests.support.layertars import Member, directory, layer, link, member, soft

COPY = member("Dockerfile", f"FROM {BASE}\nCOPY . /all\n".encode())
RUN = member("Dockerfile", f"FROM {BASE}\nRUN true\n".encode())

CONTEXTS: dict[str, list[Member]] = {
    "owners": [COPY, directory("d", uid=5, gid=6), member("d/f", b"x", uid=7, gid=8)],
    "names of owners": [COPY, member("f", b"x", uname="somebody", gname="something")],
    "modes": [COPY, member("f", b"x", mode=0o4711), directory("d", 0o1777)],
    "no directories": [COPY, member("a/b/c", b"deep")],
    "dots": [directory("."), member("./Dockerfile", COPY[1]), member("./d/./f", b"x")],
    "links": [COPY, member("a", b"x"), link("b", "a"), soft("c", "a"), soft("d", "/etc/passwd")],
    "devices": [
        COPY, member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        member("fifo", type=tarfile.FIFOTYPE),
    ],
    "only the dockerfile": [COPY],
    "the same name twice": [COPY, member("f", b"first"), member("f", b"second")],
    "a file over a directory": [COPY, directory("d"), member("d/f", b"x"), member("d", b"file")],
}  # fmt: skip


@pytest.mark.parametrize("name", CONTEXTS)
def test_a_context(builders: tuple[Engine, Engine], name: str) -> None:
    body = layer(CONTEXTS[name])
    ours, theirs = [post(each, body, t="sent", nocache="1") for each in builders]
    assert ours == theirs
    assert theirs.code == 0
    one, other = (saved(each, "sent") for each in builders)
    assert one.differences(other) == []


PLAIN = layer([RUN])
BODIES = {
    "plain": PLAIN,
    "gzip": gzip.compress(PLAIN),
    "bzip2": bz2.compress(PLAIN),
    "xz": lzma.compress(PLAIN),
    "gnu": layer([RUN], tarfile.GNU_FORMAT),
    "ustar": layer([RUN], tarfile.USTAR_FORMAT),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_of_any_format(builders: tuple[Engine, Engine], body: bytes) -> None:
    ours, theirs = [post(each, body, nocache="1") for each in builders]
    assert ours == theirs
    assert theirs.code == 0


QUERIES: dict[str, dict[str, str]] = {
    "another dockerfile": {"dockerfile": "sub/Other"},
    "a missing dockerfile": {"dockerfile": "missing"},
    "quiet": {"q": "1"},
    "two names": {"t": "one:1"},
    "containers kept": {"rm": "0"},
    "labels": {"labels": '{"b": "2", "a": "1"}'},
    "a target": {"target": "nothing"},
}
OTHER = layer([RUN, directory("sub"), member("sub/Other", f"FROM {BASE}\nENV a=b\n".encode())])


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_query(builders: tuple[Engine, Engine], query: dict[str, str]) -> None:
    ours, theirs = [
        # 500 is dockerd's answer to whatever it cannot do.
        replace(built, code=400) if built.code == 500 and each.name == "dockerd" else built
        for each in builders
        for built in (post(each, OTHER, **{"nocache": "1", **query}),)
    ]
    assert ours == theirs


REFUSED = {
    "labels": "error reading labels: ",
    "buildargs": "error reading ",
    "t": "invalid reference format: repository name",
}


@pytest.mark.parametrize("key", REFUSED)
def test_a_query_that_cannot_be_read(builders: tuple[Engine, Engine], key: str) -> None:
    for each in builders:
        built = post(each, OTHER, **{key: "[Bad"})
        assert built.code >= 400
        assert built.errors.startswith(REFUSED[key])


NO_CONTEXTS: dict[str, tuple[bytes, int]] = {
    "empty": (b"", 400),
    "no tar": (b"this is no tar" * 100, 400),
    "cut short": (PLAIN[:700], 400),
    "no dockerfile": (layer([member("other")]), 400),
    "a name outside": (layer([RUN, member("../../escaped", b"x")]), 400),
    "a link outside": (layer([RUN, soft("out", "/"), member("out/escaped", b"x")]), 0),
}


@pytest.mark.parametrize(("body", "code"), NO_CONTEXTS.values(), ids=NO_CONTEXTS)
def test_a_body_that_is_no_context(aiod: Engine, body: bytes, code: int) -> None:
    built = post(aiod, body)
    assert built.code == code, built
    assert code == 0 or built.errors
