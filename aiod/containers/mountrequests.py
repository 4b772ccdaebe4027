"""What `Binds`, `Mounts`, `VolumesFrom` and `Tmpfs` ask for, read and checked as dockerd does.

Pure, but for nothing: whether a source exists is looked at when a container is made. Must not
know which volumes there are.
"""

import posixpath
from dataclasses import dataclass

import msgspec

from aiod.containers import tmpfs
from aiod.errors import InvalidParameterError, UnsupportedError
from aiod.store.models import (
    BindSettings,
    DriverSettings,
    HostConfig,
    ImageSettings,
    Mount,
    TmpfsSettings,
    VolumeSettings,
)
from aiod.store.records import MountPoint
from aiod.volumes.rules import check_name

PROPAGATION = frozenset({"private", "rprivate", "slave", "rslave", "shared", "rshared"})
_KINDS = {
    **dict.fromkeys(("ro", "rw"), "access"),
    **dict.fromkeys(("z", "Z"), "label"),
    **dict.fromkeys(("nocopy",), "copy"),
    **dict.fromkeys(("consistent", "cached", "delegated", "default"), "consistency"),
    **dict.fromkeys(PROPAGATION, "propagation"),
}
_UNKNOWN = "mount type unknown"
_PLAIN = VolumeSettings()


@dataclass(frozen=True, slots=True)
class MountRequest:
    """A mount asked for; `source_must_exist` on the host; `settings` are a new volume's."""

    point: MountPoint
    target: str
    copy: bool = False
    source_must_exist: bool = False
    settings: VolumeSettings = _PLAIN


def check(host: HostConfig) -> None:
    """Raise InvalidParameterError, or UnsupportedError, for what no container can have."""
    binds(host)
    mounts(host)
    for text in host.VolumesFrom or ():
        volumes_from(text)
    for target, words in tmpfs_of(host).items():
        _check_target(target)
        tmpfs.merged(words.split(","))


def tmpfs_of(host: HostConfig) -> dict[str, str]:
    """`HostConfig.Tmpfs`, empty where it is not given."""
    return host.Tmpfs if isinstance(host.Tmpfs, dict) else {}


def binds(host: HostConfig) -> list[MountRequest]:
    """`HostConfig.Binds`, each place at most once."""
    taken = {posixpath.normpath(target) for target in tmpfs_of(host)}
    found = [_bind(text, host.VolumeDriver) for text in host.Binds or ()]
    for request in found:
        if request.point.destination in taken:
            raise InvalidParameterError(f"Duplicate mount point: {request.point.destination}")
        taken.add(request.point.destination)
    return found


def mounts(host: HostConfig) -> list[MountRequest]:
    """`HostConfig.Mounts`, each place at most once, also among the binds."""
    taken = {request.point.destination for request in binds(host)}
    found = []
    for mount in host.Mounts or ():
        request = _request(mount)
        if request.point.destination in taken:
            raise InvalidParameterError(f"Duplicate mount point: {mount.Target}")
        taken.add(request.point.destination)
        found.append(request)
    return found


def volumes_from(text: str) -> tuple[str, bool]:
    """The container of one `VolumesFrom`, and whether its volumes may be written to."""
    if not text:
        raise InvalidParameterError("volumes-from specification cannot be an empty string")
    name, separator, mode = text.partition(":")
    words = mode_words(mode) if separator else ()
    if any(_KINDS[word] in ("propagation", "copy") for word in words):
        raise InvalidParameterError(f"invalid mode: {mode}")
    return name, "ro" not in words


def mode_words(mode: str) -> tuple[str, ...]:
    """The words of a bind's mode, at most one of each kind. Raises InvalidParameterError."""
    if not mode:
        return ()
    words = tuple(mode.split(","))
    kinds = [_KINDS.get(word) for word in words]
    if None in kinds or len(set(kinds)) != len(kinds):
        raise InvalidParameterError(f"invalid mode: {mode}")
    return words


def _bind(text: str, driver: str) -> MountRequest:
    """One of `Binds`: `TARGET`, `SOURCE:TARGET` or `SOURCE:TARGET:MODE`."""
    parts = text.split(":")
    invalid = f"invalid volume specification: '{text}'"
    if len(parts) > 3 or not all(parts[:2]):
        raise InvalidParameterError(invalid)
    source, target = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    if len(parts) == 2 and all(word in _KINDS for word in target.split(",")):
        raise InvalidParameterError(invalid)  # a mode in the place of a target
    words = mode_words(parts[2]) if len(parts) == 3 else ()
    mount = _as_mount(source, target, words, driver)
    try:
        request = _request(mount)
    except InvalidParameterError as error:
        if mount.Type == "volume" and source and error.message.startswith("create "):
            raise
        raise InvalidParameterError(f"{invalid}: {error.message}") from None
    point = request.point
    # What dockerd shows for a volume without a mode.
    mode = ",".join(words) or ("z" if point.kind == "volume" else "")
    create = point.kind == "bind"
    return MountRequest(
        msgspec.structs.replace(point, mode=mode, create_source=create),
        target, request.copy, settings=request.settings,
    )  # fmt: skip


