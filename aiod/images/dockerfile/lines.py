"""Dockerfile text as logical lines, each split into keyword, flags and the rest.

Owns comments, continuation lines, the `escape` directive and where here-documents end
(Dockerfile reference, "Format", "Parser directives" and "Here-Documents"). Of instructions
it knows only which may have here-documents.
"""

import re
from dataclasses import dataclass, replace

from aiod.errors import InvalidParameterError
from aiod.images.dockerfile.words import split_words, unquoted

DEFAULT_ESCAPE = "\\"
_DIRECTIVE = re.compile(r"#[ \t]*([A-Za-z][A-Za-z0-9]*)[ \t]*=[ \t]*(.+?)[ \t]*")
_FLAG = re.compile(r"--([^\s=]*)(?:=(\S*))?(?:\s+|$)")
_WIDEST = 1 << 16  # characters of one logical line
_HEREDOC = re.compile(r"[0-9]*<<(-?)([^<]+)")
_WITH_HEREDOCS = frozenset(("add", "copy", "run"))


class DirectiveError(InvalidParameterError):
    """A parser directive that is none."""


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A here-document: `expand` unless its name was quoted, `chomp` for `<<-`.

    `content` is as written, with the newline of every line.
    """

    name: str
    expand: bool
    chomp: bool
    content: str = ""

    @property
    def text(self) -> str:
        """The content, without the leading tabs that `<<-` takes away."""
        return re.sub(r"(?m)^\t+", "", self.content) if self.chomp else self.content


@dataclass(frozen=True, slots=True)
class Line:
    """One instruction as written: `number` counts from 1, `escape` continues and quotes.

    `gap` says that it goes on over an empty line.
    """

    number: int
    text: str
    escape: str = DEFAULT_ESCAPE
    heredocs: tuple[Heredoc, ...] = ()
    gap: bool = False

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
    rows = [row.rstrip("\r") for row in text.split("\n")]
    escape, first = _directives(rows)
    continued = re.compile(rf"([^{re.escape(escape)}])?{re.escape(escape)}[ \t]*$")
    lines: list[Line] = []
    pending, started, number, gap = "", 0, first, False
    while number < len(rows):
        piece = rows[number]
        number += 1
        if piece.lstrip().startswith("#") or not piece.strip():
            gap |= bool(pending) and not piece.strip()
            continue
        started = started or number
        found = continued.search(piece)
        pending += piece if found is None else piece[: found.start()] + (found[1] or "")
        if len(pending) > _WIDEST:
            raise InvalidParameterError(f"dockerfile line {started} is too long")
        if found is None:
            line, number = _with_heredocs(
                Line(started, pending.strip(), escape, gap=gap), rows, number
            )
            lines.append(line)
            pending, started, gap = "", 0, False
    if pending.strip():
        lines.append(Line(started, pending.strip(), escape))
    return lines


def heredoc(word: str, escape: str) -> Heredoc | None:
    """The here-document that a word such as `<<-"END"` announces; None for any other word."""
    found = _HEREDOC.fullmatch(word)
    if found is None:
        return None
    name = unquoted(found[2], escape)
    return Heredoc(name, name == found[2], bool(found[1])) if name else None


def _with_heredocs(line: Line, rows: list[str], number: int) -> tuple[Line, int]:
    """The line with the here-documents that follow it, and where the next line begins."""
    wanted = _announced(line)
    if not wanted:
        return line, number
    filled: list[Heredoc] = []
    for document in wanted:
        begin = number
        while number < len(rows) and _ending(rows[number], document) != document.name:
            number += 1
        if number >= len(rows):
            raise InvalidParameterError(
                f"dockerfile parse error line {line.number}: unterminated heredoc"
            )
        content = "".join(row + "\n" for row in rows[begin:number])
        filled.append(replace(document, content=content))
        number += 1
    return replace(line, heredocs=tuple(filled)), number


def _ending(row: str, document: Heredoc) -> str:
    return row.lstrip("\t") if document.chomp else row


def _announced(line: Line) -> list[Heredoc]:
    keyword, rest = line.keyword.lower(), line.arguments
    if keyword == "onbuild":
        keyword, rest = [*rest.lower().split(None, 1), ""][0], rest
    if keyword not in _WITH_HEREDOCS or "<<" not in rest:
        return []
    found = (heredoc(word, line.escape) for word in split_words(rest, line.escape))
    return [document for document in found if document is not None]


def _directives(lines: list[str]) -> tuple[str, int]:
    """The escape character, and how many lines at the top are directives."""
    escape, seen = DEFAULT_ESCAPE, set[str]()
    for count, line in enumerate(lines):
        found = _DIRECTIVE.fullmatch(line.strip())
        name = found[1].lower() if found else ""
        if found is None or name not in ("escape", "syntax", "check"):
            return escape, count
        if name in seen:
            raise DirectiveError(f"only one {name} parser directive can be used")
        seen.add(name)
        if name == "escape":
            if found[2] not in ("\\", "`"):
                raise DirectiveError(f"invalid escape token '{found[2]}' does not match ` or \\")
            escape = found[2]
    return escape, len(lines)
