"""`aiod stats`: what containers use, as a table that goes on.

Owns the percentages, which are docker's. Must not know how the engine knows.
"""

import asyncio
from collections.abc import Callable, Iterable

import click
import msgspec

from aiod.cli import asking, completing, output, terminal, views
from aiod.cli.asking import Asking
from aiod.cli.client import Client, container, decoded
from aiod.cli.errors import EngineError
from aiod.cli.options import flag

_TITLES = ("CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O",
           "PIDS")  # fmt: skip
_NONE = "--"
_CLEAR = "\x1b[H\x1b[2J"
_SECONDS = 1.0


class Times(msgspec.Struct, frozen=True):
    """Nanoseconds."""

    total_usage: int = 0


class Cpu(msgspec.Struct, frozen=True):
    """A look at the processors."""

    cpu_usage: Times = Times()
    system_cpu_usage: int = 0
    online_cpus: int = 0


class Memory(msgspec.Struct, frozen=True):
    """Bytes."""

    usage: int = 0
    limit: int = 0
    stats: dict[str, int] = {}

    @property
    def used(self) -> int:
        """Without what the kernel would give up at once."""
        for name in ("total_inactive_file", "inactive_file"):
            if (spare := self.stats.get(name)) is not None:
                return self.usage - spare if spare < self.usage else self.usage
        return self.usage


class Interface(msgspec.Struct, frozen=True):
    """Bytes of one interface."""

    rx_bytes: int = 0
    tx_bytes: int = 0


class Block(msgspec.Struct, frozen=True):
    """One count of one device."""

    op: str
    value: int


class BlockIo(msgspec.Struct, frozen=True):
    """Bytes of devices."""

    io_service_bytes_recursive: tuple[Block, ...] | None = None


class Pids(msgspec.Struct, frozen=True):
    """Processes and threads."""

    current: int = 0


class Stats(msgspec.Struct, frozen=True):
    """An answer."""

    name: str = ""
    id: str = ""
    cpu_stats: Cpu = Cpu()
    precpu_stats: Cpu = Cpu()
    memory_stats: Memory = Memory()
    networks: dict[str, Interface] = {}
    blkio_stats: BlockIo = BlockIo()
    pids_stats: Pids = Pids()


@click.command()
@flag("-a", "--all", "everything", text="Those that do not run, too.")
@flag("--no-stream", "once", text="One table, and no more.")
@flag("--no-trunc", text="Cut nothing short.")
@click.option("--json", "as_json", is_flag=True, help="The engine's answers, one a line.")
@click.argument("names", metavar="[CONTAINER...]", nargs=-1, shell_complete=completing.containers)
def stats(
    names: tuple[str, ...], everything: bool, once: bool, no_trunc: bool, as_json: bool
) -> None:
    """Show what containers use: those named, or all that run."""

    async def work(ask: Asking) -> None:
        while True:
            begun = asyncio.get_running_loop().time()
            bodies = await _looked(ask.client, names, everything)
            _show(bodies, live=not once, no_trunc=no_trunc, as_json=as_json)
            if once:
                return
            # The answers took a second themselves, unless nothing runs.
            passed = asyncio.get_running_loop().time() - begun
            await asyncio.sleep(max(0.0, _SECONDS - passed))

    asking.ask(work)


async def _looked(client: Client, names: Iterable[str], everything: bool) -> list[bytes]:
    chosen = list(names)
    if not chosen:
        query = {"all": "1"} if everything else {}
        rows = decoded(await client.ask_raw("/containers/json", query), list[views.ContainerRow])
        chosen = [row.Id for row in rows]

    async def one(name: str) -> bytes | None:
        try:
            return await client.ask_raw(container(name, "stats"), {"stream": "0"})
        except EngineError:
            if names:
                raise
            return None  # it has just gone

    found = await asyncio.gather(*map(one, chosen))
    return [body for body in found if body is not None]


def _show(bodies: list[bytes], *, live: bool, no_trunc: bool, as_json: bool) -> None:
    if as_json:
        for body in bodies:
            output.line(body.decode().strip())
        return
    if live and terminal.is_terminal(terminal.STDOUT):
        output.text(_CLEAR)
    output.table(_TITLES, [row(decoded(body, Stats), no_trunc) for body in bodies])


def row(found: Stats, no_trunc: bool) -> tuple[str, ...]:
    """The cells of one container."""
    identity = found.id if no_trunc else output.short_id(found.id)
    name = found.name.removeprefix("/")
    if not found.memory_stats.limit:
        return (identity, name, _NONE, f"{_NONE} / {_NONE}", *[_NONE] * 4)
    memory = found.memory_stats
    return (
        identity,
        name,
        f"{cpu_percent(found):.2f}%",
        f"{output.size(memory.used)} / {output.size(memory.limit)}",
        f"{100 * memory.used / memory.limit:.2f}%",
        _both(found.networks.values(), lambda one: one.rx_bytes, lambda one: one.tx_bytes),
        _blocks(found.blkio_stats.io_service_bytes_recursive or ()),
        str(found.pids_stats.current),
    )


def cpu_percent(found: Stats) -> float:
    """Of one processor: two that are busy are 200."""
    now, before = found.cpu_stats, found.precpu_stats
    spent = now.cpu_usage.total_usage - before.cpu_usage.total_usage
    passed = now.system_cpu_usage - before.system_cpu_usage
    return spent / passed * now.online_cpus * 100 if spent > 0 and passed > 0 else 0.0


def _both(
    found: Iterable[Interface], one: Callable[[Interface], int], other: Callable[[Interface], int]
) -> str:
    rows = list(found)
    return f"{output.size(sum(map(one, rows)))} / {output.size(sum(map(other, rows)))}"


def _blocks(rows: Iterable[Block]) -> str:
    totals = {"read": 0, "write": 0}
    for one in rows:
        if one.op.lower() in totals:
            totals[one.op.lower()] += one.value
    return f"{output.size(totals['read'])} / {output.size(totals['write'])}"
