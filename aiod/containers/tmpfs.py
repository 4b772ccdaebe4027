"""Options of file systems in memory, as a client may give them: dockerd's rules and words.

Pure. Source: tmpfs(5), mount(8).
"""

from collections.abc import Iterable

from aiod.errors import InvalidParameterError
from aiod.native import mountoptions
from aiod.store.models import TmpfsSettings

DEFAULTS = ("noexec", "nosuid", "nodev", "rprivate")

_DATA = frozenset({"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"})
_OPPOSITES = (
    {"ro", "rw"}, {"suid", "nosuid"}, {"dev", "nodev"}, {"exec", "noexec"}, {"sync", "async"},
    {"atime", "noatime"}, {"diratime", "nodiratime"}, {"relatime", "norelatime"},
    {"strictatime", "nostrictatime"}, {"mand", "nomand"}, {"dirsync"}, {"remount"},
)  # fmt: skip
_KEYS = {word: str(sorted(words)) for words in _OPPOSITES for word in words}
_UNITS = ((1 << 30, "g"), (1 << 20, "m"), (1 << 10, "k"))


def merged(words: Iterable[str]) -> tuple[str, ...]:
    """`words` over the defaults, the last of each kind winning. Raises InvalidParameterError."""
    found: dict[str, str] = {}
    for word in reversed([*DEFAULTS, *filter(None, words)]):
        if word != "defaults":
            found.setdefault(_kind(word), word)
    return tuple(reversed(found.values()))


def _kind(word: str) -> str:
    if word in _KEYS:
        return _KEYS[word]
    if mountoptions.propagation_of(word) is not None:
        return "propagation"
    key, separator, value = word.partition("=")
    if not separator or key not in _DATA:
        shown = f'"{key}" "{value}"' if separator else f'"{key}"'
        raise InvalidParameterError(f"invalid tmpfs option [{shown}]")
    if "\0" in value:
        raise InvalidParameterError(f"invalid tmpfs option {key}: a null byte")
    return key


def options_of(settings: TmpfsSettings, *, read_only: bool) -> tuple[str, ...]:
    """The words of a mount of type `tmpfs`. Raises InvalidParameterError."""
    if settings.SizeBytes < 0 or settings.Mode < 0:
        raise InvalidParameterError("SizeBytes and Mode must not be negative")
    words = ["ro"] if read_only else []
    if settings.Mode:
        words.append(f"mode={settings.Mode:o}")
    if settings.SizeBytes:
        words.append(f"size={_size(settings.SizeBytes)}")
    return tuple(words + [_further(option) for option in settings.Options or ()])


def _size(size: int) -> str:
    for unit, letter in _UNITS:
        if size % unit == 0:
            return f"{size // unit}{letter}"
    return str(size)


def _further(option: list[str]) -> str:
    if not 1 <= len(option) <= 2:
        raise InvalidParameterError("invalid option array length")
    if option[0] not in ("exec", "noexec") or len(option) == 2:
        raise InvalidParameterError(f"invalid option: {option[0]}")
    return option[0]
