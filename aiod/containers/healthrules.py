"""Health checks decided: what is run and when, and what a result makes of a container's health.

Owns dockerd's rules (moby, `daemon/health.go`) and the judgement of what a client asks for; pure.
Must not know how a check is run.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from aiod.errors import InvalidParameterError
from aiod.images.config import Healthcheck
from aiod.store.models import ContainerConfig, HealthConfig
from aiod.store.records import Health, HealthStatus, ProbeResult, RunState

_SECOND = 10**9
_SHORTEST = 10**6  # ns, of every duration
_INTERVAL, _TIMEOUT, _START_INTERVAL = 30 * _SECOND, 30 * _SECOND, 5 * _SECOND
_RETRIES = 3
_KEPT = 5
_SHELL = ("/bin/sh", "-c")
_DURATIONS = ("Interval", "Timeout", "StartPeriod", "StartInterval")


@dataclass(frozen=True, slots=True)
class Plan:
    """How a container is probed; durations are nanoseconds."""

    command: tuple[str, ...]
    interval: int
    timeout: int
    start_period: int
    start_interval: int
    retries: int


def check(asked: HealthConfig) -> None:
    """Raise InvalidParameterError, in dockerd's words, for durations and counts that cannot be."""
    for name in _DURATIONS:
        if getattr(asked, name) != 0 and getattr(asked, name) < _SHORTEST:
            raise InvalidParameterError(f"{name} in Healthcheck cannot be less than 1ms")
    if asked.Retries < 0:
        raise InvalidParameterError("Retries in Healthcheck cannot be negative")


def merged(
    asked: HealthConfig | msgspec.UnsetType, image: Healthcheck | None
) -> HealthConfig | msgspec.UnsetType:
    """The check in effect: the image fills in what was not asked for."""
    if image is None:
        return asked
    own = HealthConfig(
        Test=image.test,
        Interval=image.interval,
        Timeout=image.timeout,
        Retries=image.retries,
        StartPeriod=image.start_period,
        StartInterval=image.start_interval,
    )
    if isinstance(asked, msgspec.UnsetType):
        return own
    fields = (field.name for field in msgspec.structs.fields(HealthConfig))
    return HealthConfig(**{name: getattr(asked, name) or getattr(own, name) for name in fields})


def plan(config: ContainerConfig) -> Plan | None:
    """How the container is probed; None if it is not, as with a test of no known kind."""
    asked = config.Healthcheck
    if isinstance(asked, msgspec.UnsetType):
        return None
    command = _command(asked.Test or (), config)
    if not command:
        return None
    return Plan(
        command=command,
        interval=asked.Interval or _INTERVAL,
        timeout=asked.Timeout or _TIMEOUT,
        start_period=asked.StartPeriod,
        start_interval=asked.StartInterval or _START_INTERVAL,
        retries=asked.Retries or _RETRIES,
    )


def _command(test: Sequence[str], config: ContainerConfig) -> tuple[str, ...]:
    kind, *words = test or [""]
    if kind == "CMD":
        return tuple(words)
    if kind == "CMD-SHELL":
        shell = config.Shell if isinstance(config.Shell, list) and config.Shell else _SHELL
        return (*shell, *words)
    return ()


def begun(state: RunState, config: ContainerConfig) -> Health:
    """The health at the beginning of a run: what was logged of those before stays."""
    if plan(config) is None:
        return Health()
    return Health(HealthStatus.STARTING, 0, state.health.log)


def ended(health: Health) -> Health:
    """The health of what does not run: for dockerd, as for us, not healthy."""
    if health.status is HealthStatus.NONE:
        return health
    return msgspec.structs.replace(health, status=HealthStatus.UNHEALTHY)


def due_ns(state: RunState, probed: Plan) -> int:
    """When the next probe is to be made, counted from the last one's end, or from the start."""
    last = state.health.log[-1].ended_ns if state.health.log else 0
    since = max(last, state.started_ns)
    starting = state.health.status is HealthStatus.STARTING
    early = starting and since - state.started_ns < probed.start_period
    return since + (probed.start_interval if early else probed.interval)


def judged(state: RunState, probed: Plan, result: ProbeResult) -> Health:
    """What a result makes of the health."""
    health = state.health
    status, streak = health.status, health.failing_streak
    if result.exit_code == 0:
        status, streak = HealthStatus.HEALTHY, 0
    elif not _forgiven(state, probed, result):
        streak += 1
        if streak >= probed.retries:
            status = HealthStatus.UNHEALTHY
    return Health(status, streak, (*health.log, result)[-_KEPT:])


def _forgiven(state: RunState, probed: Plan, result: ProbeResult) -> bool:
    """While it starts, a failure does not count."""
    starting = state.health.status is HealthStatus.STARTING
    return starting and result.started_ns - state.started_ns < probed.start_period
