"""The built-in image `base`: this machine's static busybox, as a root filesystem tar.

Owns what is in it; must not know how images are stored. The same busybox gives the same
bytes, and with that the same image id.
"""

import io
import subprocess
import tarfile
from pathlib import Path

from aiod.errors import InternalError, NotFoundError

NAME = "docker.io/library/base:latest"
COMMAND = ("/bin/sh",)
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_PLACES = ("/usr/bin/busybox", "/bin/busybox", "/usr/local/bin/busybox")
_TIMEOUT = 10.0  # seconds that busybox may take to list its applets
_DIRECTORIES = {
    "bin": 0o755, "dev": 0o755, "etc": 0o755, "home": 0o755, "proc": 0o755, "root": 0o700,
    "sys": 0o755, "tmp": 0o1777, "usr": 0o755, "var": 0o755,
}  # fmt: skip
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
}
_ELF_INTERPRETER = 3  # elf(5), PT_INTERP


def find_busybox() -> Path:
    """A statically linked busybox. Raises NotFoundError with what to do about it."""
    dynamic = None
    for place in map(Path, _PLACES):
        if not place.is_file():
            continue
        if _is_static(place.read_bytes()):
            return place
        dynamic = place
    found = f"{dynamic} is not statically linked" if dynamic else "this machine has none"
    raise NotFoundError(
        f"image base is made from a statically linked busybox, and {found}: install busybox-static"
    )


def _is_static(program: bytes) -> bool:
    if program[:5] != b"\x7fELF\x02":
        return False
    table = int.from_bytes(program[32:40], "little")
    size = int.from_bytes(program[54:56], "little")
    count = int.from_bytes(program[56:58], "little")
    kinds = (int.from_bytes(program[at : at + 4], "little")
             for at in range(table, table + size * count, size))  # fmt: skip
    return _ELF_INTERPRETER not in kinds


def build() -> bytes:
    """The root filesystem, as a tar. Raises NotFoundError without a static busybox."""
    busybox = find_busybox()
    applets = _applets(busybox)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, mode in _DIRECTORIES.items():
            tar.addfile(_entry(name, tarfile.DIRTYPE, mode))
        _add_file(tar, "bin/busybox", busybox.read_bytes(), 0o755)
        for name, text in _FILES.items():
            _add_file(tar, name, text.encode(), 0o644)
        for applet in applets:
            link = _entry(f"bin/{applet}", tarfile.SYMTYPE, 0o777)
            link.linkname = "busybox"
            tar.addfile(link)
    return out.getvalue()


def _applets(busybox: Path) -> list[str]:
    try:
        listed = subprocess.run(
            [busybox, "--list"], capture_output=True, text=True, check=True, timeout=_TIMEOUT
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise InternalError(f"image base: {busybox} --list: {error}") from error
    return sorted(name for name in set(listed.stdout.split()) - {"busybox"} if "/" not in name)


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = kind, mode
    return entry


def _add_file(tar: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    entry = _entry(name, tarfile.REGTYPE, mode)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
