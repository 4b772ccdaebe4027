"""`aiod update`: limits of containers that are there. Must not know how they are carried out."""

from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from aiod.cli import asking, completing, output, values
from aiod.cli.asking import Asking
from aiod.cli.client import container, decoded
from aiod.store.models import RestartSettings

F = TypeVar("F", bound=Callable[..., Any])


class UpdateBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of an update: what stays as it is is left out."""

    BlkioWeight: int = 0
    CpuShares: int = 0
    NanoCpus: int = 0
    CpuPeriod: int = 0
    CpuQuota: int = 0
    CpusetCpus: str = ""
    CpusetMems: str = ""
    Memory: int = 0
    MemorySwap: int = 0
    MemoryReservation: int = 0
    PidsLimit: int | None = None
    RestartPolicy: RestartSettings | None = None


class Updated(msgspec.Struct, frozen=True):
    """The answer."""

    Warnings: tuple[str, ...] | None = None


def _size(*names: str, text: str) -> Callable[[F], F]:
    return click.option(*names, callback=values.size, metavar="SIZE", help=text)


@click.command()
@click.option("--blkio-weight", "BlkioWeight", type=int, default=0, help="10 to 1000.")
@click.option("--cpu-shares", "-c", "CpuShares", type=int, default=0, help="Relative weight.")
@click.option("--cpus", "NanoCpus", callback=values.cpus, metavar="NUMBER", help="As 1.5.")
@click.option("--cpu-period", "CpuPeriod", type=int, default=0, help="Microseconds.")
@click.option("--cpu-quota", "CpuQuota", type=int, default=0, help="Microseconds a period.")
@click.option("--cpuset-cpus", "CpusetCpus", default="", metavar="LIST", help="As 0-2,4.")
@click.option("--cpuset-mems", "CpusetMems", default="", metavar="LIST", help="As 0-2,4.")
@_size("--memory", "-m", "Memory", text="Limit of memory.")
@_size("--memory-swap", "MemorySwap", text="Of memory and swap together; -1 for none.")
@_size("--memory-reservation", "MemoryReservation", text="Kept for it under pressure.")
@click.option("--pids-limit", "PidsLimit", type=int, help="Most processes; -1 for no limit.")
@click.option("--restart", metavar="POLICY", help="no, always, unless-stopped, on-failure[:N].")
@click.argument("names", metavar="CONTAINER...", nargs=-1, required=True,
                shell_complete=completing.containers)  # fmt: skip
def update(names: tuple[str, ...], restart: str | None, **limits: Any) -> None:
    """Change what containers may use, also while they run."""
    policy = values.restart_policy(restart) if restart else None
    body = UpdateBody(RestartPolicy=policy, **limits)

    async def work(ask: Asking) -> int:
        async def one(name: str) -> str:
            answer = await ask.client.send("POST", container(name, "update"), body=body)
            for warning in decoded(answer, Updated).Warnings or ():
                output.warn(warning)
            return name

        return await asking.each(names, one)

    asking.ask(work)
