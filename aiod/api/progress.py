"""Progress streams: what long operations on images answer with.

Must not know any route.
"""

import contextlib
import logging
from collections.abc import AsyncGenerator

import msgspec
from aiohttp import web

from aiod.api import replies
from aiod.api.routing import Call
from aiod.errors import AiodError

log = logging.getLogger(__name__)


class ErrorDetail(msgspec.Struct, frozen=True):
    """The reason, again."""

    message: str


class ErrorLine(msgspec.Struct, frozen=True, rename="camel"):
    """The line that ends a progress stream which failed after its header was sent."""

    error_detail: ErrorDetail
    error: str


async def stream(call: Call, messages: AsyncGenerator[object, None]) -> web.StreamResponse:
    """Stream progress. A failure before the first message has its own status; a later one
    is the stream's last line, as the header is sent by then. The client gone, it is undone.
    """
    async with contextlib.aclosing(messages):
        try:
            first = await anext(messages)
        except StopAsyncIteration:
            return replies.empty(200)
        async with replies.JsonLines(call) as lines:
            await lines.send(first)
            try:
                async for message in messages:
                    await lines.send(message)
            except ConnectionError:
                raise
            except Exception as error:
                await lines.send(_last(call, error))
        return lines.response


def _last(call: Call, error: Exception) -> ErrorLine:
    told = error.message if isinstance(error, AiodError) else f"{type(error).__name__}: {error}"
    if not isinstance(error, AiodError):
        log.error("%s: %s", call.route, told, exc_info=error)
    return ErrorLine(ErrorDetail(told), told)
