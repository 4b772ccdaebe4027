"""What options mean: sizes, environments, restart policies and their like.

Pure but for reading the files that options name. Every failure is a click.BadParameter, which
names the option. Must not know which command an option is of.
"""

import os
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path

import click
import msgspec

from aiod.store.models import RestartSettings, Ulimit

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kmgtp]?)(?:i?b)?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def size(ctx: click.Context, param: click.Parameter, value: str | None) -> int:
    """An option's callback: the bytes of a size such as `512m` (powers of 1024), 0 for none.

    -1, where a limit can be lifted, is passed on.
    """
    if value is None or value == "-1":
        return int(value or 0)
    return bytes_of(value)


def bytes_of(text: str) -> int:
    """The bytes of a size such as `512m` (powers of 1024)."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise click.BadParameter(f"invalid size {text!r}: use a number and b, k, m, g or t")
    return int(Decimal(found[1]) * 1024 ** _POWERS[found[2].lower()])


def cpus(ctx: click.Context, param: click.Parameter, value: str | None) -> int:
    """An option's callback: billionths of a processor of a number such as `1.5`, 0 for none."""
    if value is None:
        return 0
    try:
        billionths = Decimal(value) * 10**9
    except InvalidOperation:
        billionths = Decimal("NaN")
    if not billionths.is_finite() or billionths < 0 or billionths != int(billionths):
        raise click.BadParameter(f"invalid number of processors {value!r}")
    return int(billionths)


def environment(
    files: Iterable[Path], settings: Iterable[str], own: Mapping[str, str]
) -> list[str]:
    """The variables of `--env-file`s, then of `-e`; a mere name takes the client's own value."""
    lines = [line for file in files for line in _env_lines(file)]
    found = (_variable(text, own) for text in (*lines, *settings))
    return [variable for variable in found if variable is not None]


def _variable(text: str, own: Mapping[str, str]) -> str | None:
    name, separator, _ = text.partition("=")
    if not name:
        raise click.BadParameter(f"invalid environment variable: {text!r}")
    if separator:
        return text
    return f"{name}={own[name]}" if name in own else None


def _env_lines(file: Path) -> Iterable[str]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not valid UTF-8"
        raise click.BadParameter(f"{file}: {reason}") from None
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.lstrip()
        if not stripped or stripped.startswith("#"):
            continue
        if re.search(r"\s", stripped.partition("=")[0]):
            raise click.BadParameter(f"{file}:{number}: a variable's name holds white space")
        yield stripped


def labels(settings: Iterable[str]) -> dict[str, str]:
    """`NAME=VALUE` or `NAME` each."""
    return dict(_pair(setting) for setting in settings)


def pairs(settings: Iterable[str], option: str) -> dict[str, str]:
    """`NAME=VALUE` each; BadParameter names `option` if one is not."""
    for setting in settings:
        if "=" not in setting:
            raise click.BadParameter(f"{option}: {setting!r} is not NAME=VALUE")
    return labels(settings)


def _pair(setting: str) -> tuple[str, str]:
    name, _, value = setting.partition("=")
    if not name:
        raise click.BadParameter(f"invalid label: {setting!r}")
    return name, value


def restart_policy(text: str) -> RestartSettings:
    """`no`, `always`, `unless-stopped` or `on-failure[:N]`; the engine judges the name."""
    name, separator, count = text.partition(":")
    if not separator:
        return RestartSettings(name)
    if not count.isdigit():
        raise click.BadParameter(f"--restart: {count!r} is no number of attempts")
    return RestartSettings(name, int(count))


def bind(text: str, directory: Path) -> str:
    """A `-v` as the API takes it: a source that starts with a dot is below `directory`."""
    source, separator, rest = text.partition(":")
    if separator and (source in (".", "..") or source.startswith(("./", "../"))):
        source = os.path.normpath(directory / source)
    return f"{source}{separator}{rest}"


def tmpfs(settings: Iterable[str]) -> dict[str, str]:
    """`PATH[:OPTIONS]` each."""
    found = (setting.partition(":") for setting in settings)
    return {path: options for path, _, options in found}


def ulimit(text: str) -> Ulimit:
    """`NAME=SOFT[:HARD]`, -1 for none."""
    found = re.fullmatch(r"([a-z]+)=(-1|[0-9]+)(?::(-1|[0-9]+))?", text)
    if found is None:
        raise click.BadParameter(f"--ulimit: {text!r} is not NAME=SOFT[:HARD]")
    soft = int(found[2])
    return Ulimit(found[1], Hard=int(found[3]) if found[3] else soft, Soft=soft)


def filters(settings: Iterable[str]) -> dict[str, list[str]]:
    """`NAME=VALUE` each, as the API's `filters` wants them."""
    found: dict[str, list[str]] = {}
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not separator or not name:
            raise click.BadParameter(f"--filter: {setting!r} is not NAME=VALUE")
        found.setdefault(name.strip().lower(), []).append(value.strip())
    return found


def filter_query(chosen: Mapping[str, list[str]]) -> dict[str, str]:
    """Filters as the parameter of a request; none for none."""
    return {"filters": msgspec.json.encode(chosen).decode()} if chosen else {}
