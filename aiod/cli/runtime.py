"""`aiod runtime`: looking into the native runtime without running anything.

Must not know the engine; needs neither it nor root.
"""

from pathlib import Path

import click
import msgspec

from aiod.cli import output
from aiod.cli.errors import CliError


@click.group()
def runtime() -> None:
    """Look into the native runtime."""


@runtime.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.argument("bundle", type=click.Path(path_type=Path))
def plan(bundle: Path, as_json: bool) -> None:
    """Show the steps that would make the container of an OCI bundle, in order."""
    from aiod.native import plan as planning
    from aiod.native.bundleplan import plan_of
    from aiod.native.errors import NativeError

    try:
        made = plan_of(bundle)
    except NativeError as error:
        raise CliError(str(error)) from None
    if as_json:
        output.raw_json(msgspec.json.encode(made))
    else:
        output.line(planning.render(made).rstrip("\n"))
