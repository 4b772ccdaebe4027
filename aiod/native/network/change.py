"""Changes the network of a container that runs: from one description to another.

Owns what is done for each difference. Idempotent: a change that was begun before, wholly or in
part, is done again to the same end. Must not know why. Raises NativeError; blocking.
"""

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from errno import ESRCH

from aiod.native import proc
from aiod.native.errors import NativeError
from aiod.native.network import messages, namespace, sandbox
from aiod.native.network.description import Interface, Sandbox
from aiod.native.network.netlink import Socket


def change(pid: int, start_time: int, before: Sandbox, after: Sandbox) -> None:
    """Give the namespace of that very process what `after` says; it has what `before` says.

    Undone when a step fails. Whoever runs it must be in the host's network namespace.
    """
    with _namespace_of(pid, start_time) as inner:
        try:
            _change(inner, before, after)
        except NativeError:
            with contextlib.suppress(NativeError):
                _change(inner, after, before)
            raise


@contextlib.contextmanager
def _namespace_of(pid: int, start_time: int) -> Iterator[int]:
    """A descriptor of its network namespace; only after that is it looked at who it is."""
    descriptor = namespace.open_of(pid)
    try:
        if not proc.is_same(pid, start_time):
            raise NativeError("open the network namespace", ESRCH)
        yield descriptor
    finally:
        os.close(descriptor)


def _change(inner: int, before: Sandbox, after: Sandbox) -> None:
    gone = [one for one in before.interfaces if one not in after.interfaces]
    new = [one for one in after.interfaces if one not in before.interfaces]
    _discard([*gone, *new], inner)
    if new:
        sandbox.attach(new, inner)
    namespace.inside(inner, lambda: _settle(new, before, after))


def _discard(interfaces: Sequence[Interface], inner: int) -> None:
    """Take links away, if they are there: a pair by the host's end, others within."""
    _discard_here([one.host_name for one in interfaces if one.host_name])
    within = [one.name for one in interfaces if not one.host_name]
    if within:
        namespace.inside(inner, lambda: _discard_here(within))


def _discard_here(names: Sequence[str]) -> None:
    there = {name for _, name in socket.if_nameindex()}
    with Socket() as kernel:
        kernel.commit([messages.delete_link(name) for name in names if name in there])


def _settle(new: Sequence[Interface], before: Sandbox, after: Sandbox) -> None:
    """Routes last: an old default route makes room for the new one only as that comes."""
    there = {name for _, name in socket.if_nameindex()}
    lost = [
        route for route in before.routes if route not in after.routes and route.interface in there
    ]
    with Socket() as kernel:
        sandbox.join(kernel, new, after.routes)
        kernel.commit([sandbox.delete_route(route) for route in lost])
