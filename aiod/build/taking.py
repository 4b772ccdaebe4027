"""What one COPY or ADD takes: from the context, another image, a URL or a here-document.

Owns which kind a source argument is. Must not know where things are copied to.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from aiod.build import downloads
from aiod.build.output import Output
from aiod.build.sources import Found, Source, joined_digest
from aiod.build.workspace import Workspace, open_root
from aiod.errors import AiodError, InvalidParameterError
from aiod.images.dockerfile.instructions import Instruction
from aiod.images.dockerfile.lines import Heredoc, heredoc
from aiod.images.dockerfile.words import expand_text
from aiod.images.threads import run_to_end


@dataclass(frozen=True, slots=True)
class Taken:
    """The sources, in their order; `preserve_owners` if they have owners of the image's."""

    found: tuple[Found, ...]
    preserve_owners: bool

    def comment(self, instruction: Instruction) -> str:
        """What the history says, as dockerd writes it."""
        digests = [one.digest for one in self.found]
        digest = digests[0] if len(digests) == 1 else joined_digest("multi", digests)
        flags = "".join(
            f"--{name}={instruction.flags[name]}"
            for name in ("chown", "chmod") if instruction.flags.get(name)
        )  # fmt: skip
        return f"{instruction.name} {flags}{digest} in {instruction.arguments[-1]} "


class Taker:
    """Takes for one instruction from one `source`; what is made meanwhile goes with `stack`."""

    def __init__(
        self,
        instruction: Instruction,
        variables: Mapping[str, str],
        source: Source,
        workspace: Workspace,
        limit: int,
        output: Output,
    ) -> None:
        self._instruction = instruction
        self._variables = variables
        self._source = source
        self._workspace = workspace
        self._limit = limit
        self._output = output

    @contextlib.asynccontextmanager
    async def taken(self) -> AsyncIterator[Taken]:
        """All of it. Raises AiodError with the instruction's name."""
        name, words = self._instruction.name, self._instruction.arguments
        async with contextlib.AsyncExitStack() as stack:
            try:
                found = [one for word in words[:-1] for one in await self._take(word, stack)]
            except AiodError as error:
                raise type(error)(f"{name} failed: {error.message}") from error
            if not found:
                raise InvalidParameterError(f"{name} failed: no source files were specified")
            if len(found) > 1 and not words[-1].endswith("/"):
                raise InvalidParameterError(
                    f"When using {name} with more than one source file, the destination must be "
                    "a directory and end with a /"
                )
            from_image = bool(self._instruction.flags.get("from"))
            yield Taken(tuple(found), preserve_owners=from_image)

    async def _take(self, word: str, stack: contextlib.AsyncExitStack) -> list[Found]:
        if self._instruction.line.heredocs and (document := self._document(word)) is not None:
            return [await stack.enter_async_context(self._written(document))]
        if self._instruction.keyword == "add" and downloads.is_url(word):
            return [await stack.enter_async_context(self._downloaded(word))]
        return await run_to_end(lambda stop: self._source.find(word))

    def _document(self, word: str) -> Heredoc | None:
        announced = heredoc(word, self._instruction.line.escape)
        documents = self._instruction.line.heredocs
        if announced is None:
            return None
        return next((one for one in documents if one.name == announced.name), None)

    @contextlib.asynccontextmanager
    async def _written(self, document: Heredoc) -> AsyncIterator[Found]:
        text = document.text
        if document.expand:
            text = expand_text(text, self._variables, self._instruction.line.escape)
        name = document.name.replace("/", "_")
        async with self._workspace.scratch() as scratch:
            await asyncio.to_thread(_write, scratch / name, os.fsencode(text))
            async with _found(scratch, name) as found:
                yield found

    @contextlib.asynccontextmanager
    async def _downloaded(self, url: str) -> AsyncIterator[Found]:
        checksum = self._instruction.flags.get("checksum", "")
        async with self._workspace.scratch() as scratch:
            await downloads.fetch(url, scratch / "file", self._limit, checksum)
            await self._output.tell("\n")  # where dockerd's progress bar ends
            name = downloads.file_name(url, self._instruction.arguments[-1])
            await _rename(scratch, name, url)
            async with _found(scratch, name, of_image=True) as found:
                digest = found.digest.removeprefix("file:")  # dockerd has none for URLs
                yield replace(found, digest=digest, unpack=False)


@contextlib.asynccontextmanager
async def _found(directory: Path, name: str, *, of_image: bool = False) -> AsyncIterator[Found]:
    """The one file of a scratch directory."""
    root = await asyncio.to_thread(open_root, directory)
    try:
        source = Source(root, of_image=of_image)
        yield await run_to_end(lambda stop: source.one(os.fsencode(name)))
    finally:
        os.close(root)


async def _rename(scratch: Path, name: str, url: str) -> None:
    """What was fetched gets its own name, which is part of its digest."""
    try:
        await asyncio.to_thread((scratch / "file").rename, scratch / name)
    except (OSError, ValueError):
        raise InvalidParameterError(f"cannot determine filename for source {url}") from None


def _write(place: Path, data: bytes) -> None:
    place.write_bytes(data)
    place.chmod(0o644)
    os.utime(place, (0, 0))
