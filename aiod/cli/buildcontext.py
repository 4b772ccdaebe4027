"""Where a build's context comes from: a directory, or an archive or Dockerfile on a pipe.

Owns finding the Dockerfile and the ignore file. Must not know the engine.
"""

import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from aiod.cli import contexttar, terminal
from aiod.cli.errors import CliError
from aiod.errors import InvalidParameterError
from aiod.wire import dockerignore

DOCKERFILE = "Dockerfile"
_PIPE = "-"
_MAGICS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
_TAR_MAGIC, _TAR_MAGIC_AT = b"ustar", 257
_LARGEST_DOCKERFILE = 1 << 20


@dataclass(frozen=True, slots=True)
class Context:
    """The tar to send, and the Dockerfile's path in it."""

    pieces: AsyncIterator[bytes]
    dockerfile: str


async def opened(source: str, file: str | None) -> Context:
    """The context that a user names, with `-f FILE`. Raises CliError."""
    if "://" in source or source.startswith("git@"):
        raise CliError("build: a context from elsewhere is not supported by aiod yet; use a "
                       "directory or -")  # fmt: skip
    if source != _PIPE:
        return _directory(source, file, await _all_input() if file == _PIPE else None)
    if terminal.is_terminal(terminal.STDIN):
        raise CliError("build: the context is expected from a pipe, not a terminal")
    if file == _PIPE:
        raise CliError("build: standard input cannot be both the context and the Dockerfile")
    return await _piped(file)


def _directory(source: str, file: str | None, typed: bytes | None) -> Context:
    """A directory's context; `typed` is the Dockerfile, if that is none of a file."""
    root = Path(os.path.realpath(source))
    if not root.is_dir():
        raise CliError(f"{source}: {'Not a directory' if root.exists() else 'No such directory'}")
    path = _default(root) if file is None else Path(os.path.abspath(file))
    data = _text(path) if typed is None else typed
    name = _inside(root, path) if typed is None else None
    rules = _rules(root, path if typed is None else None)
    if name is not None:
        kept = (name, name + dockerignore.FILE, dockerignore.FILE)
        ignore = _parsed(rules, kept)
        return Context(_async(contexttar.packed(root, ignore, {})), name)
    name = f".dockerfile.{secrets.token_hex(10)}"
    # The engine leaves out by the Dockerfile's own ignore file; these two are nobody's to copy.
    own = f"{rules.text if rules else ''}\n{name}\n{name}{dockerignore.FILE}\n"
    added = {name: data, name + dockerignore.FILE: own.encode(errors="surrogateescape")}
    return Context(_async(contexttar.packed(root, _parsed(rules), added)), name)


def _default(root: Path) -> Path:
    lower = root / DOCKERFILE.lower()
    return lower if lower.exists() and not (root / DOCKERFILE).exists() else root / DOCKERFILE


def _inside(root: Path, path: Path) -> str | None:
    """The path in the context; None for one outside, also by a link."""
    real = Path(os.path.realpath(path))
    for candidate in (path, real):
        with contextlib.suppress(ValueError):
            if real.is_relative_to(root):
                return str(candidate.relative_to(root))
    return None


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CliError(f"{path}: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class _Rules:
    """The text of an ignore file."""

    file: Path
    text: str


def _rules(root: Path, dockerfile: Path | None) -> _Rules | None:
    """The Dockerfile's own ignore file, else the context's, if there is one."""
    candidates = [root / dockerignore.FILE]
    if dockerfile is not None:
        candidates.insert(0, dockerfile.with_name(dockerfile.name + dockerignore.FILE))
    for candidate in candidates:
        try:
            return _Rules(candidate, candidate.read_text(errors="surrogateescape"))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CliError(f"{candidate}: {error.strerror}") from None
    return None


def _parsed(rules: _Rules | None, kept: tuple[str, ...] = ()) -> dockerignore.Ignore:
    if rules is None:
        return dockerignore.Ignore()
    try:
        return dockerignore.parse(rules.text, kept)
    except InvalidParameterError as error:
        raise CliError(f"{rules.file}: {error.message}") from None


async def _piped(file: str | None) -> Context:
    head = b""
    while len(head) < _TAR_MAGIC_AT + len(_TAR_MAGIC):
        if not (piece := await terminal.read(terminal.STDIN)):
            break
        head += piece
    if not head:
        raise CliError("build: there is nothing on standard input")
    if _is_archive(head):
        return Context(_rest(head), file or DOCKERFILE)
    data = head + await _all_input(len(head))
    tar = contexttar.packed(None, dockerignore.Ignore(), {DOCKERFILE: data})
    return Context(_async(tar), DOCKERFILE)


def _is_archive(head: bytes) -> bool:
    at = _TAR_MAGIC_AT
    return head.startswith(_MAGICS) or head[at : at + len(_TAR_MAGIC)] == _TAR_MAGIC


async def _rest(head: bytes) -> AsyncIterator[bytes]:
    yield head
    while piece := await terminal.read(terminal.STDIN):
        yield piece


async def _all_input(known: int = 0) -> bytes:
    pieces: list[bytes] = []
    while piece := await terminal.read(terminal.STDIN):
        pieces.append(piece)
        known += len(piece)
        if known > _LARGEST_DOCKERFILE:
            raise CliError("build: the Dockerfile on standard input is too large")
    return b"".join(pieces)


async def _async(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
