"""What commands print: tables, JSON, sizes, lines.

Plain text whether on a terminal or a pipe, so that nothing depends on where it goes. Must not
know what the rows are of.
"""

import sys
from collections.abc import Sequence

import click
import msgspec

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_GAP = 3


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest cell; the last is not padded."""
    cells = [list(titles), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[index]) for row in cells) + _GAP for index in range(len(titles))]
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        line("".join([*padded, row[-1]]).rstrip())


def printable(text: str) -> str:
    """The text with control characters shown, not obeyed: a name must not drive a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def line(text: str) -> None:
    """One line on standard output, there at once."""
    click.echo(text, color=False)


def text(piece: str) -> None:
    """A piece of text as it is, there at once."""
    click.echo(piece, nl=False, color=True)


def warn(text: str) -> None:
    """One line on standard error that does not stop anything."""
    click.echo(f"aiod: warning: {text}", err=True)


def complain(text: str) -> None:
    """Why something failed, on one line of standard error."""
    sys.stdout.flush()
    click.echo(f"aiod: {' '.join(text.split())}", err=True)


def json(value: object) -> None:
    """A value as indented JSON."""
    raw_json(msgspec.json.encode(value))


def raw_json(body: bytes, indent: int = 2) -> None:
    """JSON that came from the engine, indented and otherwise as it is."""
    line(msgspec.json.format(body, indent=indent).decode())


def size(count: int) -> str:
    """Bytes in powers of 1000 with three digits: `1.23MB`."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g}{_UNITS[unit]}" if value < 999.5 else f"{value:.0f}{_UNITS[unit]}"


def short_id(identity: str) -> str:
    """The twelve digits people use."""
    return identity.removeprefix("sha256:")[:12]


def cut(text: str, width: int) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= width else text[: width - 1] + "…"
