"""The filters of `GET /events`, each made a test of an event once and not for every event.

Pure; must not know where events come from.
"""

from collections.abc import Callable, Mapping

from aiod.api.params import Filters
from aiod.store.records import EventRecord

FILTERS = frozenset(
    {"config", "container", "daemon", "event", "image", "label", "network", "node", "plugin",
     "scope", "secret", "service", "type", "volume"}
)  # fmt: skip
_SHORTEST_ID = 4  # characters of an id's beginning that stand for it

Test = Callable[[EventRecord], bool]


def passing(filters: Filters) -> list[Test]:
    """What an event passes that is wanted; values of one filter are alternatives.

    Those that say no the soonest come first.
    """
    found = [_test(name, tuple(values)) for name, values in sorted(filters.items()) if values]
    return [test for _, test in sorted(found, key=lambda one: one[0])]


def _test(name: str, values: tuple[str, ...]) -> tuple[int, Test]:
    """The test, and its cost."""
    match name:
        case "type":
            return 0, lambda event: event.type in values
        case "scope":
            return 0, lambda event: event.scope in values
        case "event":
            return 1, lambda event: _is_action(event.action, values)
        case "label":
            wanted = [_label(value) for value in values]
            return 2, lambda event: all(_has(event.attributes, *one) for one in wanted)
        case "image":
            return 3, lambda event: _is_of_image(event, values)
    return 1, lambda event: event.type == name and _is_of_actor(event, values)


def _is_action(action: str, values: tuple[str, ...]) -> bool:
    """`exec_create: sh` is found by `exec_create` as well as by its full text."""
    return action in values or action.partition(":")[0] in values


def _label(value: str) -> tuple[str, str | None]:
    key, separator, wanted = value.partition("=")
    return key, wanted if separator else None


def _has(attributes: Mapping[str, str], key: str, wanted: str | None) -> bool:
    found = attributes.get(key)
    return found is not None and (wanted is None or found == wanted)


def _is_of_actor(event: EventRecord, values: tuple[str, ...]) -> bool:
    if event.actor_id in values or event.attributes.get("name", "") in values:
        return True
    return any(len(one) >= _SHORTEST_ID and event.actor_id.startswith(one) for one in values)


def _is_of_image(event: EventRecord, values: tuple[str, ...]) -> bool:
    attributes = event.attributes
    names = (event.actor_id, attributes.get("name", ""), attributes.get("image", ""))
    return any(name in values or name.partition(":")[0] in values for name in names if name)
