"""Event loops: the server's tests run on both that a user may have."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

_BOTH = {"test_api_server.py", "test_tls.py"}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.path.name in _BOTH:
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"uvloop": uvloop.new_event_loop}
