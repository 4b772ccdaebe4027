"""`HostConfig.SecurityOpt`: what each option asks for, and the seccomp profile that comes of it.

Owns the options' words and their errors, which are dockerd's; must not know how a filter or a
label is put into effect.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from aiod.containers import seccompprofile
from aiod.errors import InvalidParameterError, UnsupportedError
from aiod.native import seccomp, seccompdefault, spec
from aiod.native.errors import NativeError

UNCONFINED = "unconfined"
_BUILT_IN = ("", "builtin")
# strconv.ParseBool of Go, which reads the option's value in dockerd.
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_APPARMOR = Path("/sys/module/apparmor/parameters/enabled")


@dataclass(frozen=True, slots=True)
class Security:
    """The options read; `seccomp` is `unconfined`, `builtin`, the JSON of a profile, or empty."""

    no_new_privileges: bool = False
    seccomp: str = ""
    apparmor: str = ""
    writable_cgroups: bool = False


def parse(options: Iterable[str]) -> Security:
    """The options; a later one of a kind wins.

    Raises InvalidParameterError for one that is none, UnsupportedError for labels.
    """
    found = Security()
    for option in options:
        if option == "no-new-privileges":
            found = replace(found, no_new_privileges=True)
        elif option != "disable":  # as `label=disable`
            found = _add(found, option)
    return found


def _add(found: Security, option: str) -> Security:
    separator = "=" if "=" in option else ":"
    key, present, value = option.partition(separator)
    if not present:
        raise InvalidParameterError(f'invalid --security-opt 1: "{option}"')
    match key:
        case "seccomp":
            return replace(found, seccomp=value)
        case "apparmor":
            return replace(found, apparmor=value)
        case "no-new-privileges":
            return replace(found, no_new_privileges=_boolean(value, option))
        case "writable-cgroups":
            return replace(found, writable_cgroups=_boolean(value, option))
        case "label" if value == "disable":
            return found
        case "label":
            raise UnsupportedError(f"SecurityOpt {option!r}: aiod sets no SELinux labels")
    raise InvalidParameterError(f'invalid --security-opt 2: "{option}"')


def _boolean(value: str, option: str) -> bool:
    if value not in _TRUE | _FALSE:
        raise InvalidParameterError(f'invalid --security-opt 2: "{option}"')
    return value in _TRUE


def check(options: Iterable[str]) -> None:
    """Refuse what cannot be granted, a profile that is none included.

    Raises InvalidParameterError or UnsupportedError.
    """
    asked = parse(options)
    if asked.apparmor not in ("", UNCONFINED) and not _has_apparmor():
        raise UnsupportedError(f"SecurityOpt apparmor={asked.apparmor}: the host has no AppArmor")
    profile = profile_of(asked, (), privileged=False)
    try:
        if profile is not None and asked.seccomp not in _BUILT_IN:
            seccomp.check(profile)
    except NativeError as error:
        raise InvalidParameterError(f"invalid seccomp profile: {error}") from error


def profile_of(
    security: Security, capabilities: tuple[str, ...], *, privileged: bool
) -> spec.Seccomp | None:
    """The profile of a container that holds `capabilities`; None for no filter.

    A privileged container has one only if it asks for it. Raises InvalidParameterError.
    """
    asked, system = security.seccomp, os.uname()
    if asked == UNCONFINED or (privileged and not asked):
        return None
    if asked in _BUILT_IN:
        return seccompdefault.default_profile(capabilities, system.machine)
    return seccompprofile.read(asked, capabilities, system.machine, system.release)


def _has_apparmor() -> bool:
    try:
        return _APPARMOR.read_text().strip() == "Y"
    except OSError:
        return False
