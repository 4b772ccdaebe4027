"""Which volumes a list shows and a prune takes: filters. Pure functions over records."""

import re
from collections.abc import Mapping, Sequence, Set

from aiod.errors import InvalidParameterError
from aiod.store.records import VolumeRecord
from aiod.volumes.rules import ANONYMOUS

LIST_FILTERS = frozenset({"dangling", "driver", "label", "name"})
PRUNE_FILTERS = frozenset({"all", "label", "label!"})

Filters = Mapping[str, Sequence[str]]
_TRUE, _FALSE = frozenset({"1", "true", "True"}), frozenset({"0", "false", "False"})
# Go's expressions take linear time; Python's take exponential time where repeats are nested.
_NESTED = re.compile(r"[*+}?][^(]*\)\s*[*+{?]")
_LONGEST_PATTERN = 256


def select(records: Sequence[VolumeRecord], filters: Filters, used: Set[str]) -> list[VolumeRecord]:
    """The volumes to list. Raises InvalidParameterError for values that mean nothing."""
    names = [_pattern(value) for value in filters.get("name", ())]
    drivers, labels = filters.get("driver", ()), filters.get("label", ())
    dangling = _boolean(filters, "dangling")
    return [
        record
        for record in records
        if (not drivers or record.driver in drivers)
        and all(_labelled(record, label) for label in labels)
        and (not names or any(name.search(record.name) for name in names))
        and (dangling is None or dangling == (record.name not in used))
    ]


def prunable(
    records: Sequence[VolumeRecord], filters: Filters, used: Set[str], *, named: bool
) -> list[VolumeRecord]:
    """The unused volumes to prune; those with a name of their own if `named` or filter `all`."""
    everything = named or bool(_boolean(filters, "all"))
    wanted, unwanted = filters.get("label", ()), filters.get("label!", ())
    return [
        record
        for record in records
        if record.name not in used
        and (everything or ANONYMOUS in (record.labels or {}))
        and all(_labelled(record, label) for label in wanted)
        and not any(_labelled(record, label) for label in unwanted)
    ]


def _labelled(record: VolumeRecord, wanted: str) -> bool:
    labels = record.labels or {}
    key, separator, value = wanted.partition("=")
    return key in labels and (not separator or labels[key] == value)


def _boolean(filters: Filters, name: str) -> bool | None:
    values = filters.get(name) or ()
    if not values:
        return None
    if len(values) == 1 and values[0] in _TRUE | _FALSE:
        return values[0] in _TRUE
    raise InvalidParameterError(f"invalid filter '{name}=[{' '.join(values)}]'")


def _pattern(value: str) -> re.Pattern[str]:
    if _NESTED.search(value) or len(value) > _LONGEST_PATTERN:
        raise InvalidParameterError(f"invalid filter 'name={value}': too costly a pattern")
    try:
        return re.compile(value)
    except re.error:
        return re.compile(re.escape(value))
