"""What `aiod-runtime` remembers of its containers between two commands.

Owns the files below its root: `ID/state.json`, `ID/config.json`, `ID/start.sock`. Must not know
how containers are made. `state.json` is there from the moment that a process is.
"""

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from aiod.native import proc, spec
from aiod.native.errors import NativeError

_ID = re.compile(r"^[\w+.-]{1,1024}$", re.ASCII)


class Record(msgspec.Struct, frozen=True):
    """One container. `created` is RFC 3339 in UTC; `cgroup` is below each hierarchy's root."""

    id: str
    bundle: str
    pid: int
    start_time: int
    boot_id: str
    created: str
    cgroup: str
    annotations: dict[str, str] = {}


class Directory:
    """The directory of one container; it need not exist. Raises NativeError for a bad id."""

    def __init__(self, root: Path, container_id: str) -> None:
        if not _ID.match(container_id) or container_id in (".", ".."):
            raise NativeError("container id", 22, f"invalid: {container_id!r}")
        self.id = container_id
        self.path = root / container_id
        self.socket = self.path / "start.sock"

    def make(self) -> None:
        """Make it, for one creator only. Raises NativeError if the id is taken."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self.path.mkdir(mode=0o711)
        except FileExistsError as error:
            message = f'container with id "{self.id}" exists already'
            raise NativeError("create", 17, message) from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other command at this container meanwhile. Raises NativeError if it is gone."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise self._missing() from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def save(self, record: Record) -> None:
        """Write the record, whole or not at all."""
        _write(self.path / "state.json", msgspec.json.encode(record))

    def save_config(self, config: bytes) -> None:
        """Keep the specification as it was at the creation."""
        _write(self.path / "config.json", config)

    def load(self) -> Record:
        """The record. Raises NativeError if there is none, or it is damaged."""
        try:
            data = (self.path / "state.json").read_bytes()
            return msgspec.json.decode(data, type=Record)
        except FileNotFoundError as error:
            raise self._missing() from error
        except msgspec.DecodeError as error:
            raise NativeError(f'read "{self.path}/state.json"', 22, str(error)) from error

    def load_config(self) -> spec.Spec:
        """The specification as it was at the creation. Raises NativeError."""
        try:
            return spec.decode((self.path / "config.json").read_bytes())
        except FileNotFoundError as error:
            raise self._missing() from error

    def remove(self) -> None:
        """Forget the container."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.path)

    def _missing(self) -> NativeError:
        # containerd and Podman look for these words.
        return NativeError("container", 2, f'container "{self.id}" does not exist')


def is_alive(record: Record) -> bool:
    """Whether its first process is still that one."""
    return record.boot_id == proc.boot_id() and proc.is_same(record.pid, record.start_time)


def all_in(root: Path) -> list[Directory]:
    """Every container below `root`."""
    try:
        names = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
    except FileNotFoundError:
        return []
    return [Directory(root, name) for name in names if _ID.match(name)]


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
