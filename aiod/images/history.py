"""How an image came to be, step by step: `GET /images/{name}/history`. Pure."""

from collections.abc import Mapping

import msgspec

from aiod.errors import InternalError
from aiod.images.catalogue import Catalogue
from aiod.images.config import ImageConfig
from aiod.images.model import ImageRecord
from aiod.images.times import parse_time
from aiod.images.views import tags

_MISSING = "<missing>"


class HistoryItem(msgspec.Struct, frozen=True, rename="pascal"):
    """One step, in the Engine API's words; `created` is in seconds, `size` in bytes."""

    comment: str
    created: int
    created_by: str
    id: str
    size: int
    tags: list[str] | None


def history(
    images: Catalogue, image: ImageRecord, config: ImageConfig, layer_sizes: Mapping[str, int]
) -> list[HistoryItem]:
    """The steps, the newest first; those that are images here have their ids and names.

    Raises InternalError when the config tells of more layers than it lists.
    """
    chains = iter([layer.chain_id for layer in image.layers])
    items: list[HistoryItem] = []
    for step in config.history or ():
        size = 0
        if not step.empty_layer:
            if (chain := next(chains, None)) is None:
                raise InternalError("too many non-empty layers in History section")
            size = layer_sizes.get(chain, 0)
        created = parse_time(step.created or "") or 0
        items.append(
            HistoryItem(step.comment, created // 10**9, step.created_by, _MISSING, size, None)
        )
    items.reverse()
    made: ImageRecord | None = image
    for place, item in enumerate(items):
        if made is None:
            break
        items[place] = msgspec.structs.replace(item, id=made.id, tags=tags(made.references) or None)
        made = images.get(made.parent)
    return items
