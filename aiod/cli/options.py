"""Kinds of options that many commands have. Must not know what an option means."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def flag(*names: str, text: str) -> Callable[[F], F]:
    """An option without a value."""
    return click.option(*names, is_flag=True, help=text)


def filtering(*names: str, example: str) -> Callable[[F], F]:
    """`--filter`, whose values come as `chosen`."""
    return many(*names, "--filter", "chosen", metavar="NAME=VALUE", text=f"Such as {example}")


def many(*names: str, metavar: str, text: str, **more: Any) -> Callable[[F], F]:
    """An option that may be given again; its value is a tuple."""
    return click.option(*names, multiple=True, metavar=metavar, help=f"{text} (repeatable)", **more)
