"""The newest events in memory, as the log has them, so that who asks for these costs no query.

Owns the certainty that nothing in between is missing; must not know who asks.
"""

from bisect import bisect_right
from dataclasses import dataclass, field

from aiod.store.records import EventRecord

KEPT = 1_024


@dataclass(slots=True)
class RecentEvents:
    """All events with a number beyond `before`, in order; unreadable ones are left out.

    `latest_before` is the latest time of any event up to `before`: clocks may have been set back.
    `last` is the number of the newest event looked at.
    """

    before: int
    latest_before: int
    last: int
    _events: list[EventRecord] = field(default_factory=list)

    def add(self, event: EventRecord) -> None:
        """The next event of the log."""
        self._events.append(event)
        self.last = event.seq
        if len(self._events) >= 2 * KEPT:
            dropped, self._events = self._events[:-KEPT], self._events[-KEPT:]
            self.before = dropped[-1].seq
            self.latest_before = max(self.latest_before, *(one.time_ns for one in dropped))

    def cover(self, since_ns: int, after: int) -> bool:
        """Whether every event after number `after` and not before `since_ns` is here."""
        return after >= self.before or since_ns > self.latest_before

    def between(self, since_ns: int, until_ns: int, after: int) -> list[EventRecord]:
        """Those after number `after` with a time in the bounds (inclusive)."""
        begin = bisect_right(self._events, after, key=lambda event: event.seq)
        return [one for one in self._events[begin:] if since_ns <= one.time_ns <= until_ns]
