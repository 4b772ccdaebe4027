"""What tests of builds share: two engines with one base image, and a web server to fetch from."""

from collections.abc import Iterator

import pytest

from tests.support.classicbuild import ground
from tests.support.engine import Engine
from tests.support.layertars import layer, member
from tests.support.webserver import Page, serving


@pytest.fixture(scope="module")
def builders(engine: Engine, dockerd: Engine) -> tuple[Engine, Engine]:
    """The engine under test, and dockerd; both have the base image."""
    archive = ground()
    for each in {engine, dockerd}:
        each.load(archive)
    return engine, dockerd


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """The address of what ADD fetches."""
    dated = {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
    pages = {
        "/dated.txt": Page(b"dated\n", headers=dated),
        "/undated.txt": Page(b"undated\n"),
        "/archive.tar": Page(layer([member("inside", b"inside\n")]), headers=dated),
        "/query?name=value": Page(b"queried\n"),
        "/sp%20ace.txt": Page(b"a space\n"),
        "/": Page(b"a page without a name\n"),
        "/redirect": Page(status=302, headers={"Location": "/dated.txt"}),
    }
    with serving(pages) as address:
        yield address
