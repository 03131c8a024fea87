"""TLS between a TCP transport and a client's connection: records in, bytes of requests out, and back.

    TCP transport ──> TlsLink ──> ClientConnection
                  <── (records) <── (answers)

It is OpenSSL over two memory buffers. Beside uvloop's own TLS it costs 3 us less for a request that comes alone, as no
exception says that a record was the last; it lets a client half-close; and it can answer CLOSED before it closes.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final, cast

from wireproto.server.connection import ClientConnection
from wireproto.server.receive_buffer import RECEIVE_BUFFER

LONGEST_RECORD: Final = 16 * 1024
"""Bytes of the application in one TLS record (RFC 8446, section 5.1); OpenSSL reads and writes one at a time."""
SHORTEST_READ: Final = 256
STEP: Final = 32 * 1024
"""Bytes that are put into a memory buffer at most. OpenSSL's buffers grow and never shrink: by whole values of 1 MiB,
every connection that had one would keep as much for its life."""


class TlsLink:
    """The server's side of one TLS connection: an asyncio protocol for the transport below, and the transport of the
    `connection` above. uvloop asks for a protocol's methods, not for its class.

    `handshaken` becomes done with the handshake, or has an OSError (as `ssl.SSLError` is) when there will be none.
    Without a connection it speaks TLS to a client that is only to be told something.
    """

    def __init__(
        self, connection: ClientConnection | None, context: ssl.SSLContext, handshaken: asyncio.Future[None]
    ) -> None:
        self.handshaken = handshaken
        self._connection = connection
        self._is_open = False
        self._input_ended = False
        self._said_goodbye = False
        self._transport: asyncio.Transport
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._incoming = incoming
        self._outgoing = outgoing
        self._tls = context.wrap_bio(incoming, outgoing, server_side=True)

    # -- asyncio.BufferedProtocol, for the transport below

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TCP connection is there; the client begins."""
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to put what comes next."""
        return RECEIVE_BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Records, or parts of some, have come."""
        start = 0
        try:
            while start < nbytes:
                stop = min(nbytes, start + STEP)
                self._incoming.write(RECEIVE_BUFFER[start:stop])
                start = stop
                if not self._is_open and not self._shake_hands():
                    continue
                self._read()
        except ssl.SSLError as error:
            self._fail(error)
        if self._outgoing.pending:
            # What TLS itself has to say: its part of the handshake, a change of keys, an alert.
            self._send()

    def eof_received(self) -> bool:
        """The client has closed its end without a word. What it sent is still answered."""
        if not self._is_open:
            self._fail(ConnectionResetError("the client has closed the connection"))
            return False
        return self._end_of_input()

    def pause_writing(self) -> None:
        """The client does not read what was sent."""
        if self._connection is not None:
            self._connection.pause_writing()

    def resume_writing(self) -> None:
        """It has read some of it."""
        if self._connection is not None:
            self._connection.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The TCP connection has ended."""
        if not self.handshaken.done():
            self.handshaken.set_exception(exc or ConnectionResetError("the connection has ended"))
        if self._is_open and self._connection is not None:
            self._connection.connection_lost(exc)

    # -- TLS

    def _shake_hands(self) -> bool:
        """Go on with the handshake; whether it is done."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        if self.handshaken.done():
            return False  # too late: nobody waits for it any more
        self._is_open = True
        self._send()
        if self._connection is not None:
            self._connection.connection_made(self)
        self.handshaken.set_result(None)
        return True

    def _read(self) -> None:
        """Hand on what whole records hold, all of them in one piece. Raises ssl.SSLError."""
        data = b""
        pieces: list[bytes] = []
        ended = False
        try:
            while True:
                if data:
                    pieces.append(data)
                # As many bytes are allocated as are asked for.
                data = self._tls.read(min(LONGEST_RECORD, max(SHORTEST_READ, self._incoming.pending)))
                if not data:
                    ended = True
                    break
                if not self._incoming.pending and not self._tls.pending():
                    break
        except ssl.SSLWantReadError:
            data = b""
        except ssl.SSLZeroReturnError:
            data, ended = b"", True
        if pieces:
            pieces.append(data)
            data = b"".join(pieces)
        if self._connection is None:
            return
        if data:
            self._connection.receive(data)
        if ended:
            self._end_of_input()

    def _end_of_input(self) -> bool:
        """The client will send nothing more; whether it is still to be sent something."""
        if self._connection is None or self._input_ended:
            return not self._said_goodbye
        self._input_ended = True
        return self._connection.eof_received()

    def _send(self) -> None:
        data = self._outgoing.read()
        if data:
            self._transport.write(data)

    def _fail(self, error: OSError) -> None:
        """End a connection whose bytes mean nothing, with the alert that says so."""
        if not self.handshaken.done():
            self.handshaken.set_exception(error)
        self._said_goodbye = True  # answers that are still to come have nowhere to go
        self._send()
        self._transport.close()

    # -- the transport of the connection above

    def write(self, data: bytes) -> None:
        """Send answers, but none after the goodbye."""
        if self._said_goodbye:
            return
        if len(data) <= LONGEST_RECORD:
            self._tls.write(data)
            self._transport.write(self._outgoing.read())
            return
        view = memoryview(data)
        while view:
            self._tls.write(view[:LONGEST_RECORD])
            view = view[LONGEST_RECORD:]
            if self._outgoing.pending >= STEP or not view:
                self._send()

    def get_write_buffer_size(self) -> int:
        """Bytes that wait because the client does not read."""
        return self._transport.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int) -> None:
        """Bytes that may wait before `pause_writing` is called."""
        self._transport.set_write_buffer_limits(high=high)

    def pause_reading(self) -> None:
        """Read nothing more for the moment."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._transport.resume_reading()

    def write_eof(self) -> None:
        """Say that nothing more will be sent."""
        self._say_goodbye()
        self._transport.write_eof()

    def close(self) -> None:
        """Close when everything written has left."""
        self._say_goodbye()
        self._transport.close()

    def _say_goodbye(self) -> None:
        """Send TLS's own `close_notify`, so that the client knows that nothing was cut off."""
        self._said_goodbye = True
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # the client has not said goodbye yet, or never will: nobody waits for it
        self._send()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()
