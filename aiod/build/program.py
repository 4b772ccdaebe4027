"""A Dockerfile as a program: arguments before the first FROM, and stages of instructions.

Owns the order that instructions may have and the names of stages. Sans-I/O; must not know
what an instruction does.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from aiod.errors import InvalidParameterError
from aiod.images.dockerfile.instructions import Instruction, ShapeError, read
from aiod.images.dockerfile.lines import DirectiveError, Line, logical_lines
from aiod.images.dockerfile.runconfig import check_words

LARGEST_DOCKERFILE = 1 << 22  # bytes
_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*")


@dataclass(frozen=True, slots=True)
class Stage:
    """One FROM and what follows it; `base` and `platform` may name variables."""

    origin: Instruction
    instructions: tuple[Instruction, ...]

    @property
    def base(self) -> str:
        """The image, or the earlier stage, that it begins with."""
        return self.origin.arguments[0]

    @property
    def platform(self) -> str:
        """What `--platform` says."""
        return self.origin.flags.get("platform", "")

    @property
    def name(self) -> str:
        """The name after AS, in lower case; "" for none."""
        return self.origin.arguments[2].lower() if len(self.origin.arguments) == 3 else ""


@dataclass(frozen=True, slots=True)
class Program:
    """A whole Dockerfile; `globals` are the ARG instructions before the first FROM."""

    globals: tuple[Instruction, ...]
    stages: tuple[Stage, ...]

    @property
    def steps(self) -> int:
        """How many steps a build of all stages has."""
        return len(self.globals) + sum(1 + len(stage.instructions) for stage in self.stages)

    def instructions(self) -> list[Instruction]:
        """All of them, each FROM among them, in their order."""
        stages = ([stage.origin, *stage.instructions] for stage in self.stages)
        return [*self.globals, *(one for stage in stages for one in stage)]

    def until(self, target: str) -> "Program":
        """Without the stages after `target`, a name or a number. Raises InvalidParameterError."""
        if not target:
            return self
        found = find_stage(self.stages, target)
        if found is None:
            raise InvalidParameterError(f"failed to reach build target {target} in Dockerfile")
        return replace(self, stages=self.stages[: found + 1])

    def labelled(self, labels: dict[str, str]) -> "Program":
        """With LABEL instructions at the end of every stage."""
        if not labels:
            return self
        more = tuple(_label(key, labels[key]) for key in sorted(labels))
        stages = (replace(s, instructions=(*s.instructions, *more)) for s in self.stages)
        return replace(self, stages=tuple(stages))


def _label(key: str, value: str) -> Instruction:
    line = Line(0, f"LABEL {key}={value}")
    return Instruction(line, "label", (key, value), literal=True)


def find_stage(stages: Sequence[Stage], name: str) -> int | None:
    """The place of the last stage with this name, or of the stage with this number."""
    lowered = name.lower()
    for place in range(len(stages) - 1, -1, -1):
        if stages[place].name == lowered:
            return place
    if name.isascii() and name.isdigit() and int(name[:6]) < len(stages):
        return int(name)
    return None


def parse_dockerfile(text: str) -> Program:
    """Read a Dockerfile. Raises InvalidParameterError with dockerd's words."""
    try:
        lines = logical_lines(text.removeprefix("\ufeff"))
    except DirectiveError as error:
        raise InvalidParameterError(f"failed to parse Dockerfile: {error.message}") from None
    if not lines:
        raise InvalidParameterError("failed to parse Dockerfile: file with no instructions")
    before: list[Instruction] = []
    stages: list[tuple[Instruction, list[Instruction]]] = []
    for line in lines:
        instruction = _read(line)
        if instruction.keyword == "from":
            stages.append((_checked_origin(instruction), []))
        elif stages:
            stages[-1][1].append(instruction)
        elif instruction.keyword == "arg":
            before.append(instruction)
        else:
            raise InvalidParameterError("no build stage in current context")
    if not stages:
        raise InvalidParameterError("no build stage in current context")
    return Program(tuple(before), tuple(Stage(origin, tuple(rest)) for origin, rest in stages))


def read_triggers(texts: Sequence[str]) -> list[Instruction]:
    """The instructions that ONBUILDs of a base image left. Raises InvalidParameterError."""
    return [_read(line) for text in texts for line in logical_lines(text)]


def _read(line: Line) -> Instruction:
    try:
        instruction = read(line)
        check_words(instruction)
    except ShapeError as error:
        raise InvalidParameterError(f"failed to parse Dockerfile: {error.message}") from None
    except InvalidParameterError as error:
        raise _located(line, error.message) from None
    return instruction


def _located(line: Line, message: str) -> InvalidParameterError:
    return InvalidParameterError(f"dockerfile parse error line {line.number}: {message}")


def _checked_origin(instruction: Instruction) -> Instruction:
    if len(instruction.arguments) == 3:
        name = instruction.arguments[2].lower()
        if not _STAGE_NAME.fullmatch(name):
            raise _located(
                instruction.line,
                f'invalid name for build stage: "{instruction.arguments[2]}", '
                "name can't start with a number or contain symbols",
            )
    return instruction
