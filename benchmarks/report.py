"""Figures as a table for people and as JSON for programs; no measuring here."""

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar


class Measured(Protocol):
    """What one engine did: a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def engine(self) -> str:
        """Whose figures these are."""
        ...

    @property
    def version(self) -> str:
        """Its version."""
        ...


F = TypeVar("F", bound=Measured)


@dataclass(frozen=True)
class Row(Generic[F]):
    """One measurement: what it is, how to read it, and whether more is better.

    Where neither is, as with a count, nothing is compared.
    """

    title: str
    value: Callable[[F], float | None]
    more_is_better: bool = False
    compared: bool = True


@dataclass(frozen=True, slots=True)
class Absent:
    """A peer that was asked for and is not among the figures."""

    name: str
    reason: str


@dataclass(frozen=True)
class Report(Generic[F]):
    """All that is told of one run of one benchmark."""

    introduction: str
    rows: Sequence[Row[F]]
    figures: Sequence[F]
    absent: Sequence[Absent]

    def table(self) -> str:
        """In Markdown; the last column says how many times better aiod is than dockerd."""
        figures = self.figures
        ours = next((one for one in figures if one.engine == "aiod"), None)
        theirs = next((one for one in figures if one.engine == "dockerd"), None)
        lines = [["", *(f"{one.engine} {one.version}" for one in figures)]]
        lines.append(["---", *["---:"] * len(figures)])
        lines += [[row.title, *(_cell(row.value(one)) for one in figures)] for row in self.rows]
        if ours and theirs:
            last = [_ratio(row, ours, theirs) for row in self.rows]
            for line, cell in zip(lines, ["aiod better than dockerd", "---:", *last], strict=True):
                line.append(cell)
        text = "".join("| " + " | ".join(line) + " |\n" for line in lines)
        return text + "".join(
            f"\nNot measured: {one.name} ({one.reason}).\n" for one in self.absent
        )

    def write(self, directory: Path, name: str) -> str:
        """Write `name`.md and, for programs, `name`.json in lower case; returns the former."""
        machine = _machine()
        text = (
            f"# Figures\n\n{self.introduction}\n{machine['date']}, Linux {machine['kernel']}, "
            f"{machine['cpus']} CPUs, Python {machine['python']}, {machine['priority']} priority, "
            f"load {machine['load']} at the end.\n\n{self.table()}"
        )
        (directory / f"{name}.md").write_text(text)
        document = {
            "machine": machine,
            "figures": [asdict(one) for one in self.figures],
            "absent": [asdict(one) for one in self.absent],
        }
        target = directory / f"{name.lower()}.json"
        target.write_text(json.dumps(document, indent=2) + "\n")
        return text


def _cell(value: float | None) -> str:
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.2f}"


def _ratio(row: Row[F], ours: F, theirs: F) -> str:
    mine, other = row.value(ours), row.value(theirs)
    if mine is None or other is None or not row.compared or not (mine and other):
        return ""
    return f"{mine / other if row.more_is_better else other / mine:.1f} times"


def _machine() -> dict[str, str | int | float]:
    real_time = os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR)
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "kernel": platform.release(),
        "cpus": os.cpu_count() or 0,
        "python": platform.python_version(),
        "priority": "real-time" if real_time else "normal",
        "load": round(os.getloadavg()[0], 1),
    }
