"""`aiod version` and `aiod info`. Must not know how the engine finds out."""

import platform
from typing import Any

import click
import msgspec

import aiod
from aiod.cli import asking, output
from aiod.cli.asking import Asking
from aiod.cli.client import decoded
from aiod.cli.errors import UnreachableError

_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON.")

_INFO = (
    ("Containers", "Containers"),
    (" Running", "ContainersRunning"),
    (" Paused", "ContainersPaused"),
    (" Stopped", "ContainersStopped"),
    ("Images", "Images"),
    ("Server Version", "ServerVersion"),
    ("Storage Driver", "Driver"),
    ("Logging Driver", "LoggingDriver"),
    ("Cgroup Driver", "CgroupDriver"),
    ("Cgroup Version", "CgroupVersion"),
    ("Default Runtime", "DefaultRuntime"),
    ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"),
    ("Architecture", "Architecture"),
    ("CPUs", "NCPU"),
    ("Total Memory", "MemTotal"),
    ("Name", "Name"),
    ("ID", "ID"),
    ("Root Dir", "DockerRootDir"),
    ("Live Restore", "LiveRestoreEnabled"),
)
_SERVER = (
    ("Version", "Version"),
    ("API version", "ApiVersion"),
    ("Oldest API version", "MinAPIVersion"),
    ("OS/Arch", "Arch"),
    ("Kernel version", "KernelVersion"),
)


@click.command()
@_JSON
def version(as_json: bool) -> None:
    """Show the versions of the command and of the engine."""

    async def work(ask: Asking) -> int:
        try:
            server: bytes | None = await ask.client.ask_raw("/version")
        except UnreachableError as error:
            output.complain(error.message)
            server = None
        _show_version(server, as_json)
        return 0 if server is not None else 1

    asking.ask(work)


def _show_version(server: bytes | None, as_json: bool) -> None:
    client = {"Version": aiod.__version__, "PythonVersion": platform.python_version()}
    if as_json:
        output.json({"Client": client, "Server": msgspec.Raw(server) if server else None})
        return
    _block("Client:", [("Version", client["Version"]), ("Python", client["PythonVersion"])])
    if server is not None:
        found = decoded(server, dict[str, Any])
        _block("Server:", [(title, found.get(name, "")) for title, name in _SERVER])


def _block(title: str, rows: list[tuple[str, object]]) -> None:
    output.line(title)
    for name, value in rows:
        output.line(f" {name + ':':<20} {output.printable(str(value))}")


@click.command()
@_JSON
def info(as_json: bool) -> None:
    """Show the engine's state and what the machine offers it."""

    asking.show("/info", None, _show_info, as_json=as_json)


def _show_info(body: bytes) -> None:
    found = decoded(body, dict[str, Any])
    for title, name in _INFO:
        value = found.get(name, "")
        if isinstance(value, bool):
            value = "true" if value else "false"
        if name == "MemTotal":
            value = f"{value / 1024**3:.4g}GiB"
        output.line(f"{title}: {output.printable(str(value))}")
    for warning in found.get("Warnings") or ():
        output.warn(str(warning).removeprefix("WARNING: "))
