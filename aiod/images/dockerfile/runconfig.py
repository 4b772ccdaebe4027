"""What instructions do to an image's run configuration, as for `import --change`.

Owns the effect of each instruction that a changed configuration may have; must not know
which image it belongs to. Pure functions.
"""

import json
import posixpath
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import msgspec

from aiod.errors import InvalidParameterError
from aiod.images.config import Healthcheck, RunConfig
from aiod.images.dockerfile import ports
from aiod.images.dockerfile.durations import nanoseconds
from aiod.images.dockerfile.instructions import Instruction, read
from aiod.images.dockerfile.lines import logical_lines
from aiod.images.dockerfile.words import expand, expand_words

DEFAULT_SHELL = ("/bin/sh", "-c")
_SHORTEST = 10**6  # nanoseconds of a health check's durations


def changed(config: RunConfig, changes: Sequence[str]) -> RunConfig:
    """`config` after the instructions in `changes`.

    Raises InvalidParameterError, with dockerd's words, for an instruction that is malformed
    or that cannot be applied without building.
    """
    if not changes:
        return config
    lines = logical_lines("\n".join(changes))
    if not lines:
        raise InvalidParameterError("file with no instructions")
    for line in lines:
        if line.keyword.lower() not in CHANGES:
            raise InvalidParameterError(f"{line.keyword.lower()} is not a valid change command")
    command_set = False
    for instruction in [read(line) for line in lines]:
        ready = expanded(instruction, environment(config))
        config = apply(config, ready, keep_command=command_set)
        command_set |= instruction.keyword == "cmd"
    return config


def apply(config: RunConfig, instruction: Instruction, *, keep_command: bool) -> RunConfig:
    """`config` after one instruction, whose words are expanded.

    ENTRYPOINT drops the command it inherits unless `keep_command`. Raises
    InvalidParameterError.
    """
    after = _EFFECTS[instruction.keyword](config, instruction)
    if instruction.keyword == "entrypoint" and not keep_command:
        after = msgspec.structs.replace(after, cmd=None)
    return after


def expanded(instruction: Instruction, variables: Mapping[str, str]) -> Instruction:
    """The instruction with the variables in its words replaced, if it is one where they are."""
    escape = instruction.line.escape
    if instruction.keyword == "expose":
        lists = (expand_words(word, variables, escape) for word in instruction.arguments)
        return replace(instruction, arguments=tuple(word for words in lists for word in words))
    if instruction.literal or instruction.keyword not in _EXPANDED:
        return instruction
    words = tuple(_expanded(word, variables, escape) for word in instruction.arguments)
    flags = {
        name: flag if name == "from" else _expanded(flag, variables, escape)
        for name, flag in instruction.flags.items()
    }
    return replace(instruction, arguments=words, flags=flags)


def check_words(instruction: Instruction) -> None:
    """Raise InvalidParameterError for what is wrong whatever variables are worth."""
    if instruction.keyword == "healthcheck":
        _healthcheck(RunConfig(), instruction)
    elif instruction.keyword == "volume" and "" in instruction.arguments:
        raise InvalidParameterError("VOLUME specified can not be an empty string")


def environment(config: RunConfig) -> dict[str, str]:
    """The variables that words of an instruction may name."""
    pairs = (item.partition("=") for item in config.env or ())
    return {name: value for name, _, value in pairs}


def _expanded(word: str, variables: Mapping[str, str], escape: str) -> str:
    try:
        return expand(word, variables, escape)
    except InvalidParameterError as error:
        raise InvalidParameterError(
            f"failed to process {json.dumps(word, ensure_ascii=False)}: {error.message}"
        ) from None


def _command_line(config: RunConfig, instruction: Instruction) -> list[str]:
    if instruction.is_json:
        return list(instruction.arguments)
    return [*(config.shell or DEFAULT_SHELL), *instruction.arguments]


def _cmd(config: RunConfig, instruction: Instruction) -> RunConfig:
    return msgspec.structs.replace(config, cmd=_command_line(config, instruction))


def _entrypoint(config: RunConfig, instruction: Instruction) -> RunConfig:
    words = _command_line(config, instruction) if instruction.arguments else []
    return msgspec.structs.replace(config, entrypoint=words or None)


def _pairs(instruction: Instruction) -> dict[str, str]:
    words = instruction.arguments
    for key in words[::2]:
        if not key:
            raise InvalidParameterError(f"{instruction.name} names can not be blank")
    return dict(zip(words[::2], words[1::2], strict=True))


def _env(config: RunConfig, instruction: Instruction) -> RunConfig:
    merged = {**environment(config), **_pairs(instruction)}
    return msgspec.structs.replace(config, env=[f"{k}={v}" for k, v in merged.items()])


def _label(config: RunConfig, instruction: Instruction) -> RunConfig:
    labels = {**(config.labels or {}), **_pairs(instruction)}
    return msgspec.structs.replace(config, labels=labels)


