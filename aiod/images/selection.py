"""The filters of `GET /images/json`: which images, and which of their names, are shown.

Pure; must not know where images are kept nor what a row looks like.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from aiod.errors import InvalidParameterError
from aiod.images.config import ImageConfig
from aiod.images.dockerfile.durations import nanoseconds
from aiod.images.model import ImageRecord
from aiod.images.reference import matches_pattern, parse
from aiod.images.times import parse_time

Filters = Mapping[str, list[str]]
Find = Callable[[str], ImageRecord]
Configs = Mapping[str, ImageConfig]


@dataclass(frozen=True, slots=True)
class Shown:
    """An image that passed, with those of its references that did."""

    image: ImageRecord
    config: ImageConfig
    references: tuple[str, ...]
    created_ns: int


def created_ns(image: ImageRecord, config: ImageConfig) -> int:
    """When the image says it was made, or else when it came here."""
    found = parse_time(config.created) if config.created else None
    return image.created_ns if found is None else found


def select(
    images: Iterable[ImageRecord], configs: Configs, filters: Filters, find: Find, now_ns: int
) -> list[Shown]:
    """The images that pass every filter, the newest first.

    `find` resolves the names in `before` and `since`; its NotFoundError is passed on.
    """
    wanted = dangling(filters)
    earliest, latest = _window(filters, configs, find, now_ns)
    shown: list[Shown] = []
    for image in images:
        config = configs[image.id]
        created = created_ns(image, config)
        if not earliest < created < latest or not labelled(config, filters.get("label", ())):
            continue
        references = _matching(image.references, filters.get("reference", []))
        if filters.get("reference") and not references:
            continue
        if _fits(image, wanted):
            shown.append(Shown(image, config, references, created))
    return sorted(shown, key=lambda one: (one.created_ns, one.image.created_ns), reverse=True)


def _fits(image: ImageRecord, wanted: bool | None) -> bool:
    """Dangling is an image without a tag; not dangling one with any name, even a digest."""
    if wanted is None:
        return True
    if not wanted:
        return bool(image.references)
    return all(parse(text).digest is not None for text in image.references)


def dangling(filters: Filters) -> bool | None:
    """The filter of that name; None when absent. Raises InvalidParameterError."""
    values = filters.get("dangling", [])
    if not values:
        return None
    if all(value in ("1", "true") for value in values):
        return True
    if all(value in ("0", "false") for value in values):
        return False
    raise InvalidParameterError(f"invalid filter 'dangling=[{' '.join(values)}]'")


def _window(filters: Filters, configs: Configs, find: Find, now_ns: int) -> tuple[float, float]:
    """The exclusive bounds that `since`, `before` and `until` put on the creation time."""
    earliest, latest = float("-inf"), float("inf")
    for name in filters.get("since", ()):
        image = find(name)
        earliest = max(earliest, created_ns(image, configs[image.id]))
    for name in filters.get("before", ()):
        image = find(name)
        latest = min(latest, created_ns(image, configs[image.id]))
    for value in filters.get("until", ()):
        latest = min(latest, moment(value, now_ns))
    return earliest, latest


def moment(value: str, now_ns: int) -> int:
    """A Unix time, an RFC 3339 time or date, or a duration before now, in nanoseconds."""
    if re.fullmatch(r"-?[0-9]{1,10}(\.[0-9]{1,9})?", value):
        seconds, _, fraction = value.partition(".")
        return int(seconds) * 10**9 + int(fraction.ljust(9, "0"))
    if (found := parse_time(value)) is not None:
        return found
    try:
        return now_ns - nanoseconds(value)
    except InvalidParameterError:
        raise InvalidParameterError(
            f'failed to parse value as time or duration: "{value}"'
        ) from None


def labelled(config: ImageConfig, wanted: Iterable[str]) -> bool:
    """Whether the image has every label of `wanted`: `key` or `key=value`."""
    labels = config.run.labels or {}
    for text in wanted:
        key, separator, value = text.partition("=")
        if key not in labels or (separator and labels[key] != value):
            return False
    return True


def _matching(references: tuple[str, ...], patterns: list[str]) -> tuple[str, ...]:
    if not patterns:
        return references
    return tuple(
        text for text in references
        if any(matches_pattern(parse(text), pattern) for pattern in patterns)
    )  # fmt: skip
