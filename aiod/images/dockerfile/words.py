"""Words of an instruction: splitting, quotes and variables.

Owns what `$name`, `${name:-word}`, quotes and the escape character mean (Dockerfile
reference, "Environment replacement"). Must not know any instruction.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiod.errors import InvalidParameterError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?!$-]")
_DEEPEST = 32  # nested ${...}


def split_words(text: str, escape: str) -> list[str]:
    """Words between white space; quotes and escapes join, and are kept for `expand`."""
    words: list[str] = []
    word, quote, position = "", "", 0
    while position < len(text):
        character = text[position]
        if not quote and character.isspace():
            if word:
                words.append(word)
            word = ""
        elif character == escape and quote != "'":
            word += text[position : position + 2] if position + 1 < len(text) else ""
            position += 1
        else:
            if quote:
                quote = "" if character == quote else quote
            elif character in "'\"":
                quote = character
            word += character
        position += 1
    return [*words, word] if word else words


def unquoted(word: str, escape: str) -> str:
    """`word` without its quotes and escapes; variables stay as they are written.

    Raises InvalidParameterError for an unfinished quote.
    """
    return "".join(text for text, _ in _Expansion(word, {}, escape, names=False).pieces())


def expand_text(text: str, env: Mapping[str, str], escape: str) -> str:
    """A here-document's text with its variables replaced: there quotes mean nothing."""
    return "".join(part for part, _ in _Expansion(text, env, escape, quotes=False).pieces())


def expand(word: str, env: Mapping[str, str], escape: str) -> str:
    """`word` with its variables replaced and its quotes taken away.

    Raises InvalidParameterError for an unfinished quote or `${`.
    """
    return "".join(text for text, _ in _Expansion(word, env, escape).pieces())


def expand_words(word: str, env: Mapping[str, str], escape: str) -> list[str]:
    """As `expand`, but white space that is in no quotes, also from a variable, splits."""
    words: list[str] = []
    current, begun = "", False
    for text, quoted in _Expansion(word, env, escape).pieces():
        if quoted:
            current, begun = current + text, True
            continue
        for part in re.split(r"(\s+)", text):
            if part and part.isspace():
                words += [current] if begun else []
                current, begun = "", False
            elif part:
                current, begun = current + part, True
    return [*words, current] if begun else words


@dataclass(slots=True)
class _Expansion:
    """One pass over one word; a piece is its text and whether quotes protect it."""

    text: str
    env: Mapping[str, str]
    escape: str
    depth: int = 0
    names: bool = True
    quotes: bool = True
    position: int = 0
    _out: list[tuple[str, bool]] = field(default_factory=list)

    def pieces(self) -> list[tuple[str, bool]]:
        while self.position < len(self.text):
            self._out.append(self._piece())
        return self._out

    def _piece(self) -> tuple[str, bool]:
        character = self.text[self.position]
        if not self.quotes and character != "$":
            return self._verbatim(), True
        if character == "'":
            end = self.text.find("'", self.position + 1)
            if end < 0:
                raise InvalidParameterError("unexpected end of statement while looking for "
                                            "matching single-quote")  # fmt: skip
            quoted = self.text[self.position + 1 : end]
            self.position = end + 1
            return quoted, True
        if character == '"':
            return self._double_quoted(), True
        if character == "$" and self.names:
            return self._variable(), False
        return self._literal()

    def _verbatim(self) -> str:
        """One character, or an escaped `$` without its escape."""
        if self.text[self.position] == self.escape and self._next() == "$":
            self.position += 1
        self.position += 1
        return self.text[self.position - 1]

    def _literal(self) -> tuple[str, bool]:
        character = self.text[self.position]
        self.position += 1
        if character != self.escape:
            return character, False
        following = self.text[self.position : self.position + 1]
        self.position += 1
        return following, True

    def _double_quoted(self) -> str:
        self.position += 1
        out = ""
        while self.position < len(self.text):
            character = self.text[self.position]
            if character == '"':
                self.position += 1
                return out
            if character == "$" and self.names:
                out += self._variable()
                continue
            if character == self.escape and self._next() in ('"', "$", self.escape):
                self.position += 1
                character = self.text[self.position]
            out += character
            self.position += 1
        raise InvalidParameterError(
            "unexpected end of statement while looking for matching double-quote"
        )

    def _next(self) -> str:
        return self.text[self.position + 1 : self.position + 2]

    def _variable(self) -> str:
        self.position += 1
        if self.text[self.position : self.position + 1] == "{":
            return self._braced()
        found = _NAME.match(self.text, self.position)
        if found is None:
            return "$"
        self.position = found.end()
        return self.env.get(found[0], "")

    def _braced(self) -> str:
        found = _NAME.match(self.text, self.position + 1)
        if found is None:
            raise InvalidParameterError("bad substitution")
        self.position = found.end()
        operator = re.compile(r":?[-+?]").match(self.text, self.position)
        if operator is None:
            if self.text[self.position : self.position + 1] != "}":
                raise InvalidParameterError(self._complaint())
            self.position += 1
            return self.env.get(found[0], "")
        self.position = operator.end()
        return self._substitute(found[0], operator[0], self._operand())

    def _complaint(self) -> str:
        modifier = self.text[self.position : self.position + 2]
        if not modifier:
            return "missing '}' in substitution"
        return f"unsupported modifier ({modifier}) in substitution"

    def _operand(self) -> str:
        """The text up to the brace that closes this one, itself expanded."""
        if self.depth >= _DEEPEST:
            raise InvalidParameterError("substitutions are nested too deeply")
        start, level = self.position, 1
        while self.position < len(self.text):
            character = self.text[self.position]
            if character == self.escape:
                self.position += 1
            elif character == "{" and self.text[self.position - 1] == "$":
                level += 1
            elif character == "}":
                level -= 1
            self.position += 1
            if level == 0:
                inner = self.text[start : self.position - 1]
                nested = _Expansion(inner, self.env, self.escape, self.depth + 1)
                return "".join(text for text, _ in nested.pieces())
        raise InvalidParameterError("missing '}' in substitution")

    def _substitute(self, name: str, operator: str, operand: str) -> str:
        value = self.env.get(name)
        there = bool(value) if operator.startswith(":") else value is not None
        if operator.endswith("+"):
            return operand if there else ""
        if there:
            return value or ""
        if operator.endswith("-"):
            return operand
        raise InvalidParameterError(f"{name}: {operand or 'not allowed to be unset or empty'}")