def _expose(config: RunConfig, instruction: Instruction) -> RunConfig:
    found = dict(config.exposed_ports or {})
    for spec in instruction.arguments:
        found.update((port, {}) for port in ports.exposed(spec))
    return msgspec.structs.replace(config, exposed_ports=found)


def _healthcheck(config: RunConfig, instruction: Instruction) -> RunConfig:
    kind, *command = instruction.arguments
    flags = instruction.flags
    if kind == "NONE":
        if command:
            raise InvalidParameterError("HEALTHCHECK NONE takes no arguments")
        return msgspec.structs.replace(config, healthcheck=Healthcheck(["NONE"]))
    if kind != "CMD":
        raise InvalidParameterError(f'Unknown type "{kind}" in HEALTHCHECK (try CMD)')
    if not command:
        raise InvalidParameterError("Missing command after HEALTHCHECK CMD")
    check = Healthcheck(
        ["CMD" if instruction.is_json else "CMD-SHELL", *command],
        interval=_duration(flags, "interval"),
        timeout=_duration(flags, "timeout"),
        start_period=_duration(flags, "start-period"),
        start_interval=_duration(flags, "start-interval"),
        retries=_retries(flags.get("retries", "")),
    )
    return msgspec.structs.replace(config, healthcheck=check)


def inherited_check(after: RunConfig, before: RunConfig) -> RunConfig:
    """A health check says of itself only what differs from the one before."""
    check, old = after.healthcheck, before.healthcheck
    if check is None or old is None or check is old:
        return after
    merged = Healthcheck(
        check.test or old.test,
        check.interval or old.interval,
        check.timeout or old.timeout,
        check.start_period or old.start_period,
        check.start_interval or old.start_interval,
        check.retries or old.retries,
    )
    return msgspec.structs.replace(after, healthcheck=merged)


def _duration(flags: Mapping[str, str], name: str) -> int:
    value = nanoseconds(flags[name]) if flags.get(name) else 0
    if value and value < _SHORTEST:
        raise InvalidParameterError(f'Interval "{name}" cannot be less than 1ms')
    return value


def _retries(text: str) -> int:
    digits = text.lstrip("+-")
    if text and not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise InvalidParameterError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if text.startswith("-") and int(digits):
        raise InvalidParameterError(f"--retries cannot be negative ({int(text)})")
    return int(text or "0")


def _onbuild(config: RunConfig, instruction: Instruction) -> RunConfig:
    triggers = [*(config.on_build or ()), instruction.arguments[0]]
    return msgspec.structs.replace(config, on_build=triggers)


def _stopsignal(config: RunConfig, instruction: Instruction) -> RunConfig:
    name = instruction.arguments[0]
    known = {s.name.removeprefix("SIG") for s in signal.Signals}
    number = int(name) if name.isascii() and name.isdigit() and len(name) < 4 else None
    realtime = name.upper().removeprefix("SIG").startswith(("RTMIN+", "RTMAX-"))
    if not (name.upper().removeprefix("SIG") in known or realtime or (number and number < 65)):
        raise InvalidParameterError(f"Invalid signal: {name}")
    return msgspec.structs.replace(config, stop_signal=name)


def _user(config: RunConfig, instruction: Instruction) -> RunConfig:
    user = instruction.arguments[0]
    return msgspec.structs.replace(config, user=user)


def _volume(config: RunConfig, instruction: Instruction) -> RunConfig:
    found = dict(config.volumes or {})
    for argument in instruction.arguments:
        place = argument.strip()
        if not place:
            raise InvalidParameterError("VOLUME specified can not be an empty string")
        found[place] = {}
    return msgspec.structs.replace(config, volumes=found)


def _workdir(config: RunConfig, instruction: Instruction) -> RunConfig:
    asked = instruction.arguments[0]
    if not asked:
        raise InvalidParameterError("cannot normalize nothing")
    if not asked.startswith("/"):  # else it is kept as it is written
        asked = "/" + posixpath.normpath(posixpath.join("/", config.working_dir, asked)).lstrip("/")
    return msgspec.structs.replace(config, working_dir=asked)


def _maintainer(config: RunConfig, instruction: Instruction) -> RunConfig:
    return config


def _shell(config: RunConfig, instruction: Instruction) -> RunConfig:
    return msgspec.structs.replace(config, shell=list(instruction.arguments))


_EFFECTS: dict[str, Callable[[RunConfig, Instruction], RunConfig]] = {
    "cmd": _cmd,
    "entrypoint": _entrypoint,
    "env": _env,
    "expose": _expose,
    "healthcheck": _healthcheck,
    "label": _label,
    "maintainer": _maintainer,
    "onbuild": _onbuild,
    "shell": _shell,
    "stopsignal": _stopsignal,
    "user": _user,
    "volume": _volume,
    "workdir": _workdir,
}
# Those that `import --change` and `commit --change` take.
CHANGES = frozenset(_EFFECTS) - {"maintainer", "shell"}
# Those whose words may name variables, without EXPOSE, where a variable may be several words.
_EXPANDED = frozenset(
    ("add", "arg", "copy", "env", "label", "stopsignal", "user", "volume", "workdir")
)
