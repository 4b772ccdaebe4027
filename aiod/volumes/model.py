"""What the volume service is asked for and answers: plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiod.volumes.copyup import Fill

References = Mapping[str, Sequence[str]]  # containers' ids by volume, created or running


@dataclass(frozen=True, slots=True)
class Request:
    """A volume that a new container is to have; one that is there already is taken as it is.

    `fill`, if given, copies what the image has in its place into an empty one.
    """

    name: str
    driver: str = ""
    options: Mapping[str, str] | None = None
    labels: Mapping[str, str] | None = None
    fill: Fill | None = None


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What a prune deleted, and how many bytes are free again."""

    deleted: tuple[str, ...]
    reclaimed: int
