"""Which images `POST /images/prune` takes, and under which names. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from aiod.errors import InvalidParameterError
from aiod.images.config import ImageConfig
from aiod.images.model import DeleteItem, ImageRecord
from aiod.images.reference import parse
from aiod.images.selection import Configs, created_ns, dangling, labelled, moment

FILTERS = frozenset({"dangling", "label", "label!", "until"})


class PruneReport(msgspec.Struct, frozen=True, rename="pascal"):
    """What went, and the unpacked bytes that went with it."""

    images_deleted: list[DeleteItem] | None
    space_reclaimed: int


@dataclass(frozen=True, slots=True)
class Doomed:
    """An image, and the names to delete it by."""

    image: ImageRecord
    names: tuple[str, ...]


def choose(
    images: Iterable[ImageRecord], configs: Configs, filters: Mapping[str, list[str]], now_ns: int
) -> list[Doomed]:
    """The images to delete: those without a tag, or all if `dangling` is false.

    Nameless steps on the way to others are left out. Whether something uses them is for
    whoever deletes to see. Raises InvalidParameterError.
    """
    only_dangling = dangling(filters) is not False
    latest = _latest(filters, now_ns)
    everything = list(images)
    parents = {image.parent for image in everything}
    chosen: list[Doomed] = []
    for image in everything:
        if not image.references and image.id in parents:
            continue
        config = configs[image.id]
        if created_ns(image, config) > latest or not _wanted(config, filters):
            continue
        if only_dangling and any(parse(text).digest is None for text in image.references):
            continue
        chosen.append(Doomed(image, image.references or (image.id,)))
    return chosen


def _latest(filters: Mapping[str, list[str]], now_ns: int) -> float:
    values = filters.get("until", [])
    if len(values) > 1:
        raise InvalidParameterError("more than one until filter specified")
    return moment(values[0], now_ns) if values else float("inf")


def _wanted(config: ImageConfig, filters: Mapping[str, list[str]]) -> bool:
    unwanted = filters.get("label!", [])
    return labelled(config, filters.get("label", ())) and not (
        unwanted and labelled(config, unwanted)
    )


def reclaimed(items: Iterable[DeleteItem], layer_sizes: Mapping[str, int]) -> int:
    """Bytes of the layers among what was deleted."""
    return sum(layer_sizes.get(item.deleted, 0) for item in items)
