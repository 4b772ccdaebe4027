"""One build: its stages and their instructions, in order, to an image.

Owns what Docker's classic builder prints, and when the cache is asked. What files are copied,
and how commands are run, is `steps`' to know. Must not know HTTP.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from aiod.build import cache, comments, running, volumes
from aiod.build.arguments import BuildArguments
from aiod.build.bases import Bases
from aiod.build.containers import BuildContainers, to_end
from aiod.build.context import Context
from aiod.build.errors import CommandFailedError, CopyError
from aiod.build.options import BuildOptions
from aiod.build.output import Output
from aiod.build.program import Program, Stage, find_stage, read_triggers
from aiod.build.sources import Source
from aiod.build.state import StageState, begun
from aiod.build.taking import Taken, Taker
from aiod.build.trees import Tree
from aiod.build.workspace import Workspace
from aiod.errors import AiodError, InvalidParameterError, UnsupportedError
from aiod.images.compression import Limits
from aiod.images.config import ImageConfig, RunConfig
from aiod.images.deriving import Step, Write
from aiod.images.dockerfile.instructions import Instruction
from aiod.images.dockerfile.runconfig import apply, environment, expanded, inherited_check
from aiod.images.dockerfile.words import expand
from aiod.images.model import ImageRecord
from aiod.images.platform import MACHINE
from aiod.images.service import ImageService

SCRATCH = "scratch"
_GAP = "[WARNING]: Empty continuation line found in"
_GAPS = "[WARNING]: Empty continuation lines will become errors in a future release."


class Builder:
    """Builds one program."""

    def __init__(
        self,
        images: ImageService,
        workspace: Workspace,
        containers: BuildContainers,
        context: Context,
        options: BuildOptions,
        output: Output,
        limits: Limits,
    ) -> None:
        self._images = images
        self._workspace = workspace
        self._containers = containers
        self._context = context
        self._options = options
        self._output = output
        self._limits = limits
        self._bases = Bases(images, options.credentials, pull=options.pull)
        self._arguments = BuildArguments(options.arguments)
        self._done: list[tuple[Stage, StageState]] = []
        self._count = 0
        self._total = 0
        self._state = StageState()
        self._verbs: dict[str, Callable[[Instruction], Awaitable[None]]] = {
            "add": self._copy,
            "arg": self._arg,
            "copy": self._copy,
            "run": self._run,
            "workdir": self._workdir,
        }

    async def build(self, program: Program) -> ImageRecord:
        """Do all of it; the image of the last stage. Raises AiodError."""
        self._total = program.steps
        await self._warn_of_gaps(program)
        for instruction in program.globals:
            await self._announce(instruction)
            self._declare_global(instruction)
        for stage in program.stages:
            await self._stage(stage)
        if unused := self._arguments.unused():
            await self._tell(
                f"[Warning] One or more build-args {_listed(unused)} were not consumed\n"
            )
        image = self._state.image
        if image is None:
            raise InvalidParameterError("No image was generated. Is your Dockerfile empty?")
        return image

    async def _warn_of_gaps(self, program: Program) -> None:
        gaps = [one.line.text for one in program.instructions() if one.line.gap]
        if gaps:
            lines = "".join(f"    {text}\n" for text in gaps)
            await self._output.complain(f"{_GAP}:\n{lines}{_GAPS}\n")

    async def _tell(self, text: str) -> None:
        await self._output.tell(text)

    async def _announce(self, instruction: Instruction) -> None:
        self._count += 1
        await self._tell(f"Step {self._count}/{self._total} : {instruction.line.text}\n")

    def _declare_global(self, instruction: Instruction) -> None:
        for word in expanded(instruction, self._arguments.globals()).arguments:
            name, equals, default = word.partition("=")
            self._arguments.declare_global(name, default if equals else None)

    async def _stage(self, stage: Stage) -> None:
        await self._announce(stage.origin)
        self._arguments.begin_stage()
        image, config = await self._base(stage)
        self._state = begun(image, config)
        await self._triggers()
        await self._tell(f" ---> {self._state.short_id}\n")
        for instruction in stage.instructions:
            await self._announce(instruction)
            await self._execute(instruction)
            await self._tell(f" ---> {self._state.short_id}\n")
        self._done.append((stage, self._state))
        if self._state.image is not None:
            await self._output.image(self._state.image.id)

    async def _base(self, stage: Stage) -> tuple[ImageRecord | None, ImageConfig]:
        names = self._arguments.globals()
        name = expand(stage.base, names, stage.origin.line.escape)
        platform = expand(stage.platform, names, stage.origin.line.escape)
        if not name:
            raise InvalidParameterError(f"base name ({stage.base}) should not be blank")
        for earlier, state in reversed(self._done):
            if earlier.name and earlier.name == name.lower():
                return state.image, await self._config(state.image)
        _check_platform(platform or self._options.platform)
        if name == SCRATCH:
            return None, ImageConfig()
        image = await self._bases.find(name, self._output)
        return image, await self._config(image)

    async def _config(self, image: ImageRecord | None) -> ImageConfig:
        return await self._images.config(image) if image else ImageConfig()

    async def _triggers(self) -> None:
        triggers = self._state.run.on_build or []
        self._state.run = msgspec.structs.replace(self._state.run, on_build=None)
        if not triggers:
            return
        plural = "s" if len(triggers) > 1 else ""
        await self._tell(f"# Executing {len(triggers)} build trigger{plural}\n")
        for trigger in read_triggers(triggers):
            await self._execute(trigger)

    # instructions

    async def _execute(self, instruction: Instruction) -> None:
        ready = expanded(instruction, self._variables())
        await self._verbs.get(instruction.keyword, self._configure)(ready)

    def _variables(self) -> dict[str, str]:
        env = environment(self._state.run)
        return {**self._arguments.in_scope(env), **env}

    async def _configure(self, instruction: Instruction) -> None:
        """An instruction that only changes the configuration."""
        state = self._state
        if instruction.keyword == "healthcheck":
            await self._tell_replaced_check()
        after = apply(state.run, instruction, keep_command=state.command_set)
        if instruction.keyword == "maintainer":
            state.author = instruction.arguments[0]
        text = comments.comment(instruction, after)
        state.run = inherited_check(after, state.run)
        await self._commit(_with_command(after, comments.nop(after, text)))
        if instruction.keyword == "cmd":
            state.command_set = bool(instruction.arguments)

    async def _tell_replaced_check(self) -> None:
        check = self._state.run.healthcheck
        if check is not None and check.test and check.test[0] != "NONE":
            await self._tell(f"Note: overriding previous HEALTHCHECK: [{' '.join(check.test)}]\n")

    async def _arg(self, instruction: Instruction) -> None:
        for word in instruction.arguments:
            name, equals, default = word.partition("=")
            self._arguments.declare(name, default if equals else None)
        run = self._state.run
        await self._commit(
            _with_command(run, comments.nop(run, comments.comment(instruction, run)))
        )

    async def _workdir(self, instruction: Instruction) -> None:
        state = self._state
        state.run = apply(state.run, instruction, keep_command=True)
        text = comments.comment(instruction, state.run)
        told = _with_command(state.run, comments.nop_joined(state.run, text))
        if await self._cached(told):
            return
        async with self._container(told) as container, self._changed() as tree:
            await tree.make_directory(state.run.working_dir)
            await self._derive(told, container, await tree.written())

    async def _copy(self, instruction: Instruction) -> None:
        state = self._state
        async with self._taken(instruction) as taken:
            text = taken.comment(instruction)
            told = _with_command(state.run, comments.nop_joined(state.run, text))
            if await self._cached(told):
                return
            async with self._changed() as tree:
                try:
                    await tree.copy(taken, instruction, state.run.working_dir)
                except CopyError as error:
                    raise InvalidParameterError(f"failed to copy files: {error.message}") from error
                await self._derive(told, "", await tree.written())

    @contextlib.asynccontextmanager
    async def _taken(self, instruction: Instruction) -> AsyncIterator[Taken]:
        async with contextlib.AsyncExitStack() as stack:
            source = self._context.source
            if origin := instruction.flags.get("from", ""):
                image = await self._origin(origin)
                root = await stack.enter_async_context(self._workspace.opened(image))
                source = Source(root, of_image=True)
            taker = Taker(
                instruction,
                self._variables(),
                source,
                self._workspace,
                self._limits.size,
                self._output,
            )
            yield await stack.enter_async_context(taker.taken())

    @contextlib.asynccontextmanager
    async def _changed(self) -> AsyncIterator[Tree]:
        """The file system so far, to be written to."""
        async with (
            self._workspace.held(self._state.image) as layers,
            self._workspace.scratch() as scratch,
        ):
            yield Tree(layers, scratch, self._limits)

    async def _origin(self, name: str) -> ImageRecord | None:
        """The image that `--from` means: an earlier stage's, or any other."""
        place = find_stage([stage for stage, _ in self._done], name)
        if place is not None:
            return self._done[place][1].image
        if name.isascii() and name.isdigit():
            current = int(name[:6]) == len(self._done)
            reason = "refers to current build stage" if current else "index out of bounds"
            raise InvalidParameterError(f"invalid from flag value {name}: {reason}")
        try:
            return await self._bases.find(name, self._output)
        except AiodError as error:
            raise type(error)(f"invalid from flag value {name}: {error.message}") from None

    async def _run(self, instruction: Instruction) -> None:
        state = self._state
        command = running.command(instruction, state.run)
        arguments = self._arguments.in_scope(environment(state.run))
        key = self._arguments.in_cache_key(arguments)
        saved = [f"|{len(key)}", *key, *command] if arguments else command
        if (script := running.script_of(instruction)) is not None:
            saved = [*saved, script.text]
        told = msgspec.structs.replace(state.run, cmd=saved, entrypoint=None)
        if await self._cached(told):
            return
        env = [*(state.run.env or ()), *(f"{n}={v}" for n, v in sorted(arguments.items()))]
        run = msgspec.structs.replace(
            state.run, cmd=command, entrypoint=[""], env=env, healthcheck=None
        )
        await self._run_in_container(instruction, told, run)

    async def _run_in_container(
        self, instruction: Instruction, told: RunConfig, run: RunConfig
    ) -> None:
        image = self._state.image
        async with (
            self._scripts(instruction) as scripts,
            volumes.prepared(self._workspace, image, run.volumes or ()) as mounted,
            self._container(run, [*mounted, *scripts]) as container,
        ):
            code = await self._containers.run(container, self._output)
            if code:
                raise CommandFailedError(" ".join(run.cmd or ()), code)
            await self._derive(told, container, await self._containers.written(container, image))

    @contextlib.asynccontextmanager
    async def _scripts(self, instruction: Instruction) -> AsyncIterator[list[str]]:
        """The bind of a here-document that is a program."""
        script = running.script_of(instruction)
        if script is None:
            yield []
            return
        async with self._workspace.scratch() as scratch:
            place = scratch / "script"
            await asyncio.to_thread(_write_program, place, script.text)
            yield [f"{place}:{running.SCRIPTS}/{script.name}:ro"]

    # the cache and the results

    async def _commit(self, told: RunConfig) -> None:
        if await self._cached(told):
            return
        async with self._container(told) as container:
            await self._derive(told, container, None)

    async def _cached(self, told: RunConfig) -> bool:
        state = self._state
        if self._options.no_cache or state.missed:
            return False
        found = cache.find(await self._images.children(state.image_id), told)
        if found is None:
            state.missed = True
            return False
        await self._tell(" ---> Using cache\n")
        state.advance(found[0])
        return True

    @contextlib.asynccontextmanager
    async def _container(self, run: RunConfig, binds: Sequence[str] = ()) -> AsyncIterator[str]:
        """The id of a container for this step."""
        silent = not self._options.remove
        async with contextlib.AsyncExitStack() as stack:
            image = self._state.image
            if image is None:
                image = await stack.enter_async_context(self._nothing())
            made = self._containers.made(image, run, self._output, binds, silent=silent)
            yield await stack.enter_async_context(made)

    @contextlib.asynccontextmanager
    async def _nothing(self) -> AsyncIterator[ImageRecord]:
        """An image without files, for containers of a stage that has none yet."""
        image = await self._images.derive(None, Step(self._state.run, RunConfig()))
        try:
            yield image
        finally:
            await to_end(self._images.delete(image.id, force=True))

    async def _derive(self, told: RunConfig, container: str, write: Write | None) -> None:
        state = self._state
        step = Step(state.run, told, author=state.author, container=container)
        state.advance(await self._images.derive(state.image, step, write))


def _with_command(run: RunConfig, words: list[str]) -> RunConfig:
    return msgspec.structs.replace(run, cmd=words)


def _write_program(place: Path, text: str) -> None:
    place.write_text(text)
    place.chmod(0o755)


def _listed(names: list[str]) -> str:
    return f"[{' '.join(names)}]"


def _check_platform(platform: str) -> None:
    """Raise UnsupportedError for one whose programs do not run here."""
    if not platform:
        return
    os, _, rest = platform.lower().partition("/")
    if os != "linux" or rest.partition("/")[0] not in ("", MACHINE.architecture):
        raise UnsupportedError(f"platform {platform} is not supported by aiod yet")
