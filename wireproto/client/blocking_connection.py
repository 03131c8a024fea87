"""One blocking connection: a socket around a client session. One thread at a time uses it."""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Sequence

from wireproto.client.connecting import connect_failure
from wireproto.client.options import ClientOptions
from wireproto.core.client_session import ClientSession, SessionState
from wireproto.core.credentials import Credentials
from wireproto.core.reply_wire import Reply
from wireproto.errors import DeadlineError, LostError, NodeDownError, NodeTimeoutError, RequestError

RECEIVE_SIZE = 64 * 1024
WINDOW_BYTES = 64 * 1024
"""Bytes of requests that are sent before their replies are read. The socket's buffers hold as much, so that the two
sides never wait for each other, each to read what the other writes. A longer request goes alone."""
WINDOW_REQUESTS = 1000
TLS_RECORD_SIZE = 16 * 1024
TOLERANCE = 0.01
"""Seconds by which a socket's time-out may be off before it is worth a system call to set it."""

Answer = Reply | RequestError


class BlockingConnection:
    """A connection that is logged in. `open` makes one."""

    def __init__(self, connected: socket.socket, session: ClientSession[int], options: ClientOptions) -> None:
        self._socket = connected
        self._session = session
        self._timeout = options.timeout
        self._poll = select.poll()
        self._poll.register(connected, select.POLLIN)
        connected.settimeout(self._timeout)

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
        self._converse([], now, deadline)
        if self._session.failure is not None:
            raise self._session.failure

    @property
    def is_reusable(self) -> bool:
        """Whether the next caller may have it: nothing is owed to the last one, and it is neither over nor retired."""
        return self._session.state is SessionState.READY and not self._session.in_flight

    def is_stale(self) -> bool:
        """Whether the server has closed it, or has sent what nobody asked for, while nobody used it."""
        if not self._poll.poll(0):
            return False
        try:
            self._timeout = 0.0
            self._socket.settimeout(0.0)
            self._socket.recv(1)
        except (ssl.SSLWantReadError, BlockingIOError):
            # TLS had something to tell itself.
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        """Close the socket. The server takes what was not answered for abandoned."""
        self._socket.close()

    # -- requests

    def exchange(self, requests: Sequence[bytes], deadline: float) -> list[Answer]:
        """Send requests and wait for the reply to each.

        When it fails or takes longer than `deadline`, those without a reply get an error in its place, and the
        connection is no longer reusable.
        """
        session = self._session
        answers: list[Answer | None] = [None] * len(requests)
        if len(requests) == 1:
            now = time.monotonic()
            session.submit(requests[0], 0, now)
            self._converse(answers, now, deadline)
        else:
            self._exchange_many(requests, answers, deadline)
        return self._with_errors(answers) if None in answers else answers  # type: ignore[return-value]  # no None

    def _exchange_many(self, requests: Sequence[bytes], answers: list[Answer | None], deadline: float) -> None:
        for start, stop in _windows(requests):
            now = time.monotonic()
            self._session.submit_all(requests[start:stop], range(start, stop), now)
            self._converse(answers, now, deadline)
            if not self._session.is_ready:
                break

    def _converse(self, answers: list[Answer | None], now: float, deadline: float) -> None:
        """Write what is to be written, and read until nothing is owed, or the conversation has failed."""
        session = self._session
        try:
            while session.in_flight and session.failure is None:
                self._set_timeout(deadline - now)
                if session.output:
                    self._send(session.data_to_send())
                    now = time.monotonic()
                    continue
                data = self._socket.recv(RECEIVE_SIZE)
                if not data:
                    raise ConnectionResetError("the server has closed the connection")
                now = time.monotonic()
                for index, reply in session.receive(data, now):
                    answers[index] = reply
        except TimeoutError:
            session.close(NodeTimeoutError("no answer in time"))
        except OSError as fault:
            session.close(LostError(fault.strerror or str(fault)))

    def _send(self, data: bytes) -> None:
        """Write; of a little data, what the socket does not take at once is the session's next output.

        `SSLSocket.sendall` calls six functions more than `send`, which mostly takes all.
        """
        if len(data) > TLS_RECORD_SIZE:
            self._socket.sendall(data)
        elif (sent := self._socket.send(data)) < len(data):
            self._session.output.append(data[sent:])

    def _set_timeout(self, seconds: float) -> None:
        """Let the socket wait so long. Raises TimeoutError if nothing is left of the time."""
        if seconds <= 0:
            raise TimeoutError("the time is used up")
        if not -TOLERANCE < seconds - self._timeout < TOLERANCE:
            self._socket.settimeout(seconds)
            self._timeout = seconds

    def _with_errors(self, answers: list[Answer | None]) -> list[Answer]:
        """The answers, with an error where there is none."""
        failure = self._session.failure
        if failure is not None:
            for index, error in self._session.lose():
                answers[index] = error
        if isinstance(failure, NodeTimeoutError):
            return [answer or DeadlineError("not sent: the time was used up before") for answer in answers]
        return [answer or NodeDownError("not sent: the connection ended before") for answer in answers]


def _until(deadline: float) -> float:
    """Seconds until then. Raises TimeoutError if there are none left."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("the time is used up")
    return seconds


def _windows(requests: Sequence[bytes]) -> Iterable[tuple[int, int]]:
    """The requests in parts that may be sent at once, as (first, behind the last)."""
    if len(requests) <= WINDOW_REQUESTS and sum(map(len, requests)) <= WINDOW_BYTES:
        return ((0, len(requests)),)
    return _parts(requests)


def _parts(requests: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    start = size = 0
    for index, request in enumerate(requests):
        size += len(request)
        if index > start and (size > WINDOW_BYTES or index - start >= WINDOW_REQUESTS):
            yield start, index
            start, size = index, len(request)
    yield start, len(requests)
