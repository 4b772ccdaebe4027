"""The plan of a bundle on disk, for people who look: nothing is made.

Owns finding what a plan depends on beside `config.json`. Needs no root.
"""

from pathlib import Path

from aiod.native import plan, spec
from aiod.native.cgroups import detect_layout
from aiod.native.errors import NativeError
from aiod.native.runtimecgroup import mounts_of


def plan_of(bundle: Path) -> plan.Plan:
    """The plan of the container in `bundle`, a directory with a `config.json`.

    Where the specification names no cgroup, one that `aiod-runtime` would make is shown. Raises
    NativeError.
    """
    directory = bundle.absolute()
    file = directory / "config.json"
    try:
        container = spec.decode(file.read_bytes())
    except OSError as error:
        raise NativeError(f'read "{file}"', error.errno or 0) from error
    path = container.linux.cgroups_path or f"/aiod-runtime/{directory.name}"
    return plan.build_plan(container, directory, _seen(path))


def _seen(path: str) -> tuple[plan.CgroupMount, ...]:
    try:
        return mounts_of(detect_layout(), path)
    except NativeError:
        return ()  # a host without any; a plan that needs one says so
