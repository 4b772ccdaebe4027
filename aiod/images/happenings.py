"""Events of images, as dockerd words them. Pure but for the clock."""

import time

from aiod.images.config import ImageConfig
from aiod.images.model import ImageRecord
from aiod.images.reference import Reference
from aiod.store.records import EventRecord


def happened(
    image: ImageRecord, config: ImageConfig | None, action: str, name: str = ""
) -> EventRecord:
    """Something happened to an image that now, or then, is called `name`.

    The image's labels are attributes, unless it is gone.
    """
    labels = (config.run.labels or {}) if config else {}
    attributes = {**labels, "name": name or image.id}
    return EventRecord(0, time.time_ns(), "image", action, image.id, attributes)


def transferred(config: ImageConfig, action: str, reference: Reference) -> EventRecord:
    """A pull or push of a reference: the actor is the name, not the image."""
    attributes = {**(config.run.labels or {}), "name": reference.familiar_name}
    return EventRecord(0, time.time_ns(), "image", action, reference.familiar, attributes)


def pruned(reclaimed: int) -> EventRecord:
    """A prune that freed so many bytes."""
    return EventRecord(0, time.time_ns(), "image", "prune", "", {"reclaimed": str(reclaimed)})
