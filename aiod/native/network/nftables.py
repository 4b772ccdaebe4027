"""Our nftables table in the kernel: made, replaced, told of networks, dropped.

Owns the calls of libnftables, each one transaction; must not know what the rules say. For the
daemon alone: what a container's start and end change is `elements`. Everything blocks, for about
a millisecond. Never touches another table.
"""

import contextlib
import errno
import socket
from collections.abc import Iterable, Iterator
from typing import Any

from aiod.native._nftables import ffi, lib
from aiod.native.errors import NativeError
from aiod.native.network import ruleset
from aiod.native.network.description import Port
from aiod.native.network.ruleset import NetworkRules

_NETFILTER = 12  # NETLINK_NETFILTER


def replace_all(table: str, networks: Iterable[NetworkRules], ports: Iterable[Port]) -> None:
    """Have the table be this and nothing else, in one transaction. Raises NativeError."""
    _run(ruleset.whole(table, networks, ports), f"replace the nftables table {table}")


def exists(table: str) -> bool:
    """Whether there is a table of this name. Raises NativeError."""
    return f"table inet {table}\n" in _run("list tables inet\n", "list the nftables tables")


def listed(table: str) -> str:
    """The table as nft(8) lists it. Raises NativeError."""
    return _run(f"list table inet {table}\n", f"list the nftables table {table}")


def chains() -> str:
    """All chains of the host, without their rules, as nft(8) lists them. Raises NativeError."""
    return _run("list chains\n", "list the nftables chains")


def add_network(table: str, network: NetworkRules) -> None:
    """Have the rules know a network; again is no error. Raises NativeError."""
    _run(ruleset.added(table, network), f"add rules of {network.bridge}")


def remove_network(table: str, network: NetworkRules) -> None:
    """Have the rules forget a network that was added like this. Raises NativeError."""
    _run(ruleset.removed(table, network), f"remove rules of {network.bridge}")


def drop_table(table: str) -> None:
    """Have no such table, as it may be already. Raises NativeError."""
    _run(f"table inet {table}\ndelete table inet {table}\n", f"drop the nftables table {table}")


@contextlib.contextmanager
def _context() -> Iterator[Any]:
    _check_sockets()
    made = lib.nft_ctx_new(0)
    if made == ffi.NULL:
        raise NativeError("nft_ctx_new", errno.ENOMEM)
    try:
        if lib.nft_ctx_buffer_output(made) or lib.nft_ctx_buffer_error(made):
            raise NativeError("nft_ctx_buffer_output", errno.ENOMEM)
        yield made
    finally:
        lib.nft_ctx_free(made)


def _check_sockets() -> None:
    """The library ends the process if it gets no socket."""
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER).close()
    except OSError as error:
        raise NativeError("open a netlink socket", error.errno or 0) from error


def _run(text: str, step: str) -> str:
    """What the commands answer; they are one transaction."""
    with _context() as context:
        failed = lib.nft_run_cmd_from_buffer(context, text.encode())
        if failed:
            said = _text(lib.nft_ctx_get_error_buffer(context))
            raise NativeError(step, 0, _first_line(said))
        return _text(lib.nft_ctx_get_output_buffer(context))


def _text(buffer: Any) -> str:
    return bytes(ffi.string(buffer)).decode(errors="replace")


def _first_line(said: str) -> str:
    """The reason, without the place in a text that nobody has."""
    line = next(iter(said.splitlines()), "") or "failed"
    return line.partition("Error: ")[2] or line
