"""Dockerfile text as logical lines, each split into keyword, flags and the rest.

Owns comments, continuation lines and the `escape` directive (Dockerfile reference, "Format"
and "Parser directives"). Must not know any instruction.
"""

import re
from dataclasses import dataclass

from aiod.errors import InvalidParameterError

DEFAULT_ESCAPE = "\\"
_DIRECTIVE = re.compile(r"#[ \t]*([A-Za-z][A-Za-z0-9]*)[ \t]*=[ \t]*(.+?)[ \t]*")
_FLAG = re.compile(r"--([^\s=]*)(?:=(\S*))?(?:\s+|$)")
_WIDEST = 1 << 16  # characters of one logical line


@dataclass(frozen=True, slots=True)
class Line:
    """One instruction as written: `number` counts from 1, `escape` continues and quotes."""

    number: int
    text: str
    escape: str = DEFAULT_ESCAPE

    @property
    def keyword(self) -> str:
        """The instruction's name as the author spelt it."""
        return self.text.split(None, 1)[0]

    @property
    def arguments(self) -> str:
        """What follows the keyword, flags included."""
        return self.text[len(self.keyword) :].strip()

    def split_flags(self) -> tuple[dict[str, str], str]:
        """The leading `--name=value` flags and the rest; a flag without `=` is "true"."""
        rest = self.arguments
        flags: dict[str, str] = {}
        while (found := _FLAG.match(rest)) is not None:
            rest = rest[found.end() :]
            if not found[1] and found[2] is None:
                break  # a bare -- ends the flags
            if found[1] in flags:
                raise InvalidParameterError(f"Duplicate flag specified: {found[1]}")
            flags[found[1]] = "true" if found[2] is None else found[2]
        return flags, rest


def logical_lines(text: str) -> list[Line]:
    """Every instruction of a Dockerfile. Raises InvalidParameterError."""
    escape, first = _directives(text.split("\n"))
    continued = re.compile(rf"([^{re.escape(escape)}])?{re.escape(escape)}[ \t]*$")
    lines: list[Line] = []
    pending, started = "", 0
    for number, raw in enumerate(text.split("\n"), 1):
        piece = raw.rstrip("\r")
        if number <= first or piece.lstrip().startswith("#") or not piece.strip():
            continue
        started = started or number
        found = continued.search(piece)
        pending += piece if found is None else piece[: found.start()] + (found[1] or "")
        if len(pending) > _WIDEST:
            raise InvalidParameterError(f"dockerfile line {started} is too long")
        if found is None:
            lines.append(Line(started, pending.strip(), escape))
            pending, started = "", 0
    if pending.strip():
        lines.append(Line(started, pending.strip(), escape))
    return lines


def _directives(lines: list[str]) -> tuple[str, int]:
    """The escape character, and how many lines at the top are directives."""
    escape, seen = DEFAULT_ESCAPE, set[str]()
    for count, line in enumerate(lines):
        found = _DIRECTIVE.fullmatch(line.strip())
        name = found[1].lower() if found else ""
        if found is None or name not in ("escape", "syntax", "check"):
            return escape, count
        if name in seen:
            raise InvalidParameterError(f"only one {name} parser directive can be used")
        seen.add(name)
        if name == "escape":
            if found[2] not in ("\\", "`"):
                raise InvalidParameterError(
                    f"invalid ESCAPE '{found[2]}' does not match pattern `|\\\\"
                )
            escape = found[2]
    return escape, len(lines)
