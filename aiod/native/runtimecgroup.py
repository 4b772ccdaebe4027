"""A container's cgroup as the runtime needs it: what the container sees of it, whether it rests.

Owns the picture of the hierarchies inside a container; the files are `aiod.native.cgroups`'.
"""

from pathlib import Path

from aiod.native import spec
from aiod.native.cgroups import Cgroup, Layout, detect_layout
from aiod.native.plan import CgroupMount


def mounts_of(layout: Layout, path: str) -> tuple[CgroupMount, ...]:
    """The cgroup at `path` in each hierarchy, named as on the host.

    Controllers that share a hierarchy get a link each. With any hierarchy of version 1 the
    unified one is left out, as other runtimes do.
    """
    relative = path.strip("/")
    if not layout.v1:
        return (CgroupMount("", str(layout.unified / relative)),) if layout.unified else ()
    controllers: dict[Path, list[str]] = {}
    for name, root in layout.v1.items():
        controllers.setdefault(root, []).append(name)
    return tuple(
        CgroupMount(
            root.name, str(root / relative), tuple(name for name in names if name != root.name)
        )
        for root, names in controllers.items()
    )


class ContainerCgroup:
    """The cgroup at one path, there or not."""

    def __init__(self, path: str) -> None:
        self._layout = detect_layout()
        self._path = path
        self._cgroup = Cgroup(self._layout, path)

    def create(self) -> None:
        """Make it. Raises NativeError."""
        self._cgroup.create()

    def add(self, pid: int) -> None:
        """Move a process into it. Raises NativeError."""
        self._cgroup.add(pid)

    def into_fd(self) -> int | None:
        """A directory to be born in, if the host has version 2 alone; the caller closes it."""
        return self._cgroup.into_fd()

    def mounts(self) -> tuple[CgroupMount, ...]:
        """What the container sees of it."""
        return mounts_of(self._layout, self._path)

    def processes(self) -> list[int]:
        """The pids in it."""
        return self._cgroup.processes()

    def frozen(self) -> bool:
        """Whether it is paused, or about to be."""
        relative = self._path.strip("/")
        freezer = self._layout.v1.get("freezer")
        if freezer is not None:
            return _read(freezer / relative / "freezer.state") in ("FROZEN", "FREEZING")
        unified = self._layout.unified
        return unified is not None and _read(unified / relative / "cgroup.freeze") == "1"

    def freeze(self) -> None:
        """Stop every process in it. Raises NativeError."""
        self._cgroup.freeze()

    def thaw(self) -> None:
        """Let them go on. Raises NativeError."""
        self._cgroup.thaw()

    def update(self, resources: spec.Resources) -> None:
        """Change its limits. Raises NativeError."""
        self._cgroup.apply(resources)

    def remove(self) -> None:
        """Remove it with whatever still runs there."""
        self._cgroup.remove()


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        return ""
