"""What an instruction is called in an image's history, and in the cache: dockerd's words.

Owns the texts after `#(nop)`. Pure; two engines that build one Dockerfile write the same
history.
"""

from collections.abc import Callable, Sequence

from aiod.images.config import Healthcheck, RunConfig
from aiod.images.dockerfile.instructions import Instruction
from aiod.images.dockerfile.runconfig import DEFAULT_SHELL
from aiod.wire.times import duration

_SHORT = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t",
          "\v": "\\v", "\\": "\\\\", '"': '\\"'}  # fmt: skip


def nop(config: RunConfig, comment: str) -> list[str]:
    """The command on record for a step that runs nothing."""
    return [*(config.shell or DEFAULT_SHELL), "#(nop) ", comment]


def nop_joined(config: RunConfig, comment: str) -> list[str]:
    """The same in the form of COPY, ADD and WORKDIR."""
    return [*(config.shell or DEFAULT_SHELL), f"#(nop) {comment}"]


def comment(instruction: Instruction, config: RunConfig) -> str:
    """The text for `instruction`, whose words are expanded; `config` is as it is after it."""
    return _COMMENTS[instruction.keyword](instruction, config)


def quoted(text: str) -> str:
    """A string as Go's %q writes it."""
    return '"' + "".join(map(_quoted_character, text)) + '"'


def _quoted_character(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    if character.isprintable():
        return character
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"


def _quoted_list(words: Sequence[str] | None) -> str:
    return "[" + " ".join(map(quoted, words or ())) + "]"


def _pairs(instruction: Instruction, config: RunConfig) -> str:
    words = instruction.arguments
    pairs = (f" {key}={value}" for key, value in zip(words[::2], words[1::2], strict=True))
    return instruction.name + "".join(pairs)


def _plain(instruction: Instruction, config: RunConfig) -> str:
    return f"{instruction.name} {' '.join(instruction.arguments)}"


def _expose(instruction: Instruction, config: RunConfig) -> str:
    return f"EXPOSE {' '.join(sorted(instruction.arguments))}"


def _volume(instruction: Instruction, config: RunConfig) -> str:
    return f"VOLUME [{' '.join(instruction.arguments)}]"


def _healthcheck(instruction: Instruction, config: RunConfig) -> str:
    check = config.healthcheck or Healthcheck()
    times = [check.interval, check.timeout, check.start_period]
    times += [check.start_interval] if check.start_interval else []
    spans = " ".join(quoted(duration(time)) for time in times)
    return f"HEALTHCHECK &{{{_quoted_list(check.test)} {spans} {_quoted_rune(check.retries)}}}"


def _quoted_rune(number: int) -> str:
    character = chr(number) if number < 0x110000 else "\ufffd"
    if character == "'":
        return "'\\''"
    return "'" + ('"' if character == '"' else _quoted_character(character)) + "'"


_COMMENTS: dict[str, Callable[[Instruction, RunConfig], str]] = {
    "arg": _plain,
    "cmd": lambda _, config: f"CMD {_quoted_list(config.cmd)}",
    "entrypoint": lambda _, config: f"ENTRYPOINT {_quoted_list(config.entrypoint)}",
    "env": _pairs,
    "expose": _expose,
    "healthcheck": _healthcheck,
    "label": _pairs,
    "maintainer": _plain,
    "onbuild": _plain,
    "shell": lambda _, config: f"SHELL [{' '.join(config.shell or ())}]",
    "stopsignal": _plain,
    "user": _plain,
    "volume": _volume,
    "workdir": lambda _, config: f"WORKDIR {config.working_dir}",
}
