"""Whether a step was done before: Docker's classic cache.

Owns what makes two steps the same: the same parent, and the same configuration of the container
that did it, whose command tells of the instruction and of what was copied. Pure.
"""

from collections.abc import Iterable

from aiod.images.config import ImageConfig, RunConfig
from aiod.images.model import ImageRecord


def find(
    children: Iterable[tuple[ImageRecord, ImageConfig]], container_run: RunConfig
) -> tuple[ImageRecord, ImageConfig] | None:
    """The first of the parent's children that this step made."""
    for image, config in children:
        if config.container_config is not None and _same(config.container_config, container_run):
            return image, config
    return None


def _same(one: RunConfig, other: RunConfig) -> bool:
    return _key(one) == _key(other)


def _key(run: RunConfig) -> tuple[object, ...]:
    """What dockerd compares; the rest is in the command's text."""
    return (
        run.user, run.tty, run.cmd or [], run.env or [], run.labels or {},
        sorted(run.exposed_ports or ()), run.entrypoint or [], sorted(run.volumes or ()),
        run.shell or [],
    )  # fmt: skip
