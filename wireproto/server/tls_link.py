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
SMALL_BUFFER: Final = RECEIVE_BUFFER[: 16 * 1024]
"""Where the bytes of a client go that has not shown yet that they hold requests. One who changes keys all the time
costs 20 us for 27 bytes: 12 ms for this much, after which the others have their turn."""
MOST_FRUITLESS: Final = 64 * 1024
"""Bytes in a row that may hold nothing for the application. A record has at most a quarter of that."""
STEP: Final = 64 * 1024
"""Bytes that are put into a memory buffer at most. OpenSSL's buffers grow and never shrink: by whole values of 1 MiB,
every connection that had one would keep as much for its life. A quarter of it takes 20 % more CPU for large values."""


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
        self._is_wanted = True
        """Whether the connection above wants input."""
        self._awaits_turn = False
        self._buffer = SMALL_BUFFER
        self._fruitless = 0
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
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Records, or parts of some, have come."""
        buffer, start, ended = self._buffer, 0, self._input_ended
        pieces: list[bytes] = []
        try:
            while start < nbytes and not ended:
                stop = min(nbytes, start + STEP)
                self._incoming.write(buffer[start:stop])
                start = stop
                if self._is_open or self._shake_hands():
                    ended = self._open_records(pieces)
            self._weigh(nbytes, self._hand_on(pieces))
            if ended and not self._input_ended:
                # What comes behind the goodbye means nothing, and is not to be kept.
                self._transport.pause_reading()
                self._end_of_input()
        except ssl.SSLError as error:
            self._fail(error)
        if self._outgoing.pending:
            # What TLS itself has to say: its part of the handshake, a change of keys, an alert.
            self._send()
        if nbytes == len(buffer) and not (self._awaits_turn or self._transport.is_closing()):
            # The transport would read up to 32 times before anything else has its turn.
            self._awaits_turn = True
            self._transport.pause_reading()
            self.handshaken.get_loop().call_soon(self._next_turn)

    def _weigh(self, nbytes: int, fruits: int) -> None:
        """Give a client whose bytes hold requests a larger buffer. Raises ssl.SSLError if they hold none for long."""
        self._fruitless = 0 if fruits else self._fruitless + nbytes
        if self._fruitless > MOST_FRUITLESS:
            raise ssl.SSLError("nothing but records without content")
        self._buffer = RECEIVE_BUFFER if 2 * fruits >= nbytes else SMALL_BUFFER

    def _next_turn(self) -> None:
        self._awaits_turn = False
        if self._is_wanted:
            self.resume_reading()

    def eof_received(self) -> bool:
        """The client has closed its end without a word. What it sent is still answered."""
        if not self._is_open:
            self._fail(ConnectionResetError("the client has closed the connection"))
            return False
        return not self._said_goodbye if self._input_ended else self._end_of_input()

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
        self._give_up_handshake(exc or ConnectionResetError("the connection has ended"))
        connection, self._connection = self._connection, None
        if self._is_open and connection is not None:
            connection.connection_lost(exc)

    # -- TLS

    def _shake_hands(self) -> bool:
        """Go on with the handshake; whether it is done. Raises ssl.SSLError."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        if self.handshaken.done():
            return False  # too late: nobody waits for it any more
        try:
            certificate = self._tls.getpeercert()
        except ValueError:
            raise ssl.SSLError("the client's certificate has names that are no text") from None
        self._is_open = True
        self._send()
        if self._connection is not None:
            self._connection.connection_made(self)
            if certificate:
                # Before its first request, which may have come in the same read.
                self._connection.log_in_by_certificate(certificate)
        self.handshaken.set_result(None)
        return True

    def _give_up_handshake(self, error: Exception) -> None:
        if not self.handshaken.done():
            self.handshaken.set_exception(error)
            # Who waited for it may be gone: a listener that has ended, when the server drains.
            self.handshaken.exception()

    def _open_records(self, pieces: list[bytes]) -> bool:
        """Append what whole records hold; whether the client has said goodbye behind it. Raises ssl.SSLError.

        A broken record takes what was read with it and not yet handed on: answers could not be sent any more.
        """
        incoming, tls = self._incoming, self._tls
        try:
            while True:
                # As many bytes are allocated as are asked for.
                data = tls.read(min(LONGEST_RECORD, max(SHORTEST_READ, incoming.pending)))
                if not data:
                    return True
                pieces.append(data)
                if not incoming.pending and not tls.pending():
                    return False
        except ssl.SSLWantReadError:
            return False

    def _hand_on(self, pieces: list[bytes]) -> int:
        """Give the connection what has come, in one piece; how many bytes that is."""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if data and self._connection is not None:
            self._connection.receive(data)
        return len(data)

    def _end_of_input(self) -> bool:
        """The client will send nothing more; whether there is still something to be sent to it."""
        self._input_ended = True
        return self._connection is not None and self._connection.eof_received()

    def _send(self) -> None:
        data = self._outgoing.read()
        if data:
            self._transport.write(data)

    def _fail(self, error: OSError) -> None:
        """End a connection whose bytes mean nothing, with the alert that says so. Nothing can be sent behind it."""
        self._give_up_handshake(error)
        self._send()
        self._input_ended = self._said_goodbye = True
        self._transport.close()
        if self._is_open and self._connection is not None:
            self._connection.give_up()

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
        self._is_wanted = False
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._is_wanted = True
        if not (self._awaits_turn or self._input_ended or self._transport.is_closing()):
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
