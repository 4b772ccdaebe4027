"""What `--mount` means: docker's `type=bind,source=/a,target=/b,readonly` as the API's Mount.

Pure; every failure is a click.BadParameter in docker's words. Must not know what is there.
"""

import csv
import os
import re
from collections.abc import Mapping
from pathlib import Path

import click

from aiod.cli import values
from aiod.store.models import (
    BindSettings,
    DriverSettings,
    ImageSettings,
    Mount,
    TmpfsSettings,
    VolumeSettings,
)

_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_FLAGS = ("readonly", "volume-nocopy", "bind-nonrecursive")
_ONE = {
    "type", "source", "target", "consistency", "bind-propagation", "bind-recursive",
    "volume-driver", "volume-subpath", "image-subpath", "tmpfs-size", "tmpfs-mode", *_FLAGS,
}  # fmt: skip
_MANY = {"volume-opt": "volume-opt", "volume-label": "volume-label"}
_KINDS = ("bind", "volume", "tmpfs", "image")
_TRUE = {"": True, "1": True, "true": True, "0": False, "false": False}
_RECURSIVE = {
    "enabled": BindSettings(),
    "disabled": BindSettings(NonRecursive=True),
    "writable": BindSettings(ReadOnlyNonRecursive=True),
    "readonly": BindSettings(ReadOnlyForceRecursive=True),
}


def mount(text: str, directory: Path) -> Mount:
    """One mount; a bind's source that starts with a dot is below `directory`."""
    one, many = _fields(text)
    kind = one.get("type", "volume").lower()
    if not one.get("target"):
        raise click.BadParameter("--mount: target is required")
    _check_kinds(kind, [*one, *many])
    source = one.get("source", "")
    if kind == "bind" and source.startswith("."):
        source = os.path.normpath(directory / source)
    return Mount(
        Type=kind,
        Source=source,
        Target=one["target"],
        ReadOnly=_flag(one, "readonly"),
        Consistency=one.get("consistency", ""),
        BindOptions=_bind(one) if kind == "bind" else None,
        VolumeOptions=_volume(one, many) if kind == "volume" else None,
        ImageOptions=ImageSettings(one["image-subpath"]) if "image-subpath" in one else None,
        TmpfsOptions=_tmpfs(one) if kind == "tmpfs" else None,
    )


def _fields(text: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    try:
        fields = next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise click.BadParameter(f"--mount: {text}: {error}") from None
    one: dict[str, str] = {}
    many: dict[str, list[str]] = {}
    for field in fields:
        key, separator, value = field.partition("=")
        key = _ALIASES.get(key.lower(), key.lower())
        if not separator and key not in _FLAGS:
            raise click.BadParameter(f"--mount: invalid field '{field}' must be a key=value pair")
        if key in _MANY:
            many.setdefault(key, []).append(value)
        elif key in _ONE:
            one[key] = value
        else:
            raise click.BadParameter(f"--mount: unexpected key '{key}' in '{field}'")
    return one, many


def _check_kinds(kind: str, keys: list[str]) -> None:
    """Options that begin with a kind's name are for that kind alone."""
    for key in keys:
        prefix, separator, _ = key.partition("-")
        if separator and prefix in _KINDS and prefix != kind:
            raise click.BadParameter(
                f"--mount: cannot mix '{prefix}-*' options with mount type '{kind}'"
            )


def _flag(one: Mapping[str, str], key: str) -> bool:
    value = one.get(key, "false").lower()
    if value not in _TRUE:
        raise click.BadParameter(f"--mount: invalid value for {key}: {value}")
    return _TRUE[value]


def _bind(one: Mapping[str, str]) -> BindSettings | None:
    word = one.get("bind-recursive", "enabled")
    if word not in _RECURSIVE:
        raise click.BadParameter(f"--mount: invalid value for bind-recursive: {word}")
    had, read_only = _RECURSIVE[word], _flag(one, "readonly")
    if (had.ReadOnlyNonRecursive or had.ReadOnlyForceRecursive) and not read_only:
        raise click.BadParameter(f"--mount: option 'bind-recursive={word}' requires 'readonly'")
    propagation = one.get("bind-propagation", "")
    if had.ReadOnlyForceRecursive and propagation != "rprivate":
        raise click.BadParameter(
            "--mount: option 'bind-recursive=readonly' requires 'bind-propagation=rprivate'"
        )
    found = BindSettings(
        Propagation=propagation,
        NonRecursive=had.NonRecursive or _flag(one, "bind-nonrecursive"),
        ReadOnlyNonRecursive=had.ReadOnlyNonRecursive,
        ReadOnlyForceRecursive=had.ReadOnlyForceRecursive,
    )
    return None if found == BindSettings() else found


def _volume(one: Mapping[str, str], many: Mapping[str, list[str]]) -> VolumeSettings | None:
    options = values.labels(many.get("volume-opt", ()))
    driver = DriverSettings(one.get("volume-driver", ""), options or None)
    found = VolumeSettings(
        NoCopy=_flag(one, "volume-nocopy"),
        Labels=values.labels(many.get("volume-label", ())) or None,
        DriverConfig=None if driver == DriverSettings() else driver,
        Subpath=one.get("volume-subpath", ""),
    )
    return None if found == VolumeSettings() else found


def _tmpfs(one: Mapping[str, str]) -> TmpfsSettings | None:
    mode = one.get("tmpfs-mode", "0")
    if not re.fullmatch("[0-7]{1,4}", mode):
        raise click.BadParameter(f"--mount: invalid value for tmpfs-mode: {mode}")
    found = TmpfsSettings(SizeBytes=values.bytes_of(one.get("tmpfs-size", "0")), Mode=int(mode, 8))
    return None if found == TmpfsSettings() else found
