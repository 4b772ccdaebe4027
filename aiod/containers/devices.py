"""The host's devices that a container may use: `Devices`, `DeviceCgroupRules`, `Privileged`.

Owns reading them from the host, and the rules of the devices controller that come of it; must
not know how a rule is put into effect. Blocking.
"""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from aiod.errors import InvalidParameterError
from aiod.native import spec
from aiod.store.models import DeviceMapping, HostConfig

_RULE = re.compile(r"([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})\Z")
_ACCESS = re.compile(r"[rwm]{1,3}\Z")
_CHARACTER_DEVICES = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2))
_TERMINALS = 136
# What is the container's own below /dev, or makes no sense there.
_NOT_THE_HOSTS = frozenset(
    {"console", "fd", "mqueue", "ptmx", "pts", "shm", ".lxc", ".lxd-mounts", ".udev"}
)


def check(host: HostConfig) -> None:
    """Raise InvalidParameterError, in dockerd's words, for rules and accesses that are none."""
    for text in host.DeviceCgroupRules or ():
        parse_rule(text)
    for mapping in host.Devices or ():
        if mapping.CgroupPermissions and not _ACCESS.match(mapping.CgroupPermissions):
            raise InvalidParameterError(f"invalid device mode: {mapping.CgroupPermissions}")


def parse_rule(text: str) -> spec.DeviceCgroup:
    """`c 1:3 rwm`. Raises InvalidParameterError."""
    found = _RULE.match(text)
    if found is None:
        raise InvalidParameterError(f"invalid device cgroup rule format: '{text}'")
    kind, major, minor, access = found.groups()
    first, second = (None if number == "*" else int(number) for number in (major, minor))
    return spec.DeviceCgroup(True, kind, first, second, access)


def nodes(host: HostConfig) -> tuple[spec.Device, ...]:
    """The device nodes to make. Raises InvalidParameterError for one the host does not have."""
    if host.Privileged:
        return tuple(_all_of(Path("/dev"), Path("/dev")))
    return tuple(device for mapping in host.Devices or () for device, _ in _mapped(mapping))


def rules(host: HostConfig) -> tuple[spec.DeviceCgroup, ...]:
    """What may be used, in order. Raises InvalidParameterError like `nodes`."""
    if host.Privileged:
        return (spec.DeviceCgroup(allow=True),)
    asked = [
        spec.DeviceCgroup(True, device.type, device.major, device.minor, access)
        for mapping in host.Devices or ()
        for device, access in _mapped(mapping)
    ]
    return (*_default_rules(), *asked, *map(parse_rule, host.DeviceCgroupRules or ()))


def _default_rules() -> Iterator[spec.DeviceCgroup]:
    yield spec.DeviceCgroup(allow=False)
    for kind in ("c", "b"):
        yield spec.DeviceCgroup(allow=True, type=kind, access="m")
    for major, minor in _CHARACTER_DEVICES:
        yield spec.DeviceCgroup(allow=True, type="c", major=major, minor=minor)
    yield spec.DeviceCgroup(allow=True, type="c", major=_TERMINALS)


def _mapped(mapping: DeviceMapping) -> Iterator[tuple[spec.Device, str]]:
    """A device, or every device of a directory; a link is the device it leads to."""
    source = Path(os.path.realpath(mapping.PathOnHost))
    target = Path(mapping.PathInContainer or mapping.PathOnHost)
    access = mapping.CgroupPermissions or "rwm"
    try:
        found = list(_all_of(source, target)) if source.is_dir() else [_device(source, target)]
    except OSError as error:
        raise InvalidParameterError(
            "error gathering device information while adding custom device "
            f'"{mapping.PathOnHost}": {os.strerror(error.errno or 0).lower()}'
        ) from error
    if not found:
        raise InvalidParameterError(
            "error gathering device information while adding custom device "
            f'"{mapping.PathOnHost}": not a device node'
        )
    return iter([(device, access) for device in found])


def _device(source: Path, target: Path) -> spec.Device:
    """Raises OSError; ENODEV for a file that is no device."""
    status = os.stat(source)
    kind = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        raise OSError(19, os.strerror(19), str(source))
    number = status.st_rdev
    return spec.Device(
        kind, str(target), os.major(number), os.minor(number),
        stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid,
    )  # fmt: skip


def _all_of(source: Path, target: Path) -> Iterator[spec.Device]:
    for entry in sorted(os.scandir(source), key=lambda entry: entry.name):
        if source == Path("/dev") and entry.name in _NOT_THE_HOSTS:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _all_of(Path(entry.path), target / entry.name)
            continue
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            yield _device(Path(entry.path), target / entry.name)
