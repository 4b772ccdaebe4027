"""`WWW-Authenticate` headers (RFC 9110, 11.6.1). Sans-I/O."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"[\s,]*({_WORD})(?:\s+|\s*,|\s*$)")
_PARAMETER = re.compile(rf'[\s,]*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))\s*(?=,|$)')


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate: `scheme` and the parameters' names are in lower case."""

    scheme: str
    parameters: dict[str, str]


def parse(headers: Iterable[str]) -> list[Challenge]:
    """The challenges of all the headers, in order; what cannot be read ends its header."""
    return [challenge for header in headers for challenge in _one(header)]


def _one(header: str) -> Iterable[Challenge]:
    position = 0
    while found := _SCHEME.match(header, position):
        position = found.end()
        parameters: dict[str, str] = {}
        while pair := _PARAMETER.match(header, position):
            quoted = re.sub(r"\\(.)", r"\1", pair[2]) if pair[2] is not None else pair[3]
            parameters[pair[1].lower()] = quoted
            position = pair.end()
        yield Challenge(found[1].lower(), parameters)
