"""A server of the suite's own on loopback. Must not know what is served."""

from socketserver import TCPServer

from tests.support.threaded import Threaded

_POLL = 0.02  # seconds until it sees that it is to end


class Loopback(Threaded):
    """Serves inside `with`."""

    def __init__(self, server: TCPServer) -> None:
        super().__init__()
        self._server = server

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self.port}"

    def _serve(self) -> None:
        self._server.serve_forever(_POLL)

    def _end(self) -> None:
        self._server.shutdown()

    def _close(self) -> None:
        self._server.server_close()
