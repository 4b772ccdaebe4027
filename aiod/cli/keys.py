"""The option `--detach-keys`. Must not know what is detached from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from aiod.errors import InvalidParameterError
from aiod.wire.detachkeys import parse

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class DetachKeys:
    """The keys as typed, for the engine, and as the bytes they send."""

    text: str
    sequence: bytes

    @property
    def query(self) -> dict[str, str]:
        """The parameter of an attach; none for the engine's own default."""
        return {"detachKeys": self.text} if self.text else {}


def _read(ctx: click.Context, param: click.Parameter, value: str) -> DetachKeys:
    try:
        return DetachKeys(value, parse(value))
    except InvalidParameterError as error:
        raise click.BadParameter(error.message) from None


def detach_keys(command: F) -> F:
    """Give a command the option, as its parameter `keys`."""
    return click.option(
        "--detach-keys",
        "keys",
        default="",
        callback=_read,
        metavar="KEYS",
        help="What leaves a terminal.  [ctrl-p,ctrl-q]",
    )(command)
