"""What tests of builds and of networks share.

Two engines with one base image and a web server to fetch from; a playground of networks.
"""

from collections.abc import Iterator

import pytest

from tests.support import classicbuild
from tests.support.engine import Engine
from tests.support.layertars import layer, member
from tests.support.playground import Playground, Site
from tests.support.webserver import Page, serving


@pytest.fixture
def ground(site: Site) -> Iterator[Playground]:
    """Networks and containers of the test's own."""
    with Playground(site) as ground:
        yield ground


@pytest.fixture(scope="module")
def builders(engine: Engine, dockerd: Engine) -> tuple[Engine, Engine]:
    """The engine under test, and dockerd; both have the base image."""
    archive = classicbuild.ground()
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
