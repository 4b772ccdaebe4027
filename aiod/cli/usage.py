"""`aiod system df`: what the engine's things hold on disk. Must not know how it is found."""

import click
import msgspec

from aiod.cli import asking, output
from aiod.cli.client import decoded

_TITLES = ("TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE")
_ACTIVE = ("running", "paused", "restarting")


class Image(msgspec.Struct, frozen=True):
    """An image; sizes in bytes."""

    Size: int = 0
    SharedSize: int = 0
    Containers: int = 0


class Container(msgspec.Struct, frozen=True):
    """A container."""

    State: str = ""
    SizeRw: int = 0


class Held(msgspec.Struct, frozen=True):
    """How a volume is used."""

    RefCount: int = 0
    Size: int = 0


class Volume(msgspec.Struct, frozen=True):
    """A volume."""

    UsageData: Held = Held()


class Usage(msgspec.Struct, frozen=True):
    """The answer."""

    LayersSize: int = 0
    Images: tuple[Image, ...] | None = None
    Containers: tuple[Container, ...] | None = None
    Volumes: tuple[Volume, ...] | None = None


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
def df(as_json: bool) -> None:
    """Show what images, containers and volumes hold on disk."""

    def show(body: bytes) -> None:
        found = decoded(body, Usage)
        output.table(_TITLES, [_images(found), _containers(found), _volumes(found)])

    asking.show("/system/df", None, show, as_json=as_json)


def _images(found: Usage) -> tuple[str, ...]:
    rows = found.Images or ()
    used = [row for row in rows if row.Containers > 0]
    needed = sum(row.Size - max(0, row.SharedSize) for row in used)
    return _row("Images", len(rows), len(used), found.LayersSize, found.LayersSize - needed)


def _containers(found: Usage) -> tuple[str, ...]:
    rows = found.Containers or ()
    active = [row for row in rows if row.State in _ACTIVE]
    size = sum(row.SizeRw for row in rows)
    spare = size - sum(row.SizeRw for row in active)
    return _row("Containers", len(rows), len(active), size, spare)


def _volumes(found: Usage) -> tuple[str, ...]:
    rows = [row.UsageData for row in found.Volumes or ()]
    size = sum(row.Size for row in rows)
    spare = sum(row.Size for row in rows if not row.RefCount)
    return _row("Local Volumes", len(rows), sum(1 for row in rows if row.RefCount), size, spare)


def _row(title: str, total: int, active: int, size: int, spare: int) -> tuple[str, ...]:
    part = f" ({100 * spare // size}%)" if size else ""
    return title, str(total), str(active), output.size(size), output.size(spare) + part
