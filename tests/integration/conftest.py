"""Event loops: the server's tests run on both that a user may have; two engines without images."""

import asyncio
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop

from tests.support.engine import Engine
from tests.support.http import Api
from tests.support.images import remove_all

_BOTH = {"test_api_server.py", "test_tls.py"}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.path.name in _BOTH:
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def both(aiod: Engine, dockerd: Engine) -> Iterator[tuple[Api, Api]]:
    """The two engines without an image, asked in the newest version that both speak."""
    with aiod.api("1.41") as ours, dockerd.api("1.41") as theirs:
        for api in (ours, theirs):
            remove_all(api)
        yield ours, theirs
        for api in (ours, theirs):
            remove_all(api)
