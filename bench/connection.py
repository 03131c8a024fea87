"""One connection of the load generator: sends slices of its script, and compares what comes with what must come."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections import Counter, deque

from bench.dialects import DIALECTS, BrokenReplyError, Dialect
from bench.script import Script
from bench.targets import Target

CONNECT_TIMEOUT = 10.0
RECEIVE_SIZE = 65536
TLS_RECORD_SIZE = 16384
"""Over TLS a single read never gives more."""


class LoginError(RuntimeError):
    """The target does not accept the credentials."""


def open_socket(target: Target, context: ssl.SSLContext | None) -> socket.socket:
    """A blocking connection, with TLS if there is a context, logged in if the target has a key."""
    connection = socket.create_connection((target.host, target.port), timeout=CONNECT_TIMEOUT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        if context is not None:
            connection = context.wrap_socket(connection, server_hostname=target.host)
        if target.api_key:
            _log_in(connection, DIALECTS[target.protocol], target.api_key)
    except BaseException:
        connection.close()
        raise
    return connection


def _log_in(connection: socket.socket, dialect: Dialect, secret: str) -> None:
    connection.sendall(dialect.login(secret))
    line = b""
    while not line.endswith(b"\n"):
        data = connection.recv(RECEIVE_SIZE)
        if not data:
            break
        line += data
    if not dialect.logged_in(line):
        raise LoginError(f"the target refuses the login: {line[:100]!r}")


class Connection:
    """A logged-in connection. It is closed when the stream cannot be trusted or ends; what was in flight is lost."""

    def __init__(self, connection: socket.socket, script: Script, dialect: Dialect) -> None:
        self.sent = 0
        """Requests handed to `send`."""
        self.answered = 0
        """Replies that came, right or wrong."""
        self.received = 0
        """Bytes of replies."""
        self.errors: Counter[str] = Counter()
        """Replies other than those that must come, by what they were."""
        self.side_replies: Counter[str] = Counter()
        """With tags: what the side requests were answered."""
        self.outgoing: deque[memoryview] = deque()
        """What `flush` has still to send."""
        self.closed = False
        self.batch_sent_at = 0
        """Closed loop: when what is in flight was sent, in nanoseconds."""
        self.intended: deque[int] = deque()
        """Open loop: when each request in flight should have been sent, in nanoseconds."""
        self.descriptor = connection.fileno()
        self._socket = connection
        self._receive_size = TLS_RECORD_SIZE if isinstance(connection, ssl.SSLSocket) else RECEIVE_SIZE
        self._script = script
        self._dialect = dialect
        self._position = 0
        self._held: bytearray | None = None
        connection.setblocking(False)

    def send(self, count: int) -> None:
        """Send the next `count` requests of the script, or as much of them as the socket takes."""
        self.outgoing += self._script.request_slice(self.sent, count)
        self.sent += count
        self.flush()

    def flush(self) -> None:
        """Send what the socket did not take before."""
        outgoing = self.outgoing
        try:
            while outgoing:
                taken = self._socket.send(outgoing[0])
                if taken == len(outgoing[0]):
                    outgoing.popleft()
                else:
                    outgoing[0] = outgoing[0][taken:]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return
        except OSError as error:
            self.close(f"connection: {_reason(error)}")

    def receive(self) -> int | None:
        """Read once: how many replies that completes, or None when there is nothing to read."""
        data = self._read()
        if data is None:
            return None
        before = self.answered
        if self._held is not None:
            self._held += data
            self._inspect()
        elif self._is_expected(data):
            self._position += len(data)
            self.answered = self._script.replies_before(self._position)
        else:
            begun = self._script.reply_position(before)
            self._held = bytearray(self._script.expected(begun, self._position - begun) + data)
            self._inspect()
        if self.answered > self.sent:
            self.answered = self.sent
            self.close("a reply that nobody asked for")
        return self.answered - before

    def _read(self) -> bytes | None:
        try:
            data = self._socket.recv(self._receive_size)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except OSError as error:
            self.close(f"connection: {_reason(error)}")
            return None
        if not data:
            self.close("connection: closed by the target")
            return None
        self.received += len(data)
        return data

    def _is_expected(self, data: bytes) -> bool:
        script = self._script
        if script.replies.startswith(data, self._position % len(script.replies)):
            return True
        return data == script.expected(self._position, len(data))  # it may run over the script's end

    def _inspect(self) -> None:
        """Count the replies in what is held one by one, and leave this slow way when nothing is left over."""
        assert self._held is not None
        data, start, script = bytes(self._held), 0, self._script
        try:
            while start < len(data) and (reply := self._dialect.parse(data, start)) is not None:
                begun = script.reply_position(self.answered)
                expected = script.expected(begun, script.reply_position(self.answered + 1) - begun)
                if data[start : reply.end] != expected:
                    same_length = reply.end - start == len(expected)
                    wrong = "wrong value" if same_length else "wrong length"
                    self.errors[wrong if reply.status == "OK" else reply.status] += 1
                self.answered += 1
                start = reply.end
        except BrokenReplyError as error:
            self.close(f"not a reply: {error}")
        self._held = self._held[start:] or None
        self._position = script.reply_position(self.answered)

    def close(self, reason: str | None = None) -> None:
        """End it. With a reason, every request without a reply counts as an error of that name."""
        if self.closed:
            return
        if reason is not None:
            self.errors[reason] += max(1, self.sent - self.answered)
        self.closed = True
        with contextlib.suppress(OSError):
            self._socket.close()


def _reason(error: OSError) -> str:
    return type(error).__name__
