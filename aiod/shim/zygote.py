"""The shim template: imports all a shim needs once, freezes the heap, forks shims on request.

Started by a daemon as `python -m aiod.shim.zygote FD`, FD being one end of a SEQPACKET socket
pair. A request is the directory of a shim, with the answer's socket in SCM_RIGHTS; the answer
comes from the shim itself. Ends at the end of file of its socket. Owns the fork and the
placement in the shims' cgroup; knows nothing of what a shim does.
"""

import gc
import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

# Neither is used, and each would cost every shim memory: betterproto2 takes pydantic only for
# validation that the stubs do not ask for, and the socket is local.
for _unused in ("pydantic", "pydantic_core", "ssl"):
    sys.modules.setdefault(_unused, None)  # type: ignore[arg-type]

from aiod.shim import main, placement, protocol, service  # noqa: E402

READY = b"ready"
_LONGEST_REQUEST = 4096
# Room for the shim's own title: the command line of a fork is where the template's was.
TITLE_ROOM = "-" * 80


def serve(control: socket.socket) -> None:
    """Answer requests until the daemon's end is closed."""
    placed = ""
    control.send(READY)
    while True:
        message, descriptors, _flags, _address = socket.recv_fds(control, _LONGEST_REQUEST, 1)
        if not message:
            return
        with socket.socket(fileno=descriptors[0]) as reply:
            directory = Path(os.fsdecode(message))
            try:
                request = main.read_request(directory)
                if request.shim_cgroup != placed:
                    placement.join(request.shim_cgroup)
                    placed = request.shim_cgroup
                fork_shim(request, reply)
            except (OSError, protocol.DamagedFileError) as error:
                main.answer(reply, main.failure("fork shim", error))


def fork_shim(request: protocol.SpawnRequest, reply: socket.socket) -> None:
    """Fork twice, so that the shim is init's child and nobody waits for it. Raises OSError."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        if os.fork():
            os._exit(0)
        _become_shim(request, reply)
    finally:
        os._exit(1)


def _become_shim(request: protocol.SpawnRequest, reply: socket.socket) -> NoReturn:
    """Keep nothing of the daemon's: session, working directory, descriptors."""
    os.setsid()
    os.chdir("/")
    os.umask(0o022)
    errors = os.open(
        Path(request.directory) / protocol.ERROR_LOG_FILE,
        os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC,
        0o600,
    )
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    kept = os.dup(reply.detach())
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.dup2(errors, 2)
    answer = os.dup2(kept, 3, inheritable=False)
    os.closerange(4, 1 << 20)
    main.run(request, socket.socket(fileno=answer))
    os._exit(0)


def freeze() -> None:
    """Put everything made so far out of the collector's sight, so that forks go on sharing it."""
    service.warm()
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    gc.disable()
    freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))
