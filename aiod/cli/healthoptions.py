"""The options of `run` and `create` on health checks, as a part of a create's body.

Must not know how health is probed.
"""

from typing import Any

import click

from aiod.cli.options import flag
from aiod.errors import InvalidParameterError
from aiod.images.dockerfile.durations import nanoseconds
from aiod.store.models import HealthConfig


def _span(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """An option's callback: nanoseconds of a duration such as `1m30s`."""
    try:
        return nanoseconds(value)
    except InvalidParameterError as error:
        raise click.BadParameter(error.message) from None


def _duration(name: str, text: str) -> Any:
    return click.option(name, default="0", callback=_span, metavar="DURATION", help=text)


OPTIONS = (
    click.option("--health-cmd", default="", metavar="COMMAND", help="Probes its health."),
    _duration("--health-interval", "Between probes.  [30s]"),
    _duration("--health-timeout", "Until a probe has failed.  [30s]"),
    click.option("--health-retries", type=int, default=0, help="Failures to be unhealthy.  [3]"),
    _duration("--health-start-period", "While failures do not count.  [0s]"),
    _duration("--health-start-interval", "Between probes in that time.  [5s]"),
    flag("--no-healthcheck", text="Not even the image's."),
)


def config(options: dict[str, Any]) -> dict[str, HealthConfig]:
    """The member of `Config`, if there is anything to say."""
    command = options["health_cmd"]
    asked = HealthConfig(
        Test=["CMD-SHELL", command] if command else None,
        Interval=options["health_interval"],
        Timeout=options["health_timeout"],
        Retries=options["health_retries"],
        StartPeriod=options["health_start_period"],
        StartInterval=options["health_start_interval"],
    )
    if not options["no_healthcheck"]:
        return {} if asked == HealthConfig() else {"Healthcheck": asked}
    if asked != HealthConfig():
        raise click.BadParameter("--no-healthcheck conflicts with --health-* options")
    return {"Healthcheck": HealthConfig(Test=["NONE"])}
