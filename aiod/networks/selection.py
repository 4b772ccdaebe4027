"""Which networks a list shows and a prune takes: filters. Pure functions over records."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set

from aiod.errors import InvalidParameterError
from aiod.networks import model
from aiod.store.networkrecords import NetworkRecord

LIST_FILTERS = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})
PRUNE_FILTERS = frozenset({"label", "label!", "until"})
SCOPE = "local"

Filters = Mapping[str, Sequence[str]]
_TRUE, _FALSE = frozenset({"1", "true", "True"}), frozenset({"0", "false", "False"})
_TESTS: dict[str, Callable[[NetworkRecord, str], bool]] = {
    "name": lambda network, value: value in network.name,
    "id": lambda network, value: value in network.id,
    "driver": lambda network, value: value == network.driver,
    "scope": lambda network, value: value == SCOPE,
    "type": lambda network, value: value == kind(network),
}


def kind(network: NetworkRecord) -> str:
    """What the filter `type` calls it."""
    return "builtin" if model.is_built_in(network) else "custom"


def select(
    networks: Iterable[NetworkRecord], filters: Filters, used: Set[str]
) -> list[NetworkRecord]:
    """The networks to list; `used` are the ids of those that somebody is on.

    Raises InvalidParameterError for values that mean nothing.
    """
    for value in filters.get("type", ()):
        if value not in ("builtin", "custom"):
            raise InvalidParameterError(f"invalid filter: 'type'='{value}'")
    dangling = _boolean(filters, "dangling")
    return [
        network
        for network in networks
        if _matches(network, filters)
        and (dangling is None or dangling == _is_dangling(network, used))
    ]


def _is_dangling(network: NetworkRecord, used: Set[str]) -> bool:
    return network.id not in used and not model.is_built_in(network)


def _matches(network: NetworkRecord, filters: Filters) -> bool:
    if not all(labelled(network, label) for label in filters.get("label", ())):
        return False
    return all(
        any(test(network, value) for value in filters[name])
        for name, test in _TESTS.items()
        if filters.get(name)
    )


def prunable(
    networks: Iterable[NetworkRecord], filters: Filters, used: Set[str], until_ns: int | None
) -> list[NetworkRecord]:
    """The networks that nobody is on, made before `until_ns`, by their labels."""
    wanted, unwanted = filters.get("label", ()), filters.get("label!", ())
    return [
        network
        for network in networks
        if _is_dangling(network, used)
        and not network.config_only
        and (until_ns is None or network.created_ns < until_ns)
        and all(labelled(network, label) for label in wanted)
        and not any(labelled(network, label) for label in unwanted)
    ]


def labelled(network: NetworkRecord, wanted: str) -> bool:
    """Whether it has a label, and with `KEY=VALUE` that value."""
    key, separator, value = wanted.partition("=")
    return key in network.labels and (not separator or network.labels[key] == value)


def _boolean(filters: Filters, name: str) -> bool | None:
    values = filters.get(name) or ()
    if not values:
        return None
    if len(values) == 1 and values[0] in _TRUE | _FALSE:
        return values[0] in _TRUE
    raise InvalidParameterError(f"invalid filter '{name}=[{' '.join(values)}]'")
