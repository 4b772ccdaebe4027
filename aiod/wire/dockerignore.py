"""Which files of a build's context `.dockerignore` leaves out.

Sans-I/O, for whoever sends a context and whoever receives one. Source: Docker's documentation
of ".dockerignore files"; where that is silent, the behaviour of docker's command. Must not
know where the file is kept or what a context is made of.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from posixpath import normpath

from aiod.errors import InvalidParameterError
from aiod.wire import goglob

FILE = ".dockerignore"


@dataclass(frozen=True, slots=True)
class _Rule:
    matches: Callable[[str], bool]
    exception: bool


class Ignore:
    """The rules of one file, in their order; without any, nothing is left out."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self._rules = tuple(_rule(line) for line in lines)
        self.has_exceptions = any(rule.exception for rule in self._rules)

    def excludes(self, path: str) -> bool:
        """Whether a path, relative to the context, is left out: the last rule that matches
        it or a directory above it decides."""
        parts = path.strip("/").split("/")
        above = ["/".join(parts[:end]) for end in range(len(parts), 0, -1)]
        excluded = False
        for rule in self._rules:
            if rule.exception == excluded and any(map(rule.matches, above)):
                excluded = not rule.exception
        return excluded


def parse(text: str, kept: Iterable[str] = ()) -> Ignore:
    """Read a file; `kept` are paths that stay whatever it says.

    Raises InvalidParameterError for a pattern that is none.
    """
    lines = [line for line in map(_cleaned, text.removeprefix("\ufeff").split("\n")) if line]
    return Ignore([*lines, *(f"!{_escaped(path)}" for path in kept)] if lines else ())


def _cleaned(line: str) -> str:
    """A line without what is no pattern; empty if nothing is left."""
    if line.startswith("#"):
        return ""
    pattern = line.strip()
    exception = pattern.startswith("!")
    pattern = pattern.removeprefix("!").strip()
    if not pattern:
        if exception:
            raise InvalidParameterError('illegal exclusion pattern: "!"')
        return ""
    pattern = normpath(pattern)
    if len(pattern) > 1:
        pattern = pattern.lstrip("/")
    return ("!" if exception else "") + pattern


def _escaped(path: str) -> str:
    return re.sub(r"([*?\[\]\\])", r"\\\1", path)


def _rule(line: str) -> _Rule:
    return _Rule(goglob.matcher(line.removeprefix("!"), deep=True), line.startswith("!"))
