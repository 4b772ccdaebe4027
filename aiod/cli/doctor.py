"""`aiod doctor`: the findings as a table on a terminal, lines on a pipe, or JSON.

Owns how they look; must not know how one is found.
"""

import sys
from dataclasses import asdict
from pathlib import Path

import click
import msgspec

from aiod.config import DEFAULT_HOST, DEFAULT_ROOT, DEFAULT_STATE, Paths
from aiod.doctor import can_run, examine
from aiod.doctor.findings import Finding, Subject, Verdict

_COLOURS = {Verdict.OK: "green", Verdict.NOTE: "yellow", Verdict.MISSING: "red"}
# Not to be looked at before the probes do.
_PATH = click.Path(path_type=Path, readable=False)


@click.command()
@click.option("--root", type=_PATH, default=DEFAULT_ROOT, show_default=True)
@click.option("--state", type=_PATH, default=DEFAULT_STATE, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def doctor(ctx: click.Context, /, root: Path, state: Path, as_json: bool) -> None:
    """Say what this machine has of what aiod needs, and what to do about the rest.

    Exit code 0 when aiod can run here, 1 when something that it needs is missing.
    """
    address = DEFAULT_HOST if state == DEFAULT_STATE else f"unix://{state}/aiod.sock"
    address = (ctx.obj or {}).get("host") or address
    findings = examine(Subject(Paths(root, state), address))
    if as_json:
        document = {"canRun": can_run(findings), "findings": [asdict(each) for each in findings]}
        click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2))
    elif sys.stdout.isatty():
        _table(findings)
    else:
        _lines(findings)
    sys.exit(0 if can_run(findings) else 1)


def _lines(findings: list[Finding]) -> None:
    for each in findings:
        click.echo("\t".join((each.verdict, each.topic, each.name, each.detail, each.remedy)))


def _table(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in ("", "what", "found"):
        table.add_column(title, overflow="fold")
    for each in findings:
        colour = _COLOURS[each.verdict]
        found = Text(each.detail)
        if each.remedy:
            found.append(f"\n-> {each.remedy}", style="italic")
        table.add_row(Text(each.verdict, style=colour), f"{each.topic}: {each.name}", found)
    console = Console()
    console.print(table)
    missing = [each.name for each in findings if each.verdict is Verdict.MISSING]
    words = f"cannot run here: {', '.join(missing)}" if missing else "can run here"
    console.print(f"\naiod {words}", style="bold red" if missing else "bold green")
