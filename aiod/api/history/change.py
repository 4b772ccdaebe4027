"""The words in which the history is told: a change, and rules that undo it for old versions.

Must not know any change.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from aiod.api.versions import Version

T = TypeVar("T")

NOTES = "Engine API version history"
GATE = "moby, the route's handler"


@dataclass(frozen=True, slots=True)
class Change:
    """Something that is so `since` a version; `where` names routes, `says` both states."""

    since: Version
    where: str
    says: str
    source: str = NOTES

    def holds(self, version: Version) -> bool:
        """Whether that version has it."""
        return version >= self.since


@dataclass(frozen=True, slots=True)
class _Rule(Generic[T]):
    change: Change
    old: bool
    shape: Callable[[T], T]

    def applies(self, version: Version) -> bool:
        return self.change.holds(version) is not self.old


class Rules(Generic[T]):
    """What is done to a body or an answer, by the version asked for, in the order of writing.

    A rule is a function; its docstring is what the history says of the change.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._rules: list[_Rule[T]] = []
        self._of: dict[Version, tuple[_Rule[T], ...]] = {}

    def before(
        self, version: Version, source: str = NOTES
    ) -> Callable[[Callable[[T], T]], Callable[[T], T]]:
        """Decorates what is done for versions older than `version`."""
        return self._added(version, source, old=True)

    def since(
        self, version: Version, source: str = NOTES
    ) -> Callable[[Callable[[T], T]], Callable[[T], T]]:
        """Decorates what is done for `version` and newer ones."""
        return self._added(version, source, old=False)

    def _added(
        self, version: Version, source: str, *, old: bool
    ) -> Callable[[Callable[[T], T]], Callable[[T], T]]:
        def add(shape: Callable[[T], T]) -> Callable[[T], T]:
            says = " ".join((shape.__doc__ or "").split())
            change = Change(version, self._where, says, source)
            self._rules.append(_Rule(change, old, shape))
            return shape

        return add

    def concern(self, version: Version) -> bool:
        """Whether anything is done for that version."""
        return bool(self._those(version))

    def applied(self, value: T, version: Version) -> T:
        """`value` as that version has it."""
        for rule in self._those(version):
            value = rule.shape(value)
        return value

    def _those(self, version: Version) -> tuple[_Rule[T], ...]:
        found = self._of.get(version)
        if found is None:
            found = tuple(rule for rule in self._rules if rule.applies(version))
            self._of[version] = found
        return found

    def __iter__(self) -> Iterator[Change]:
        return (rule.change for rule in self._rules)
