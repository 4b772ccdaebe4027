"""Mounting what the options of a volume name: mount(2), with the words of mount(8)'s `-o`.

Owns the words' meaning and mountinfo. What may wait for another machine is mounted by a process
of its own, which is this module as a program, so that a time-out can end it. Blocking.
"""

import ctypes
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from aiod.errors import InternalError

_RDONLY, _REMOUNT, _BIND, _REC = 0x1, 0x20, 0x1000, 0x4000
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_SECONDS = 60.0
_LOCAL = frozenset({"", "none", "bind", "tmpfs", "ramfs"})  # wait for nobody
# mount(8) FILESYSTEM-INDEPENDENT MOUNT OPTIONS: flags set and cleared.
_FLAGS: Mapping[str, tuple[int, int]] = {
    "defaults": (0, 0), "ro": (_RDONLY, 0), "rw": (0, _RDONLY), "suid": (0, 2), "nosuid": (2, 0),
    "dev": (0, 4), "nodev": (4, 0), "exec": (0, 8), "noexec": (8, 0), "sync": (16, 0),
    "async": (0, 16), "remount": (_REMOUNT, 0), "mand": (64, 0), "nomand": (0, 64),
    "dirsync": (128, 0), "atime": (0, 1024), "noatime": (1024, 0), "diratime": (0, 2048),
    "nodiratime": (2048, 0), "bind": (_BIND, 0), "rbind": (_BIND | _REC, 0),
    "relatime": (1 << 21, 0), "norelatime": (0, 1 << 21), "strictatime": (1 << 24, 0),
    "nostrictatime": (0, 1 << 24),
}  # fmt: skip
_PROPAGATION = {"unbindable": 1 << 17, "private": 1 << 18, "slave": 1 << 19, "shared": 1 << 20}
_ESCAPED = re.compile(r"\\([0-7]{3})")
_SECRET = re.compile(r"(password=)[^,]*")
_libc = ctypes.CDLL(None, use_errno=True)


def mount(options: Mapping[str, str], target: Path) -> None:
    """Mount what a volume's `type`, `device` and `o` name. Raises InternalError."""
    kind, device, words = options.get("type", ""), options.get("device", ""), options.get("o", "")
    words = _with_address(kind, device, words)
    if kind in _LOCAL:
        number = _mount(kind, device, words, target)
    else:
        number = _in_process(kind, device, words, target)
    if number:
        shown = _SECRET.sub(r"\1********", words)
        flags, data, _ = parse(shown)
        detail = f", data: {data}" if data else ""
        raise InternalError(
            f"failed to mount local volume: mount {device}:{target}, flags: {flags:#x}{detail}: "
            f"{os.strerror(number).lower()}"
        )


def unmount(target: Path) -> None:
    """Take the mount away, as soon as nothing uses it. Raises OSError; none is no error."""
    if _libc.umount2(os.fsencode(target), _MNT_DETACH | _UMOUNT_NOFOLLOW) == 0:
        return
    number = ctypes.get_errno()
    if is_mounted(target):
        raise OSError(number, os.strerror(number), str(target))


def is_mounted(target: Path) -> bool:
    """Whether a mount is at `target`, in this process's namespace."""
    return os.path.realpath(target) in _points()


def mounts_below(top: Path) -> list[Path]:
    """Where mounts are at `top` or below it, outer ones first."""
    prefix = os.path.realpath(top)
    return [Path(one) for one in _points() if one == prefix or one.startswith(prefix + "/")]


def _points() -> list[str]:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        return [_point(line) for line in lines]


def _point(line: str) -> str:
    return _ESCAPED.sub(lambda code: chr(int(code[1], 8)), line.split(maxsplit=5)[4])


def parse(words: str) -> tuple[int, str, int]:
    """Flags, the file system's own data, and propagation flags, of comma-separated options."""
    flags = propagation = 0
    data: list[str] = []
    for word in filter(None, words.split(",")):
        base = word[1:] if word[:1] == "r" and word[1:] in _PROPAGATION else word
        if word in _FLAGS:
            added, removed = _FLAGS[word]
            flags = (flags & ~removed) | added
        elif base in _PROPAGATION:
            propagation = _PROPAGATION[base] | (_REC if base != word else 0)
        else:
            data.append(word)
    return flags, ",".join(data), propagation


def _with_address(kind: str, device: str, words: str) -> str:
    """The kernel resolves no names: `addr=` of network file systems becomes an address."""
    if kind not in ("nfs", "cifs"):
        return words
    given = re.search(r"(?:^|,)addr=([^,]*)", words)
    if given is None:
        host = urlsplit(device).hostname if kind == "cifs" else None
        return f"{words},addr={_resolve(host)}".lstrip(",") if host else words
    return words.replace(f"addr={given[1]}", f"addr={_resolve(given[1])}", 1)


def _resolve(host: str) -> str:
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise InternalError(
            f"error resolving passed in network volume address: lookup {host}: {error}"
        ) from None
    return str(min(found, key=lambda one: one[0] != socket.AF_INET)[4][0])


def _mount(kind: str, device: str, words: str, target: Path) -> int:
    """0, or the errno; after a failure nothing is mounted."""
    flags, data, propagation = parse(words)
    if number := _call(device, target, kind, flags, data):
        return number
    late = [propagation] if propagation else []
    if flags & _BIND and flags & ~(_BIND | _REC):  # a bind takes its flags in a second call
        late.insert(0, flags | _REMOUNT)
    for one in late:
        if number := _call("none", target, "none", one, ""):
            unmount(target)
            return number
    return 0


def _call(device: str, target: Path, kind: str, flags: int, data: str) -> int:
    arguments = (os.fsencode(device), os.fsencode(target), os.fsencode(kind))
    made = _libc.mount(*arguments, ctypes.c_ulong(flags), os.fsencode(data) or None)
    return ctypes.get_errno() if made != 0 else 0


def _in_process(kind: str, device: str, words: str, target: Path) -> int:
    command = [sys.executable, "-P", "-m", __name__, kind, device, words, str(target)]
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, timeout=_SECONDS, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        raise InternalError(
            f"failed to mount local volume: mount {device}:{target}: "
            f"no answer within {_SECONDS:g} s"
        ) from None


if __name__ == "__main__":
    sys.exit(_mount(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4])))
