"""A web server on loopback, for what engines fetch. Must not know what a page is for."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.loopback import Loopback


@dataclass(frozen=True, slots=True)
class Page:
    """What a path answers."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def serving(pages: Mapping[str, Page]) -> AbstractContextManager[str]:
    """Serve `pages` by their paths with queries, anything else is 404; yields `host:port`."""
    return answering(lambda path, _: pages.get(path, Page(b"nothing here\n", 404)))


@contextmanager
def answering(answer: Callable[[str, Message], Page]) -> Iterator[str]:
    """Serve what is made of a path and headers, a page's own headers win; yields `host:port`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = answer(self.path, self.headers)
            self.send_response(page.status)
            for name, value in {"Content-Length": str(len(page.body)), **page.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(page.body)

        def log_message(self, *_: object) -> None:
            pass

    with Loopback(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield server.address
