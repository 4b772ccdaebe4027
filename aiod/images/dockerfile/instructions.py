"""One line of a Dockerfile as an instruction with its arguments.

Owns the shapes of arguments: JSON arrays, shell forms, `key=value` pairs, flags. Must not
know what an instruction does (that is `runconfig`, and the builder).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from aiod.errors import InvalidParameterError
from aiod.images.dockerfile.lines import Line
from aiod.images.dockerfile.words import split_words


class ShapeError(InvalidParameterError):
    """Arguments that cannot be told from one another."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """`keyword` is in lower case; `is_json` says that the arguments came as a JSON array.

    The arguments of ENV and LABEL alternate between key and value. `literal` ones name no
    variables.
    """

    line: Line
    keyword: str
    arguments: tuple[str, ...]
    is_json: bool = False
    flags: Mapping[str, str] = field(default_factory=dict)
    literal: bool = False

    @property
    def name(self) -> str:
        """The keyword as messages write it."""
        return self.keyword.upper()


Arguments = tuple[tuple[str, ...], bool]
_FLAGS = {
    "add": frozenset(("chmod", "chown", "checksum")),
    "copy": frozenset(("chmod", "chown", "from")),
    "from": frozenset(("platform",)),
    "healthcheck": frozenset(("interval", "timeout", "start-period", "start-interval", "retries")),
}
_MAY_BE_EMPTY = ("cmd", "entrypoint", "run")
_BUILDKIT = {
    "add": frozenset(("exclude", "keep-git-dir", "link", "unpack")),
    "copy": frozenset(("exclude", "link", "parents")),
    "run": frozenset(("device", "mount", "network", "security")),
}


def read(line: Line) -> Instruction:
    """Read the arguments by the keyword's own rule. Raises InvalidParameterError."""
    keyword = line.keyword.lower()
    rule = _RULES.get(keyword)
    if rule is None:
        raise InvalidParameterError(f"unknown instruction: {line.keyword}")
    flags, rest = line.split_flags() if keyword != "onbuild" else ({}, line.arguments)
    _check_flags(keyword, flags)
    arguments, is_json = rule(rest, line)
    if not arguments and keyword not in _MAY_BE_EMPTY:
        raise InvalidParameterError(f"{keyword.upper()} requires at least one argument")
    return Instruction(line, keyword, arguments, is_json, flags)


def _check_flags(keyword: str, flags: Mapping[str, str]) -> None:
    for flag in flags:
        if flag in _BUILDKIT.get(keyword, ()):
            raise InvalidParameterError(
                f"the --{flag} option requires BuildKit, which aiod does not have"
            )
        if flag not in _FLAGS.get(keyword, ()):
            raise InvalidParameterError(f"Unknown flag: {flag}")


def _json_array(text: str) -> tuple[str, ...] | None:
    """A JSON array of strings; None for anything that is no JSON array."""
    if not text.startswith("["):
        return None
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    if not isinstance(found, list):
        return None
    if not all(isinstance(item, str) for item in found):
        raise InvalidParameterError(
            "when using JSON array syntax, arrays must be comprised of strings only"
        )
    return tuple(found)


def _command(text: str, line: Line) -> Arguments:
    array = _json_array(text)
    if array is not None:
        return array, True
    return ((text,) if text else ()), False


def _list(text: str, line: Line) -> Arguments:
    array = _json_array(text)
    return (tuple(text.split()), False) if array is None else (array, True)


def _words(text: str, line: Line) -> Arguments:
    return tuple(text.split()), False


def _one(text: str, line: Line) -> Arguments:
    if not text:
        raise InvalidParameterError(f"{line.keyword.upper()} requires exactly one argument")
    return (text,), False


def _pairs(text: str, line: Line) -> Arguments:
    """`a=b c=d`, or in the old form `name value` with blanks in the value."""
    words = split_words(text, line.escape)
    if words and "=" not in words[0]:
        parts = re.split(r"\s+", text, maxsplit=1)
        if len(parts) < 2:
            raise ShapeError(f"{line.keyword.upper()} must have two arguments")
        return tuple(parts), False
    found: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ShapeError(f'Syntax error - can\'t find = in "{word}". '
                                        "Must be of the form: name=value")  # fmt: skip
        if not key:
            raise InvalidParameterError(f"{line.keyword.upper()} names can not be blank")
        found += (key, value)
    return tuple(found), False


def _health(text: str, line: Line) -> Arguments:
    kind, _, rest = text.partition(" ")
    arguments, is_json = _command(rest.strip(), line)
    return ((kind.upper(), *arguments) if kind else ()), is_json


def _trigger(text: str, line: Line) -> Arguments:
    trigger = text.split(None, 1)[0].upper() if text else ""
    if trigger == "ONBUILD":
        raise InvalidParameterError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("MAINTAINER", "FROM"):
        raise InvalidParameterError(f"{trigger} isn't allowed as an ONBUILD trigger")
    documents = "".join(f"\n{one.content}{one.name}" for one in line.heredocs)
    return ((text + documents,) if text else ()), False


def _places(text: str, line: Line) -> Arguments:
    """Sources and the destination."""
    array = _json_array(text)
    words = tuple(split_words(text, line.escape)) if array is None else array
    name = line.keyword.upper()
    if len(words) < 2:
        raise InvalidParameterError(
            f"{name} requires at least two arguments, but only one was provided. "
            "Destination could not be determined"
        )
    return words, array is not None


def _base(text: str, line: Line) -> Arguments:
    words = tuple(text.split())
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].lower() != "as"):
        raise InvalidParameterError("FROM requires either one or three arguments")
    return words, False


def _shell(text: str, line: Line) -> Arguments:
    array = _json_array(text)
    if array is None:
        raise InvalidParameterError("SHELL requires the arguments to be in JSON form")
    return array, True


def _names(text: str, line: Line) -> Arguments:
    """`name` or `name=default`, each."""
    words = split_words(text, line.escape)
    for word in words:
        if not word.partition("=")[0]:
            raise InvalidParameterError("ARG names can not be blank")
    return tuple(words), False


_RULES: dict[str, Callable[[str, Line], Arguments]] = {
    "add": _places,
    "arg": _names,
    "cmd": _command,
    "copy": _places,
    "entrypoint": _command,
    "env": _pairs,
    "expose": _words,
    "from": _base,
    "healthcheck": _health,
    "label": _pairs,
    "maintainer": _one,
    "onbuild": _trigger,
    "run": _command,
    "shell": _shell,
    "stopsignal": _one,
    "user": _one,
    "volume": _list,
    "workdir": _one,
}
