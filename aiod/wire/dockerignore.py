"""Which files of a build's context `.dockerignore` leaves out.

Sans-I/O, for whoever sends a context and whoever receives one. Source: Docker's documentation
of ".dockerignore files"; where that is silent, the behaviour of docker's command. Must not
know where the file is kept or what a context is made of.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from posixpath import normpath

from aiod.errors import InvalidParameterError

FILE = ".dockerignore"


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
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
            if rule.exception == excluded and any(map(rule.pattern.fullmatch, above)):
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
    pattern = line.removeprefix("!")
    try:
        compiled = re.compile(_expression(pattern), re.DOTALL)
    except re.error:
        raise InvalidParameterError(f"syntax error in pattern {pattern!r} of {FILE}") from None
    return _Rule(compiled, line.startswith("!"))


_TOKEN = re.compile(
    r"(?P<deep>\*\*/?)|(?P<star>\*)|(?P<one>\?)|(?P<set>\[[^\]]*\])|\\(?P<quoted>.)", re.DOTALL
)


def _expression(pattern: str) -> str:
    """Go's `filepath.Match`, and `**` for any number of directories."""
    out: list[str] = []
    position = 0
    while position < len(pattern):
        found = _TOKEN.match(pattern, position)
        if found is None:
            if pattern[position] in "[\\":
                raise InvalidParameterError(f"syntax error in pattern {pattern!r} of {FILE}")
            out.append(re.escape(pattern[position]))
            position += 1
            continue
        position = found.end()
        out.append(_piece(found, last=position == len(pattern)))
    return "".join(out)


def _piece(found: re.Match[str], *, last: bool) -> str:
    if found["deep"]:
        return ".*" if last else "(?:.*/)?"
    if found["star"]:
        return "[^/]*"
    if found["one"]:
        return "[^/]"
    if found["quoted"] is not None:
        return re.escape(found["quoted"])
    inside = found["set"][1:-1].replace("\\", "\\\\").replace("[", r"\[").replace("&&", r"&\&")
    return f"[{inside}]"
