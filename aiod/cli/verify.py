"""`aiod image verify`: whether everything stored is as it was when it was stored.

Owns how findings are told; must not know how they are found.
"""

from collections.abc import AsyncIterator

import click

from aiod.cli import asking, output, transfer, views
from aiod.cli.asking import Asking
from aiod.cli.client import decoded
from aiod.cli.errors import CliError

_ROTTEN = 1


@click.command()
@click.option("--repair", is_flag=True,
              help="Unpack damaged layers again; drop damaged blobs, for a pull.")  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="Only what is found.")
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON lines.")
def verify(repair: bool, quiet: bool, as_json: bool) -> None:
    """Read all images back and say what is damaged, missing or left over.

    The status is 1 when anything is and was not repaired.
    """
    query = {"repair": "1"} if repair else {}

    async def work(ask: Asking) -> int:
        async with ask.client.stream("POST", "/aiod/images/verify", query) as response:
            summary = await _followed(response.lines(), quiet or as_json, as_json)
        if not (quiet or as_json):
            output.line(_counts(summary))
        return _ROTTEN if summary.problems > summary.repaired else 0

    asking.ask(work)


async def _followed(lines: AsyncIterator[bytes], quiet: bool, as_json: bool) -> views.VerifySummary:
    found: list[str] = []
    summary: views.VerifySummary | None = None
    with transfer.bar("verify", None, quiet) as advance:
        async for line in lines:
            message = decoded(line, views.Verified)
            if message.error:
                raise CliError(message.error)
            advance(message.size)
            summary = message.summary or summary
            if as_json:
                output.line(line.decode(errors="replace"))
            elif message.problem:
                found.append(_told(message))
    for text in found:
        output.line(text)
    if summary is None:
        raise CliError("the engine did not verify to the end")
    return summary


def _told(message: views.Verified) -> str:
    repaired = " (repaired)" if message.repaired else ""
    return output.printable(f"{message.subject} {message.id}: {message.problem}{repaired}")


def _counts(summary: views.VerifySummary) -> str:
    counts = (("blobs", summary.blobs), ("layers", summary.layers), ("images", summary.images),
              ("containers", summary.containers))  # fmt: skip
    checked = ", ".join(f"{count} {name}" for name, count in counts)
    repaired = f", {summary.repaired} repaired" if summary.repaired else ""
    return f"Checked {checked}: {summary.problems} problems{repaired}"
