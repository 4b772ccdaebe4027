"""Makes an image from another by one step: a changed configuration, perhaps one layer more.

Owns what the step leaves in the config and its history, as dockerd's classic builder and
`docker commit` write them; must not know what the step was, nor the record store.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from aiod.errors import InvalidParameterError
from aiod.images.config import History, ImageConfig, RootFS, RunConfig
from aiod.images.diff import store_diff
from aiod.images.loading import MOST_LAYERS, Stores
from aiod.images.model import ImageRecord
from aiod.images.platform import MACHINE
from aiod.images.tarwriter import TarWriter
from aiod.images.times import format_time

Write = Callable[[TarWriter, threading.Event], None]


@dataclass(frozen=True, slots=True)
class Step:
    """What was done: `run` is the configuration after it, `container` what did it.

    `container_run` is what the container was told, which tells one step from another;
    `container` is its id, "" if there was none.
    """

    run: RunConfig
    container_run: RunConfig
    author: str = ""
    comment: str = ""
    container: str = ""


@dataclass(frozen=True, slots=True)
class Base:
    """The image that the step began with."""

    record: ImageRecord
    config: ImageConfig


async def derive(stores: Stores, base: Base | None, step: Step, write: Write | None) -> ImageRecord:
    """Store a step's layer, which `write` writes, and config; the record is the caller's.

    Without `base` the image begins with nothing. Raises InvalidParameterError beyond the
    number of layers that can be stacked.
    """
    layers = base.record.layers if base else ()
    size = base.record.size if base else 0
    if write is not None:
        if len(layers) >= MOST_LAYERS:
            raise InvalidParameterError("max depth exceeded")
        added = await store_diff(stores, layers[-1].chain_id if layers else None, write)
        layers = (*layers, added.layer)
        size += added.size
    config = _config(base, step, [layer.diff_id for layer in layers], empty=write is None)
    stored = await asyncio.to_thread(stores.content.write, msgspec.json.encode(config))
    now = time.time_ns()
    parent = base.record.id if base else ""
    return ImageRecord(stored.digest, None, stored.size, size, layers, (), now, now, parent)


def _config(base: Base | None, step: Step, diff_ids: list[str], *, empty: bool) -> ImageConfig:
    created = format_time(time.time_ns())
    command = " ".join(step.container_run.cmd or ())
    done = History(created, command, step.author, step.comment, empty)
    before = base.config if base else ImageConfig()
    return ImageConfig(
        architecture=before.architecture or MACHINE.architecture,
        variant=before.variant,
        os=before.os or MACHINE.os,
        os_version=before.os_version,
        config=step.run,
        rootfs=RootFS(diff_ids),
        history=[*(before.history or ()), done],
        created=created,
        author=step.author,
        comment=step.comment,
        container=step.container,
        container_config=step.container_run,
    )
