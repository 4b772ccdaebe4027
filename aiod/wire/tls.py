"""TLS whose two directions end one by one, as those of a plain connection do.

The event loops' own TLS closes both when the peer's close_notify comes, and can send none while
it goes on reading; but a client whose input has ended still wants a process's output. Source:
RFC 8446, section 6.1. Owns the records of one connection; must not know what is said on it.
"""

import asyncio
import ssl
from collections import deque
from typing import Any, cast

HANDSHAKE_SECONDS = 30.0
_PIECE = 65536


class TlsError(ConnectionAbortedError):
    """The peer, or what it sent, was refused; or it refused us."""


class TlsProtocol(asyncio.Protocol):
    """Between a connection and `app`, which sees a `TlsTransport` once the peers trust each other.

    A client awaits `established`, which raises OSError if they do not.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        app: asyncio.BaseProtocol,
        *,
        server_side: bool,
        server_hostname: str | None = None,
    ) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side,
            server_hostname=server_hostname,
        )  # fmt: skip
        self._context = context
        self.app = app
        self._loop = asyncio.get_running_loop()
        self.established: asyncio.Future[TlsTransport] = self._loop.create_future()
        self._transport: TlsTransport | None = None
        self._held: deque[bytes] = deque()
        self._reading_paused = False
        self._raw_paused = False
        self._raw_ended = False
        self._input_ended = False
        self._output_ended = False
        self._failure: Exception | None = None

    # the connection's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to shake hands."""
        self._raw = cast("asyncio.Transport", transport)
        self._patience = self._loop.call_later(HANDSHAKE_SECONDS, self._raw.abort)
        self._advance()

    def data_received(self, data: bytes) -> None:
        """Records of the peer's."""
        self._incoming.write(data)
        self._advance()

    def eof_received(self) -> bool:
        """The connection has ended; what has come before is passed on when it is wanted."""
        self._raw_ended = True
        return self._reading_paused

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the application, if it ever knew of the connection."""
        self._patience.cancel()
        failure = self._failure or exc
        if self._transport is not None:
            self.app.connection_lost(failure)
        elif not self.established.done():
            self.established.set_exception(failure or ConnectionResetError("TLS: no handshake"))
            self.established.exception()  # a server has nobody who asks

    def pause_writing(self) -> None:
        """The peer reads slowly."""
        if self._transport is not None:
            self.app.pause_writing()

    def resume_writing(self) -> None:
        """It has caught up."""
        if self._transport is not None:
            self.app.resume_writing()

    # records

    def _advance(self) -> None:
        """Do what the peer's records allow."""
        try:
            if self._transport is None and not self._shaken():
                return
            self._read()
        except ssl.SSLError as error:
            self._fail(error)
        finally:
            self._flush()

    def _shaken(self) -> bool:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self._patience.cancel()
        self._transport = TlsTransport(self, self._raw, self._object, self._context)
        self.app.connection_made(self._transport)
        if not self.established.done():
            self.established.set_result(self._transport)
        return True

    def _read(self) -> None:
        while not (self._reading_paused or self._input_ended or self._raw.is_closing()):
            data = self._held.popleft() if self._held else self._read_one()
            if data is None:
                return
            app = cast("asyncio.Protocol", self.app)
            if data:
                app.data_received(data)
                continue
            self._input_ended = True
            if not app.eof_received():
                self.close()

    def _read_one(self) -> bytes | None:
        """What is there next, empty at the end, None if nothing is there yet."""
        try:
            return self._object.read(_PIECE)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:
            return b""

    def _fail(self, error: ssl.SSLError) -> None:
        if isinstance(error, ssl.SSLCertVerificationError):
            told = f"TLS: {error.verify_message}"
        else:
            told = f"TLS: {(error.reason or str(error)).replace('_', ' ').lower()}"
        self._failure = TlsError(told)
        self._flush()  # the alert that tells the peer why
        self._raw.close()

    def _flush(self) -> None:
        if (data := self._outgoing.read()) and not self._raw.is_closing():
            self._raw.write(data)

    # the application's side

    def write(self, data: bytes) -> None:
        """Send; dropped after the end."""
        if self._output_ended or self._raw.is_closing():
            return
        try:
            view = memoryview(data)
            while view:
                view = view[self._object.write(view[:_PIECE]) :]
                self._flush()
        except ssl.SSLError as error:
            self._fail(error)

    def end_output(self) -> None:
        """Say that nothing more will be sent, and go on reading."""
        if self._output_ended or self._raw.is_closing():
            return
        self._output_ended = True
        try:
            while data := self._read_one():  # the end's word would run into it
                self._held.append(data)
            if data is not None:
                self._held.append(data)
            self._object.unwrap()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._fail(error)
        self._flush()

    def close(self) -> None:
        """Send what is left, and end."""
        self.end_output()
        self._raw.close()

    @property
    def reading(self) -> bool:
        """Whether data is passed on."""
        return not (self._reading_paused or self._raw.is_closing())

    def pause_reading(self) -> None:
        """Pass nothing on for a while."""
        self._reading_paused = True
        if not (self._raw_paused or self._raw.is_closing()):
            self._raw_paused = True
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Go on, with what has come already first."""
        if self._reading_paused:
            self._reading_paused = False
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._advance()
        if self._reading_paused or self._raw.is_closing():
            return
        if self._raw_ended:
            self._raw.close()
        elif self._raw_paused:
            self._raw_paused = False
            self._raw.resume_reading()


class TlsTransport(asyncio.Transport):
    """What the application writes to."""

    def __init__(
        self,
        protocol: TlsProtocol,
        raw: asyncio.Transport,
        ssl_object: ssl.SSLObject,
        context: ssl.SSLContext,
    ) -> None:
        super().__init__({"ssl_object": ssl_object, "sslcontext": context})
        self._protocol = protocol
        self._raw = raw

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Of TLS, or else of the connection below."""
        found = super().get_extra_info(name)
        return self._raw.get_extra_info(name, default) if found is None else found

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send."""
        self._protocol.write(bytes(data))

    def can_write_eof(self) -> bool:
        """As a plain connection can."""
        return True

    def write_eof(self) -> None:
        """Nothing more will be sent."""
        self._protocol.end_output()

    def close(self) -> None:
        """Send what is left, and end."""
        self._protocol.close()

    def abort(self) -> None:
        """End at once."""
        self._raw.abort()

    def is_closing(self) -> bool:
        """Whether its end has begun."""
        return self._raw.is_closing()

    def pause_reading(self) -> None:
        """Call `data_received` no more for a while."""
        self._protocol.pause_reading()

    def resume_reading(self) -> None:
        """Go on."""
        self._protocol.resume_reading()

    def is_reading(self) -> bool:
        """Whether data is passed on."""
        return self._protocol.reading

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """When `pause_writing` is called."""
        self._raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Bytes that the peer has not taken."""
        return self._raw.get_write_buffer_size()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Another one takes over."""
        self._protocol.app = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who has it."""
        return self._protocol.app