def _as_mount(source: str, target: str, words: tuple[str, ...], driver: str) -> Mount:
    kind = "bind" if source.startswith("/") else "volume"
    propagation = next((word for word in words if word in PROPAGATION), "")
    config = DriverSettings(driver) if driver and kind == "volume" else None
    no_copy = "nocopy" in words
    return Mount(
        Type=kind,
        Source=source,
        Target=target,
        ReadOnly="ro" in words,
        BindOptions=BindSettings(propagation) if propagation else None,
        VolumeOptions=VolumeSettings(no_copy, None, config) if no_copy or config else None,
    )


def _request(mount: Mount) -> MountRequest:
    try:
        _check_place(mount)
        return _BY_TYPE[mount.Type](mount) if mount.Type in _BY_TYPE else _unknown()
    except InvalidParameterError as error:
        if error.message.startswith("create "):
            raise
        raise InvalidParameterError(
            f'invalid mount config for type "{mount.Type}": {error.message}'
        ) from None


def _unknown() -> MountRequest:
    raise InvalidParameterError(_UNKNOWN)


def _check_place(mount: Mount) -> None:
    if not mount.Target:
        raise InvalidParameterError("field Target must not be empty")
    _check_target(mount.Target)
    if "\0" in mount.Source:
        raise InvalidParameterError("field Source has a null byte")


def _check_target(target: str) -> None:
    if target and posixpath.normpath(target) in ("/", "//", "."):
        raise InvalidParameterError("invalid specification: destination can't be '/'")
    _check_absolute(target)


def _check_absolute(path: str) -> None:
    if not path.startswith("/"):
        raise InvalidParameterError(f"invalid mount path: '{path}' mount path must be absolute")
    if "\0" in path:
        raise InvalidParameterError(f"invalid mount path: {path!r} has a null byte")


def _refuse_others(mount: Mount, own: str) -> None:
    for name in ("BindOptions", "VolumeOptions", "ImageOptions", "TmpfsOptions"):
        if name != own and getattr(mount, name) is not None:
            raise InvalidParameterError(f"field {name} must not be specified")


def destination(target: str) -> str:
    """A target as the place that it is: without repeated and trailing slashes, `.` and `..`."""
    return posixpath.normpath("/" + target.lstrip("/"))


def _bind_mount(mount: Mount) -> MountRequest:
    options = mount.BindOptions or BindSettings()
    if not mount.Source:
        raise InvalidParameterError("field Source must not be empty")
    if options.Propagation and options.Propagation not in PROPAGATION:
        raise InvalidParameterError(f"invalid propagation mode: {options.Propagation}")
    _refuse_others(mount, "BindOptions")
    _check_absolute(mount.Source)
    if options.ReadOnlyNonRecursive and options.ReadOnlyForceRecursive:
        raise InvalidParameterError(
            "mount options conflict: ReadOnlyNonRecursive && ReadOnlyForceRecursive"
        )
    point = MountPoint(
        "bind", destination(mount.Target), posixpath.normpath(mount.Source),
        writable=not mount.ReadOnly,
        propagation=options.Propagation or "rprivate",
        create_source=options.CreateMountpoint,
        recursive=not options.NonRecursive,
        read_only_below=not options.ReadOnlyNonRecursive,
    )  # fmt: skip
    return MountRequest(point, mount.Target, source_must_exist=not options.CreateMountpoint)


def _volume_mount(mount: Mount) -> MountRequest:
    options = mount.VolumeOptions or VolumeSettings()
    _refuse_others(mount, "VolumeOptions")
    if not mount.Source and options.Subpath:
        raise InvalidParameterError("must not set Subpath when using anonymous volumes")
    if not mount.Source and mount.ReadOnly:
        raise InvalidParameterError("must not set ReadOnly mode when using anonymous volumes")
    _check_subpath(options.Subpath)
    if mount.Source:
        check_name(mount.Source)
    point = MountPoint(
        "volume", destination(mount.Target),
        name=mount.Source,
        driver="local",
        mode="z",
        writable=not mount.ReadOnly,
        anonymous=not mount.Source,
        subpath=options.Subpath,
    )  # fmt: skip
    return MountRequest(point, mount.Target, not options.NoCopy, settings=options)


def _check_subpath(path: str) -> None:
    if not path:
        return
    inside = posixpath.normpath(path)
    if path.startswith("/") or inside == ".." or inside.startswith("../") or "\0" in path:
        raise InvalidParameterError("subpath must be a relative path within the volume")


def _tmpfs_mount(mount: Mount) -> MountRequest:
    _refuse_others(mount, "TmpfsOptions")
    if mount.Source:
        raise InvalidParameterError("field Source must not be specified")
    options = tmpfs.options_of(mount.TmpfsOptions or TmpfsSettings(), read_only=mount.ReadOnly)
    place = destination(mount.Target)
    point = MountPoint("tmpfs", place, writable=not mount.ReadOnly, tmpfs=options)
    return MountRequest(point, mount.Target)


def _image_mount(mount: Mount) -> MountRequest:
    _refuse_others(mount, "ImageOptions")
    wanted = (mount.ImageOptions or ImageSettings()).Subpath
    named = f"{mount.Source}/{wanted}" if wanted else mount.Source
    raise UnsupportedError(f"HostConfig.Mounts: Type image ({named}) is not supported by aiod yet")


_BY_TYPE = {
    "bind": _bind_mount, "volume": _volume_mount, "tmpfs": _tmpfs_mount, "image": _image_mount,
}  # fmt: skip
