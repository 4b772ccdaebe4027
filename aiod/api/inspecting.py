"""The answers of a container's inspect, kept for as long as they are true.

Owns that certainty: an answer is kept together with everything that it was made of, and given
again only where all of that is still the same. Must not know HTTP.
"""

from collections import OrderedDict
from typing import NamedTuple

import msgspec

from aiod.api import replies
from aiod.api.endpointviews import EndpointViews
from aiod.api.history.replies import CONTAINER, shown
from aiod.api.render import Renderer
from aiod.api.versions import Version
from aiod.store.records import ContainerRecord

KEPT = 1_024


class _Basis(NamedTuple):
    """All that an answer says; records and what is in them never change, they are replaced."""

    record: ContainerRecord
    exec_ids: list[str]
    version: Version
    networks: tuple[object, ...]


class Inspections:
    """The answers of one daemon, without sizes; those asked for last are kept."""

    def __init__(self, renderer: Renderer, ends: EndpointViews) -> None:
        self._renderer = renderer
        self._ends = ends
        self._kept: OrderedDict[str, tuple[_Basis, msgspec.Raw]] = OrderedDict()

    def answer(self, record: ContainerRecord, exec_ids: list[str], version: Version) -> msgspec.Raw:
        """What inspect says of a container now, in JSON."""
        basis = _Basis(record, exec_ids, version, self._ends.basis(record))
        kept = self._kept.get(record.id)
        if kept is not None and kept[0] == basis:
            self._kept.move_to_end(record.id)
            return kept[1]
        view = shown(CONTAINER, self._renderer.inspect(record, exec_ids, None), version)
        found = msgspec.Raw(replies.encode(view))
        self._kept[record.id] = basis, found
        self._kept.move_to_end(record.id)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found
