"""Removes things by their names: one that fails hinders no other. Must not know what they are."""

from collections.abc import Callable

from aiod.cli import asking
from aiod.cli.asking import Asking
from aiod.cli.client import Query
from aiod.cli.errors import EngineError


def remove(
    names: tuple[str, ...], path: Callable[[str], str], query: Query | None, *, force: bool
) -> None:
    """DELETE each one's path, and print its name; with `force` what is gone is no failure."""

    async def work(ask: Asking) -> int:
        async def one(name: str) -> str | None:
            try:
                await ask.client.send("DELETE", path(name), query)
            except EngineError as error:
                # What is to be gone is gone, which is all that force asks for.
                if force and error.http_status == 404:
                    return None
                raise
            return name

        return await asking.each(names, one)

    asking.ask(work)
