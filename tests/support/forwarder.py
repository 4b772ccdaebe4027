"""An HTTP proxy that resolves the suite's names: CONNECT and absolute URLs, to loopback only.

Runs in a thread of its own; `asked` are the targets so far, as `host:port`.
"""

import re
import select
import socket
from socketserver import StreamRequestHandler, ThreadingTCPServer

from tests.support.loopback import Loopback

_PIECE = 64 * 1024


class Forwarder(Loopback):
    """Runs inside `with`; whatever host is named, the connection goes to loopback."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        server = ThreadingTCPServer(("127.0.0.1", 0), self._handler())
        server.daemon_threads = True
        super().__init__(server)

    @property
    def url(self) -> str:
        """For `HTTPS_PROXY`."""
        return f"http://127.0.0.1:{self.port}"

    def _handler(self) -> type[StreamRequestHandler]:
        proxy = self

        class Handler(StreamRequestHandler):
            rbufsize = 0

            def handle(self) -> None:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    if not (byte := self.rfile.read(1)):
                        return
                    head += byte
                method, target = head.split(b" ", 2)[:2]
                if method == b"CONNECT":
                    place, head = target.decode(), b""
                else:
                    place = target.split(b"/")[2].decode()
                    head = re.sub(rb"^(\S+) http://[^/]+", rb"\1 ", head)
                proxy.asked.append(place)
                with socket.create_connection(
                    ("127.0.0.1", int(place.rpartition(":")[2]))
                ) as there:
                    if head:
                        there.sendall(head)
                    else:
                        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    _join(self.connection, there)

        return Handler


def _join(one: socket.socket, other: socket.socket) -> None:
    """Copy both ways until one side ends."""
    while True:
        for source in select.select([one, other], [], [], 60)[0]:
            try:
                data = source.recv(_PIECE)
                (other if source is one else one).sendall(data)
            except OSError:
                return
            if not data:
                return
