"""Patterns of paths as Go programs match them: `*`, `?`, `[a-z]`, `\\x`, and `**` if wanted.

Sans-I/O. Source: the documentation of Go's path.Match, which filepath.Match shares; `**` as in
docker's documentation of ".dockerignore files". Must not know what the paths are of.
"""

import re
from collections.abc import Callable

from aiod.errors import InvalidParameterError


def matcher(pattern: str, *, deep: bool = False) -> Callable[[str], bool]:
    """Whether a whole path matches: `*` and `?` match no slash; `**`, if `deep`, any path.

    Raises InvalidParameterError for a pattern that is none.
    """
    try:
        compiled = re.compile(_translated(pattern, deep), re.DOTALL)
    except re.error:  # such as a range that runs backwards
        raise _bad(pattern) from None
    return lambda path: compiled.fullmatch(path) is not None


def _translated(pattern: str, deep: bool) -> str:
    out, place = "", 0
    while place < len(pattern):
        piece, place = _piece(pattern, place, deep)
        out += piece
    return out


def _piece(pattern: str, place: int, deep: bool) -> tuple[str, int]:
    """The expression of what is at `place`, and where the next begins."""
    character = pattern[place]
    if deep and pattern.startswith("**", place):
        return _any_depth(pattern, place + 2)
    if character == "*":
        return "[^/]*", place + 1
    if character == "?":
        return "[^/]", place + 1
    if character == "[":
        return _class(pattern, place + 1)
    if character == "\\":
        place += 1
        if place == len(pattern):
            raise _bad(pattern)
    return re.escape(pattern[place]), place + 1


def _any_depth(pattern: str, place: int) -> tuple[str, int]:
    if place == len(pattern):
        return ".*", place
    place += pattern.startswith("/", place)
    return (".*" if place == len(pattern) else "(?:.*/)?"), place


def _class(pattern: str, place: int) -> tuple[str, int]:
    end = _class_end(pattern, place)
    inner = pattern[place:end]
    negated = inner.startswith("^")
    return f"[{'^/' if negated else ''}{_class_body(inner[negated:])}]", end + 1


def _class_end(pattern: str, place: int) -> int:
    at = place + 1 if pattern[place : place + 1] == "^" else place
    while at < len(pattern) and (pattern[at] != "]" or at == place):
        at += 2 if pattern[at] == "\\" else 1
    if at >= len(pattern):
        raise _bad(pattern)
    return at


def _class_body(inner: str) -> str:
    return re.sub(r"\\(.)|([\[\]&~|^])", lambda m: "\\" + (m[1] or m[2]), inner)


def _bad(pattern: str) -> InvalidParameterError:
    return InvalidParameterError(f"syntax error in pattern: {pattern}")
