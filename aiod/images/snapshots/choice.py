"""Which snapshotter a daemon uses for new containers, and which one an old container has.

Must not know records.
"""

import logging
from pathlib import Path

from aiod.doctor import overlays
from aiod.errors import InternalError
from aiod.images.snapshots.model import Snapshotter
from aiod.images.snapshots.native import NativeSnapshotter
from aiod.images.snapshots.overlay import OverlaySnapshotter

logger = logging.getLogger(__name__)


class Snapshotters:
    """All there are; `default` is the name of the one for new containers."""

    def __init__(self, default: str) -> None:
        made: tuple[Snapshotter, ...] = (OverlaySnapshotter(), NativeSnapshotter())
        self._known = {one.name: one for one in made}
        self.default = default

    def of(self, name: str) -> Snapshotter:
        """The one a container remembers. Raises InternalError for one that is not known here."""
        if (found := self._known.get(name)) is None:
            raise InternalError(f"snapshotter {name!r} is not known to this version of aiod")
        return found


def choose(setting: str, place: Path) -> Snapshotters:
    """As set, or else overlay where one can have its upper directory in `place`. Blocks."""
    if setting:
        return Snapshotters(setting)
    if problem := overlays.problem(place):
        logger.warning("containers get copies of their layers: overlay on %s: %s", place, problem)
        return Snapshotters("native")
    return Snapshotters("overlay")
