"""Figures as a table for people and as JSON for programs; no measuring here."""

import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measure import Figures


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: what it is, how to read it, and whether more is better."""

    title: str
    value: Callable[[Figures], float | None]
    more_is_better: bool = False


ROWS = [
    Row("create + start + wait of `/bin/true`, p50, ms", lambda one: one.run_p50_ms),
    Row("the same, p90, ms", lambda one: one.run_p90_ms),
    Row("containers per second, 16 at once", lambda one: one.per_second_at_16, True),
    Row("shim PSS with 50 running, median, MiB", lambda one: one.shim_pss_mib),
    Row("list of 100 containers, p50, ms", lambda one: one.list_100_ms),
]


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _ratio(row: Row, ours: Figures, theirs: Figures) -> str:
    mine, other = row.value(ours), row.value(theirs)
    if mine is None or other is None:
        return ""
    return f"{mine / other if row.more_is_better else other / mine:.1f} times"


def table(figures: list[Figures]) -> str:
    """A Markdown table; the last column says how many times better aiod is than dockerd."""
    ours = next(one for one in figures if one.engine == "aiod")
    theirs = next((one for one in figures if one.engine == "dockerd"), None)
    head = ["", *(f"{one.engine} {one.version}" for one in figures)]
    lines = [[*head, "aiod better than dockerd"] if theirs else head]
    lines.append(["---", *["---:"] * (len(lines[0]) - 1)])
    for row in ROWS:
        cells = [row.title, *(_cell(row.value(one)) for one in figures)]
        lines.append([*cells, _ratio(row, ours, theirs)] if theirs else cells)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _machine() -> dict[str, str | int]:
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "kernel": platform.release(),
        "cpus": os.cpu_count() or 0,
        "python": platform.python_version(),
    }


def write(figures: list[Figures], directory: Path) -> str:
    """Write RESULTS.md and results.json; returns the former's text."""
    machine = _machine()
    text = (
        "# Figures\n\n"
        "Written by `python -m benchmarks.run`. Every engine runs the same root filesystem with\n"
        "network `none`, and is asked by the same blocking client over its unix socket;\n"
        "containers are removed off the clock, except in the throughput. `runc run` is a process\n"
        "for each container on a plain directory, with no engine and no overlay.\n\n"
        f"{machine['date']}, Linux {machine['kernel']}, {machine['cpus']} CPUs, "
        f"Python {machine['python']}.\n\n"
    ) + table(figures)
    (directory / "RESULTS.md").write_text(text)
    document = {"machine": machine, "figures": [asdict(one) for one in figures]}
    (directory / "results.json").write_text(json.dumps(document, indent=2) + "\n")
    return text
