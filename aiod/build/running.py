"""RUN: the words that are executed, and what a container has written that is none of its own.

Must not know how containers are run. `leave_out_mount_points` blocks.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from aiod.images.config import RunConfig
from aiod.images.dockerfile.instructions import Instruction
from aiod.images.dockerfile.lines import Heredoc, heredoc
from aiod.images.dockerfile.runconfig import DEFAULT_SHELL

SCRIPTS = "/dev/pipes"
# What every container gets mounted over, made by the runtime where an image has none.
_MOUNT_POINTS = ("etc/hosts", "etc/hostname", "etc/resolv.conf")


def script_of(instruction: Instruction) -> Heredoc | None:
    """The here-document that is a program by itself, because it begins with `#!`."""
    documents = instruction.line.heredocs
    if instruction.is_json or len(documents) != 1 or not _is_alone(instruction):
        return None
    return documents[0] if documents[0].text.startswith("#!") else None


def _is_alone(instruction: Instruction) -> bool:
    return heredoc(instruction.arguments[0], instruction.line.escape) is not None


def command(instruction: Instruction, run: RunConfig) -> list[str]:
    """The words of a RUN's process."""
    if instruction.is_json:
        return list(instruction.arguments)
    if not instruction.arguments:
        return list(run.shell or DEFAULT_SHELL)
    text, documents = instruction.arguments[0], instruction.line.heredocs
    if (script := script_of(instruction)) is not None:
        return [f"{SCRIPTS}/{script.name}"]
    if documents and _is_alone(instruction):
        text = documents[0].text
    else:
        text += "".join(f"\n{document.content}{document.name}" for document in documents)
    return [*(run.shell or DEFAULT_SHELL), text]


def leave_out_mount_points(upper: Path, layers: Sequence[Path]) -> None:
    """Take from what was written the empty files that the runtime made to mount over."""
    touched = False
    for name in _MOUNT_POINTS:
        place = upper / name
        if _is_empty_file(place) and not any(os.path.lexists(layer / name) for layer in layers):
            place.unlink()
            touched = True
    if touched:
        _leave_out_unchanged(upper / "etc", [layer / "etc" for layer in layers])


def _is_empty_file(place: Path) -> bool:
    try:
        status = place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == 0


def _leave_out_unchanged(place: Path, below: Sequence[Path]) -> None:
    """An empty directory that is as the one below it, or was made for those files alone."""
    with os.scandir(place) as entries:
        if next(entries, None) is not None:
            return
    mine = place.stat()
    lower = next((path.lstat() for path in below if os.path.lexists(path)), None)
    if lower is None or (lower.st_mode, lower.st_uid, lower.st_gid) == (
        mine.st_mode, mine.st_uid, mine.st_gid,
    ):  # fmt: skip
        place.rmdir()
