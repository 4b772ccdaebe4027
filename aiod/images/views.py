"""Images in the Engine API's words: rows of the list and `inspect`.

Pure functions; must not know where images are kept nor which API version is spoken.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from aiod.images.config import ImageConfig
from aiod.images.model import (
    GraphDriver,
    ImageInspect,
    ImageMetadata,
    ImageRecord,
    ImageSummary,
    RootFSInspect,
)
from aiod.images.reference import parse
from aiod.images.selection import Shown
from aiod.images.times import NEVER, format_time, parse_time

NOT_COMPUTED = -1


def row(shown: Shown, containers: int, shared_size: int) -> ImageSummary:
    """One row of the list."""
    image = shown.image
    return ImageSummary(
        id=image.id,
        parent_id=image.parent,
        repo_tags=tags(shown.references),
        repo_digests=digests(shown.references),
        created=shown.created_ns // 10**9,
        size=image.size,
        shared_size=shared_size,
        labels=shown.config.run.labels,
        containers=containers,
    )


def shared_sizes(images: Sequence[ImageRecord], layer_sizes: Mapping[str, int]) -> dict[str, int]:
    """For each image, the bytes of the layers that others of `images` have as well."""
    counts = Counter(layer.chain_id for image in images for layer in image.layers)
    return {
        image.id: sum(
            layer_sizes.get(layer.chain_id, 0)
            for layer in image.layers
            if counts[layer.chain_id] > 1
        )
        for image in images
    }


def tags(references: Iterable[str]) -> list[str]:
    """Those references that are tags, as people write them."""
    parsed = [parse(text) for text in sorted(references)]
    return [reference.familiar for reference in parsed if reference.digest is None]


def digests(references: Iterable[str]) -> list[str]:
    """Those references that are digests, as people write them."""
    parsed = [parse(text) for text in sorted(references)]
    return [reference.familiar for reference in parsed if reference.digest is not None]


def inspected(image: ImageRecord, config: ImageConfig, overlay: Path) -> ImageInspect:
    """The answer of `GET /images/{name}/json`."""
    return ImageInspect(
        id=image.id,
        repo_tags=tags(image.references),
        repo_digests=digests(image.references),
        parent=image.parent,
        comment=config.comment or _last_comment(config),
        created=_created(config),
        docker_version=config.docker_version,
        author=config.author,
        config=config.run,
        architecture=config.architecture,
        variant=config.variant,
        os=config.os,
        os_version=config.os_version,
        size=image.size,
        graph_driver=_graph_driver(image, overlay),
        root_fs=RootFSInspect(list(config.rootfs.diff_ids)),
        metadata=ImageMetadata(format_time(image.tagged_ns) if image.references else NEVER),
    )


def _created(config: ImageConfig) -> str:
    moment = parse_time(config.created or "")
    return NEVER if moment is None else format_time(moment)


def _last_comment(config: ImageConfig) -> str:
    return config.history[-1].comment if config.history else ""


def _graph_driver(image: ImageRecord, overlay: Path) -> GraphDriver:
    directories = [
        overlay / layer.chain_id.removeprefix("sha256:") for layer in reversed(image.layers)
    ]
    if not directories:
        return GraphDriver({})
    data = {
        "MergedDir": str(directories[0] / "merged"),
        "UpperDir": str(directories[0] / "diff"),
        "WorkDir": str(directories[0] / "work"),
    }
    if directories[1:]:
        data["LowerDir"] = ":".join(str(directory / "diff") for directory in directories[1:])
    return GraphDriver(data)
