"""The shim template: imports all a shim needs once, freezes the heap, forks shims on request.

Started by a daemon as `python -m aiod.shim.zygote FD`, FD being one end of a SEQPACKET socket
pair. A request is the directory of a shim, with the answer's socket in SCM_RIGHTS; the answer
comes from the shim itself. Ends at the end of file of its socket, and is killed with its daemon:
the next one finds no start that is still to come.

Owns the placement in the shims' cgroup and what each process does after its fork; the forks are
C (`template.c`), so that the template writes to none of its pages: a page that it changed after
a fork would be copied, and the old one belong to one shim alone.
"""

import gc
import os
import socket
import sys
from pathlib import Path

# Neither is used, and each would cost every shim memory: betterproto2 takes pydantic only for
# validation that the stubs do not ask for, and the socket is local.
for _unused in ("pydantic", "pydantic_core", "ssl"):
    sys.modules.setdefault(_unused, None)  # type: ignore[arg-type]

from aiod.native._native import ffi, lib  # noqa: E402
from aiod.shim import handover, main, maker, placement, protocol, service  # noqa: E402

READY = b"ready"


def serve(control: socket.socket) -> None:
    """Fork a shim for each request until the daemon's end is closed; in the forks too, this
    returns when all is done. Raises OSError.

    The template has one thread, which is in C without the interpreter's lock when it forks: no
    lock is held by nobody. So what Python does after a fork (`core.after_fork`: 0.8 ms, 200 pages)
    is left to the one that starts threads.
    """
    born = ffi.new("struct aiod_born *")
    error = lib.aiod_template_end_with_parent()  # no request comes before it is said to be ready
    if error < 0:
        raise OSError(-error, f"die with the daemon: {os.strerror(-error)}")
    control.send(READY)
    role = lib.aiod_template_serve(control.fileno(), 0, born)
    if role == lib.AIOD_TEMPLATE_PLACE:
        _place(Path(handover.directory_of(born)))
        role = lib.aiod_template_serve(control.fileno(), 1, born)
    if role == lib.AIOD_TEMPLATE_MAKER:
        maker.run(Path(handover.directory_of(born)), socket.socket(fileno=born.maker))
    elif role == lib.AIOD_TEMPLATE_SHIM:
        main.run(born)
    elif role < 0:
        raise OSError(-role, f"serve: {os.strerror(-role)}")


def _place(directory: Path) -> None:
    """Join the cgroup that the first request names: all of one daemon name the same."""
    try:
        request = protocol.read_struct(directory / protocol.REQUEST_FILE, protocol.SpawnRequest)
    except protocol.DamagedFileError:
        return  # whoever makes it will say so
    if request is not None:
        placement.join(request.shim_cgroup)


def freeze() -> None:
    """Put everything made so far out of the collector's sight, so that forks go on sharing it."""
    service.warm()
    maker.warm()
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    gc.disable()
    freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))
    os._exit(0)
