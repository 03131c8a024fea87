"""One blocking connection: a socket around a client session. One thread at a time uses it."""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from wireproto.client.connecting import connect_failure
from wireproto.client.options import ClientOptions
from wireproto.core.client_session import ClientSession, SessionState
from wireproto.core.credentials import Credentials
from wireproto.errors import DeadlineError, LostError, NodeDownError, NodeTimeoutError, RequestError

RECEIVE_SIZE = 64 * 1024
WINDOW_BYTES = 64 * 1024
"""Bytes of requests that are sent before their replies are read. The socket's buffers hold as much, so that the two
sides never wait for each other, each to read what the other writes. A longer request goes alone."""
WINDOW_REQUESTS = 1000
TOLERANCE = 0.01
"""Seconds by which a socket's time-out may be off before it is worth a system call to set it."""
_TIMEVAL: Final = struct.Struct("@ll")
_IN_VAIN: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a socket raises whose time is up, or that was interrupted by a signal."""
_READY: Final = SessionState.READY


class BlockingConnection:
    """A connection that is logged in. `open` makes one.

    With TLS the kernel keeps the time: to Python the socket seems not to block, so that it makes no system calls of its
    own to wait, but the descriptor does, for as long as `SO_RCVTIMEO` says. That saves three of seven system calls of a
    call and 4 us (a bare socket: 73 us instead of 77). Without TLS Python would wait anew after every signal.
    """

    def __init__(self, connected: socket.socket, session: ClientSession[None], options: ClientOptions) -> None:
        self._socket = connected
        self._session = session
        self._receive: Callable[[int], bytes] = connected.recv
        self._kernel_keeps_time = isinstance(connected, ssl.SSLSocket)
        if isinstance(connected, ssl.SSLSocket):
            self._receive = connected.read  # which is what its `recv` calls
        self._timeout = 0.0
        self._poll = select.poll()
        self._poll.register(connected, select.POLLIN)
        connected.settimeout(0.0)
        if self._kernel_keeps_time:
            os.set_blocking(connected.fileno(), True)
        self._set_timeout(options.timeout)

    @classmethod
    def open(
        cls, options: ClientOptions, tls: ssl.SSLContext | None, credentials: Credentials, deadline: float
    ) -> BlockingConnection:
        """Connect, shake hands, log in. Raises ConfigurationError or a RequestError; nothing took effect.

        It is a DeadlineError if the caller's own time was too short to tell whether the server is there.
        """
        patience = time.monotonic() + options.connect_timeout
        is_hasty, deadline = deadline < patience, min(deadline, patience)
        connected: socket.socket | None = None
        try:
            connected = socket.create_connection((options.host, options.port), _until(deadline))
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connected.settimeout(_until(deadline))
            if tls is not None:
                connected = tls.wrap_socket(connected, server_hostname=options.host)
            connection = cls(connected, ClientSession(credentials), options)
            connection._log_in(deadline)
        except BaseException as fault:
            if connected is not None:
                connected.close()
            if is_hasty and isinstance(fault, TimeoutError | NodeTimeoutError):
                raise DeadlineError("not sent: there was no connection in time") from fault
            if isinstance(fault, OSError | RequestError):
                raise connect_failure(fault, options) from fault
            raise
        return connection

    def _log_in(self, deadline: float) -> None:
        now = time.monotonic()
        self._session.start(now)
        self._converse(now, deadline)
        if self._session.failure is not None:
            raise self._session.failure

    @property
    def is_reusable(self) -> bool:
        """Whether the next caller may have it: nothing is owed to the last one, and it is neither over nor retired."""
        return self._session.state is _READY and not self._session.in_flight

    def is_stale(self) -> bool:
        """Whether the server has closed it, or has sent what nobody asked for, while nobody used it."""
        if not self._poll.poll(0):
            return False
        self._timeout = 0.0
        self._socket.settimeout(0.0)
        try:
            self._socket.recv(1)
        except _IN_VAIN:
            # TLS had something to tell itself.
            if self._kernel_keeps_time:
                os.set_blocking(self._socket.fileno(), True)
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        """Close the socket. The server takes what was not answered for abandoned."""
        self._socket.close()

    # -- requests

    def exchange(self, requests: list[bytes], deadline: float) -> list[Any]:
        """Send requests and wait for the answer to each (`Batch`).

        When it fails or takes longer than `deadline`, those without a reply get an error in its place, and the
        connection is no longer reusable.
        """
        session = self._session
        if len(requests) > 1 and _is_much(requests):
            return self._exchange_in_parts(requests, deadline)
        now = time.monotonic()
        batch = session.submit(requests, None, now)
        self._converse(now, deadline)
        if batch.missing:
            session.lose()
        return batch.answers

    def _exchange_in_parts(self, requests: list[bytes], deadline: float) -> list[Any]:
        """The same for more than the socket's buffers hold."""
        answers: list[Any] = []
        for part in _parts(requests):
            if not self._session.is_ready:
                break
            answers += self.exchange(part, deadline)
        is_late = isinstance(self._session.failure, NodeTimeoutError)
        while len(answers) < len(requests):
            late, ended = "not sent: the time was used up before", "not sent: the connection ended before"
            answers.append(DeadlineError(late) if is_late else NodeDownError(ended))
        return answers

    def _converse(self, now: float, deadline: float) -> None:
        """Write what is to be written, and read until nothing is owed, or the conversation has failed."""
        session = self._session
        try:
            while session.in_flight and session.failure is None:
                self._set_timeout(deadline - now)
                if session.output:
                    self._send(session.data_to_send(), deadline)
                    now = time.monotonic()
                    continue
                try:
                    data = self._receive(RECEIVE_SIZE)
                except _IN_VAIN:
                    now = time.monotonic()
                    continue
                except ValueError:
                    # What a closed `SSLSocket` says: this is a child, forked in the middle of the call.
                    raise ConnectionAbortedError("the connection is closed") from None
                if not data:
                    raise ConnectionResetError("the server has closed the connection")
                now = time.monotonic()
                session.receive(data, now)
        except TimeoutError:
            session.close(NodeTimeoutError("no answer in time"))
        except OSError as fault:
            session.close(LostError(fault.strerror or str(fault)))
        except BaseException:
            # A signal's handler raised: nobody knows how much of a reply has been read.
            session.close(LostError("the call was interrupted"))
            raise

    def _send(self, data: bytes, deadline: float) -> None:
        """Write all of it; the socket mostly takes it at once."""
        sent = 0
        while True:
            try:
                sent += self._socket.send(memoryview(data)[sent:] if sent else data)
                if sent == len(data):
                    return
            except _IN_VAIN:
                pass
            self._set_timeout(deadline - time.monotonic())

    def _set_timeout(self, seconds: float) -> None:
        """Let the socket wait so long. Raises TimeoutError if nothing is left of the time."""
        if seconds <= 0:
            raise TimeoutError("the time is used up")
        if not -TOLERANCE < seconds - self._timeout < TOLERANCE:
            self._timeout = seconds
            if not self._kernel_keeps_time:
                self._socket.settimeout(seconds)
                return
            whole = int(min(seconds, 86_400.0))  # longer than a day is as good as a day
            value = _TIMEVAL.pack(whole, max(1, int((seconds - whole) * 1e6) % 1_000_000))  # 0 would be for ever
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)


def _until(deadline: float) -> float:
    """Seconds until then. Raises TimeoutError if there are none left."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("the time is used up")
    return seconds


def _is_much(requests: list[bytes]) -> bool:
    return len(requests) > WINDOW_REQUESTS or sum(map(len, requests)) > WINDOW_BYTES


def _parts(requests: list[bytes]) -> Iterator[list[bytes]]:
    """The requests in parts that may be sent at once."""
    start = size = 0
    for index, request in enumerate(requests):
        size += len(request)
        if index > start and (size > WINDOW_BYTES or index - start >= WINDOW_REQUESTS):
            yield requests[start:index]
            start, size = index, len(request)
    yield requests[start:]
