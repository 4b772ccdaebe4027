"""Images in the Engine API's words: rows of the list and `inspect`.

Pure functions; must not know where images are kept.
"""

import calendar
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from aiod.errors import InvalidParameterError
from aiod.images.config import ImageConfig
from aiod.images.model import (
    ContainerUse,
    GraphDriver,
    ImageInspect,
    ImageMetadata,
    ImageRecord,
    ImageSummary,
    RootFSInspect,
)
from aiod.images.reference import matches_pattern, parse

Filters = Mapping[str, list[str]]


def selected(
    images: list[ImageRecord],
    configs: Mapping[str, ImageConfig],
    filters: Filters,
    uses: Callable[[str], Iterable[ContainerUse]],
) -> list[ImageSummary]:
    """The rows that pass every filter, the newest first."""
    for name in ("before", "since", "until"):
        if filters.get(name):
            raise InvalidParameterError(f"images: the filter {name!r} is not supported by aiod yet")
    shown = [image for image in images if _passes(image, configs[image.id], filters)]
    shown.sort(key=lambda image: image.created_ns, reverse=True)
    return [_row(image, configs[image.id], len(list(uses(image.id)))) for image in shown]


def _passes(image: ImageRecord, config: ImageConfig, filters: Filters) -> bool:
    dangling = filters.get("dangling")
    if dangling and (dangling[0] in ("1", "true")) == bool(image.references):
        return False
    labels = config.run.labels or {}
    for wanted in filters.get("label", ()):
        key, separator, value = wanted.partition("=")
        if key not in labels or (separator and labels[key] != value):
            return False
    patterns = filters.get("reference", [])
    names = [parse(name) for name in image.references]
    return not patterns or any(matches_pattern(n, pattern) for n in names for pattern in patterns)


def _row(image: ImageRecord, config: ImageConfig, containers: int) -> ImageSummary:
    return ImageSummary(
        id=image.id,
        parent_id="",
        repo_tags=[parse(name).familiar for name in image.references],
        repo_digests=[],
        created=_seconds(config.created, image.created_ns),
        size=image.size,
        shared_size=-1,
        labels=config.run.labels,
        containers=containers,
    )


def _seconds(created: str | None, otherwise_ns: int) -> int:
    if created is None:
        return otherwise_ns // 10**9
    try:
        parsed = time.strptime(created[:19], "%Y-%m-%dT%H:%M:%S")
    except ValueError:
        return otherwise_ns // 10**9
    return calendar.timegm(parsed)


def inspected(image: ImageRecord, config: ImageConfig, overlay: Path) -> ImageInspect:
    """The answer of `GET /images/{name}/json`."""
    layers = [str(overlay / layer.chain_id.removeprefix("sha256:") / "diff")
              for layer in reversed(image.layers)]  # fmt: skip
    data = {"UpperDir": layers[0], "LowerDir": ":".join(layers[1:])} if layers else {}
    return ImageInspect(
        id=image.id,
        repo_tags=[parse(name).familiar for name in image.references],
        repo_digests=[],
        parent="",
        comment=config.comment,
        created=config.created,
        docker_version=config.docker_version,
        author=config.author,
        config=config.run,
        architecture=config.architecture,
        os=config.os,
        size=image.size,
        graph_driver=GraphDriver(data),
        root_fs=RootFSInspect(list(config.rootfs.diff_ids)),
        metadata=ImageMetadata(_stamp(image.tagged_ns)),
    )


def _stamp(time_ns: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_ns // 10**9))
