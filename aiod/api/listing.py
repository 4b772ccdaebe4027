"""Which containers a list shows: filters, order, limit.

Pure functions over records; must not know HTTP or how records are kept.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from aiod.api.params import Filters, boolean_filter
from aiod.containers import mountplan
from aiod.errors import InvalidParameterError, NotFoundError
from aiod.store.records import ContainerRecord, Status

FILTERS = frozenset(
    {"ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label",
     "name", "network", "publish", "since", "status", "volume"}
)  # fmt: skip
_SHOWN = frozenset({Status.RUNNING, Status.PAUSED, Status.RESTARTING})
_STATUSES = frozenset(status.value for status in Status)
_OF_PORTS = frozenset({"expose", "publish"})
_PASSED_ALREADY = _OF_PORTS | {"before", "since"}

_PORTS = re.compile("([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?")
_LAST_PORT = 65535
# Go's expressions take linear time; Python's take exponential time where repeats are nested.
_NESTED = re.compile(r"[*+}?][^(]*\)\s*[*+{?]")
_LONGEST_PATTERN = 256

Test = Callable[[ContainerRecord, str], bool]


def select(
    records: Iterable[ContainerRecord],
    filters: Filters,
    all_states: bool,
    limit: int,
    others: Mapping[str, Test],
) -> list[ContainerRecord]:
    """The containers to show, the newest first.

    `limit` (0: none) counts containers in every state, as does a filter on the state. `others` are
    the tests of the filters `ancestor`, `expose`, `network` and `publish`; of the two of ports, one
    that matches is enough.
    """
    found = sorted(records, key=lambda record: record.created_ns, reverse=True)
    _check(filters)
    shown = _between(found, filters)
    if not (all_states or limit > 0 or filters.get("status")):
        shown = [record for record in shown if record.state.status in _SHOWN]
    tests = {**_TESTS, **others}
    shown = [record for record in shown if _matches(record, filters, tests)]
    return shown[:limit] if limit > 0 else shown


def _check(filters: Filters) -> None:
    for value in filters.get("status", []):
        if value not in _STATUSES:
            raise InvalidParameterError(f"invalid filter 'status={value}'")
    for value in filters.get("exited", []):
        if not re.fullmatch("-?[0-9]{1,9}", value):
            raise InvalidParameterError(f"invalid filter 'exited={value}'")
    for name in ("expose", "publish"):
        for value in filters.get(name, []):
            ports_of(name, value)
    for value in filters.get("name", []):
        if _NESTED.search(value) or len(value) > _LONGEST_PATTERN:
            raise InvalidParameterError(f"invalid filter 'name={value}': too costly a pattern")
    for value in filters.get("health", []):
        if value not in ("none", "starting", "healthy", "unhealthy"):
            raise InvalidParameterError(f"invalid filter 'health={value}'")


def _between(found: list[ContainerRecord], filters: Filters) -> list[ContainerRecord]:
    ends = [_one(found, value).created_ns for value in filters.get("before", [])]
    begins = [_one(found, value).created_ns for value in filters.get("since", [])]
    return [
        record
        for record in found
        if all(record.created_ns < end for end in ends)
        and all(record.created_ns > begin for begin in begins)
    ]


def _one(found: Sequence[ContainerRecord], value: str) -> ContainerRecord:
    for record in found:
        if value in (record.name, f"/{record.name}", record.id):
            return record
    prefixed = [record for record in found if record.id.startswith(value)]
    if len(prefixed) != 1:
        raise NotFoundError(f"No such container: {value}")
    return prefixed[0]


def _matches(record: ContainerRecord, filters: Filters, tests: Mapping[str, Test]) -> bool:
    return _has_port(record, filters, tests) and all(
        _passes(record, name, values, tests)
        for name, values in filters.items()
        if values and name not in _PASSED_ALREADY
    )


def _passes(
    record: ContainerRecord, name: str, values: list[str], tests: Mapping[str, Test]
) -> bool:
    if name == "label":
        return all(_label(record, value) for value in values)
    if name == "is-task":
        return not boolean_filter({name: values}, name)
    return any(tests[name](record, value) for value in values)


def _has_port(record: ContainerRecord, filters: Filters, tests: Mapping[str, Test]) -> bool:
    """A port that one of the two filters is after is enough."""
    wanted = [(name, value) for name in _OF_PORTS for value in filters.get(name, [])]
    return not wanted or any(tests[name](record, value) for name, value in wanted)


def _label(record: ContainerRecord, value: str) -> bool:
    labels = record.config.Labels or {}
    key, separator, wanted = value.partition("=")
    return key in labels and (not separator or labels[key] == wanted)


def _name(record: ContainerRecord, value: str) -> bool:
    """A regular expression found in the name, with or without its slash."""
    try:
        pattern = re.compile(value)
    except re.error:
        return False
    return bool(pattern.search(f"/{record.name}") or pattern.search(record.name))


def _volume(record: ContainerRecord, value: str) -> bool:
    """A volume's name, a bind's source, or a place in the container."""
    return any(
        value in (point.name, point.source, point.destination) for point in mountplan.points(record)
    )


def ports_of(name: str, value: str) -> tuple[int, int, str]:
    """First, last and protocol of `80`, `80/udp` or `80-90/tcp`."""
    found = _PORTS.fullmatch(value)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if found is None or first > last or last > _LAST_PORT:
        raise InvalidParameterError(f"invalid filter '{name}={value}'")
    return first, last, found[3] or "tcp"


def _exited(record: ContainerRecord, value: str) -> bool:
    state = record.state
    ended = state.status in (Status.EXITED, Status.DEAD) and state.finished_ns > 0
    return ended and state.exit_code == int(value)


_TESTS: dict[str, Test] = {
    "exited": _exited,
    "health": lambda record, value: (record.state.health.status.value or "none") == value,
    "id": lambda record, value: bool(value) and record.id.startswith(value),
    "isolation": lambda record, value: True,  # of Windows
    "name": _name,
    "status": lambda record, value: record.state.status.value == value,
    "volume": _volume,
}
