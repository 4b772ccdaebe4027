"""Root file systems of Debian's packages, fetched from its archive and unpacked; none is installed.

So no service of theirs is started on this machine. Must not know what they are for.
"""

import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.support.binaries import require

# What a program runs with. Perl and what sets up a whole system are left out, and so is the
# compiler that a database may bring in for its queries.
_FOLLOWED = re.compile(
    r"(lib(?!llvm|perl|pam-|systemd-)[\w.+-]+|zlib1g|tzdata|nginx|postgresql-(client-)?\d+"
    r"|python3(\.\d+)?(-minimal)?)"
)
_KINDS = ("--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces",
          "--no-enhances")  # fmt: skip
_SPARED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian",
           "usr/include", "usr/lib/*/gconv", "usr/lib/postgresql/*/lib/bitcode")  # fmt: skip


def _apt(*arguments: str, at: Path | None = None) -> str:
    command = [require(arguments[0]), "-q", "-o", "APT::Sandbox::User=root", *arguments[1:]]
    done = subprocess.run(command, cwd=at, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


def _needed_by(packages: Iterable[str]) -> set[str]:
    lines = _apt("apt-cache", "depends", *_KINDS, *packages).splitlines()
    matches = (re.fullmatch(r" [ |](?:Pre)?Depends: (\S+)", line) for line in lines)
    return {match[1] for match in matches if match and _FOLLOWED.fullmatch(match[1])}


def _with_what_they_need(packages: Iterable[str]) -> list[str]:
    found: set[str] = set()
    while new := set(packages) - found:
        found |= new
        packages = _needed_by(sorted(new))
    return sorted(found)


def _downloaded(packages: Sequence[str], directory: Path) -> list[Path]:
    directory.mkdir()
    try:
        _apt("apt-get", "download", *_with_what_they_need(packages), at=directory)
    except RuntimeError:  # no lists of what there is, or lists of old
        _apt("apt-get", "update")
        _apt("apt-get", "download", *_with_what_they_need(packages), at=directory)
    return sorted(directory.glob("*.deb"))


def unpacked(packages: Sequence[str], directory: Path) -> None:
    """Unpack packages, and the libraries that they need, into a new directory."""
    directory.mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):  # as Debian has it; the archives have both
        (directory / "usr" / name).mkdir(parents=True, exist_ok=True)
        (directory / name).symlink_to(f"usr/{name}")
    archives = directory.with_name(directory.name + ".debs")
    for archive in _downloaded(packages, archives):
        unpack = [require("dpkg-deb"), "--fsys-tarfile", str(archive)]
        with subprocess.Popen(unpack, stdout=subprocess.PIPE) as tar:
            into = ("tar", "-x", "--keep-directory-symlink", "-C", str(directory))
            subprocess.run(into, stdin=tar.stdout, check=True)
        assert tar.returncode == 0, archive
    shutil.rmtree(archives)
    for spared in _SPARED:
        for each in directory.glob(spared):
            shutil.rmtree(each)
