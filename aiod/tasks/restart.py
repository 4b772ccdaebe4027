"""Whether and when a container that ended is started again: Docker's restart policies.

Pure functions; must not know how a container is started.
"""

from dataclasses import dataclass

from aiod.store.models import RestartSettings
from aiod.store.records import RunState

FIRST_DELAY_NS = 100_000_000
LONGEST_DELAY_NS = 60 * 10**9
STEADY_NS = 10 * 10**9
"""A run at least this long starts the back-off anew."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Start again at `at_ns` (nanoseconds since the epoch), `delay_ns` after the end."""

    at_ns: int
    delay_ns: int


def wanted(policy: RestartSettings, state: RunState) -> bool:
    """Whether the run that `state` says is over calls for another."""
    if state.manually_stopped:
        return False
    if policy.Name in ("always", "unless-stopped"):
        return True
    if policy.Name != "on-failure" or state.exit_code == 0:
        return False
    return policy.MaximumRetryCount == 0 or state.restart_count < policy.MaximumRetryCount


def wanted_at_boot(policy: RestartSettings, state: RunState) -> bool:
    """Whether a container found ended, when a daemon starts, is to run.

    `always` forgets at a daemon's start that it was stopped by hand; `unless-stopped` does not.
    """
    if not state.started_ns:
        return False
    return policy.Name == "always" or (
        policy.Name == "unless-stopped" and not state.manually_stopped
    )


def retry(policy: RestartSettings, state: RunState) -> Retry | None:
    """When to start again after the end in `state`; None if the policy says no.

    100 ms after a first end, twice as long each time up to a minute, and again from 100 ms
    after a run of ten seconds (Docker's back-off).
    """
    if not wanted(policy, state):
        return None
    ran = state.finished_ns - state.started_ns
    doubled = min(state.restart_delay_ns * 2, LONGEST_DELAY_NS)
    delay = FIRST_DELAY_NS if ran >= STEADY_NS or not doubled else doubled
    return Retry(state.finished_ns + delay, delay)
