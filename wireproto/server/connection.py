"""Client connections: the asyncio protocol around a server session, its flow control, and its clocks."""

from __future__ import annotations

import logging
from time import monotonic
from typing import Any, Final, Protocol

from wireproto.core.server_session import ServerSession
from wireproto.server.client_memory import WORTH_COUNTING
from wireproto.server.connection_hub import ConnectionHub
from wireproto.server.peer_certificate import certificate_end, certificate_names
from wireproto.server.receive_buffer import RECEIVE_BUFFER

WRITE_HIGH_WATER: Final = 256 * 1024
"""Bytes in a client's transport above which its requests are no longer read."""
FEW_BYTES: Final = 1024
"""What is no longer is taken in at any time: to put it off would cost more."""
LINGER: Final = 1.0
"""Seconds in which a client may still send after the last answer; to close at once would reset the connection and
could destroy that answer on its way."""
BIG_READ: Final = 128 * 1024
"""Bytes after which a transport is likely to have more, and reads up to 32 times before anything else has its turn."""

log = logging.getLogger("wireproto.connections")


class ClientTransport(Protocol):
    """What a connection asks of what is below it: an `asyncio.Transport`, or a `TlsLink`."""

    def set_write_buffer_limits(self, high: int) -> None: ...
    def write(self, data: bytes) -> None: ...
    def get_write_buffer_size(self) -> int: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def write_eof(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


class ClientConnection:
    """One client. Without TLS it is itself the asyncio protocol of the transport (which asks for methods, not for a
    class), with TLS it stands on a `TlsLink`."""

    def __init__(self, hub: ConnectionHub, peer: str) -> None:
        self.session: ServerSession
        self.transport: ClientTransport
        self.peer = peer
        self.held = 0
        """Bytes that are counted as what this client makes the process hold."""
        self._hub = hub
        self._metrics = hub.context.metrics
        self._made_at = 0.0
        self._flush_is_due = False
        self._partial_is_due = False
        self._resume_is_due = False
        self._reading = True
        self._is_stranger = True
        self._closing = False
        self._cut_at = 0.0
        self._client_has_ended = False
        self._unread_bytes = 0
        self._unread_since = 0.0
        self._closed_for = ""
        """The limit that it is closed for, or what else it was."""
        self._largest_write = 0
        """Bytes of the largest of what was written since everything was read."""

    # -- what comes from below

    def connection_made(self, transport: ClientTransport) -> None:
        """The client is there, and TLS, where it is spoken, stands."""
        self.transport = transport
        transport.set_write_buffer_limits(WRITE_HIGH_WATER)
        hub = self._hub
        self._made_at = monotonic()
        self.session = ServerSession(hub.context, hub.router.lanes_for_client(), self._on_output, self.peer)
        hub.open.add(self)
        self._metrics.open += 1
        hub.strangers.has_shaken_hands(self)

    def log_in_by_certificate(self, certificate: dict[str, Any]) -> None:
        """The client has shown a certificate (`getpeercert`) that OpenSSL has verified."""
        names, end = certificate_names(certificate), certificate_end(certificate)
        self.session.log_in_by_certificate(names, end, monotonic())

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to put what comes next, without TLS."""
        return RECEIVE_BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """That has come, without TLS."""
        self.receive(bytes(RECEIVE_BUFFER[:nbytes]))

    def receive(self, data: bytes) -> None:
        """Take what the client has sent."""
        self._metrics.bytes_in += len(data)
        now = monotonic()
        try:
            if len(data) > FEW_BYTES and self._hub.is_turn_over(now):
                self.session.hold(data)
            else:
                self.session.receive(data, now)
        except Exception as error:
            self._end_because_of(error)
            return
        if self._is_stranger and self.session.login.identity is not None:
            self._is_stranger = False
            self._hub.strangers.left(self)
        if self.held or self.session.memory >= WORTH_COUNTING:
            self.count_memory()
        if len(data) >= BIG_READ and not self.session.wants_input:
            self._read_or_pause()

    def eof_received(self) -> bool:
        """The client sends nothing more. Whether to stay open, because it is still owed answers."""
        self._client_has_ended = True
        self.session.end_of_input()
        self.flush()
        return not self._closing

    def pause_writing(self) -> None:
        """The client does not read what was sent."""
        self.session.writing_stopped = True
        self._unread_since = monotonic()
        self._unread_bytes = 0

    def resume_writing(self) -> None:
        """It has read some of it."""
        self.session.writing_stopped = False
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._audit_end()
        self.session.abandon()
        self._leave()

    def _leave(self) -> None:
        """Count no more."""
        hub = self._hub
        hub.memory.change(-self.held)
        self.held = 0
        if self in hub.open:
            hub.open.remove(self)
            hub.strangers.left(self)
            self._metrics.open -= 1
            hub.count_connections()

    # -- answers

    def _on_output(self) -> None:
        if not self._flush_is_due:
            self._flush_is_due = True
            self._hub.flush_soon(self)

    def flush(self) -> None:
        """Write the answers that may leave, and go on reading or stop it. A bug ends this connection alone."""
        self._flush_is_due = False
        try:
            self._flush()
        except Exception as error:
            self._end_because_of(error)

    def _flush(self) -> None:
        session = self.session
        if session.is_broken:
            self.close()
            return
        written = 0
        if not session.writing_stopped:
            data = session.data_to_send()
            if data:
                written = len(data)
                self._write(data)
            if session.has_held_replies and not self._partial_is_due:
                self._partial_is_due = True
                self._hub.flush_partial_later(self)
        if self.held or written + session.memory >= WORTH_COUNTING:
            self.count_memory()
        if session.can_resume and not self._resume_is_due:
            # One turn at a time: two would each ask for two more, until nobody else had any.
            self._resume_is_due = True
            self._hub.resume_later(self)
        if self._reading is not session.wants_input:
            self._read_or_pause()
        if session.is_finished:
            self.close()

    def _write(self, data: bytes) -> None:
        self._metrics.bytes_out += len(data)
        gate = self.session.gate
        if gate is not None:
            gate.sent(len(data), monotonic())
        self.transport.write(data)
        self._largest_write = max(self._largest_write, len(data))

    def _read_or_pause(self) -> None:
        self._reading = self.session.wants_input
        if self._reading:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def flush_partial(self) -> None:
        """Write the answers before the first that is missing, too."""
        self._partial_is_due = False
        session = self.session
        if not session.has_held_replies or session.writing_stopped or session.is_broken:
            return
        try:
            data = session.data_to_send(partial=True)
            if data:
                self._write(data)
        except Exception as error:
            self._end_because_of(error)

    def resume(self, now: float) -> None:
        """Go on with what was received and not taken in."""
        self._resume_is_due = False
        try:
            self.session.resume(now)
        except Exception as error:
            self._end_because_of(error)
            return
        self.flush()

    # -- the end

    def close(self, reason: str = "") -> None:
        """Close when everything written has left."""
        if self._closing:
            return
        self._closing = True
        self._closed_for = reason
        if self.session.is_broken:
            self.transport.abort()
            return
        self.session.stop_reading()
        self._cut_at = monotonic() + self._hub.settings.stall_timeout
        if self._client_has_ended:
            self.transport.close()
        else:
            self.transport.write_eof()
            self._hub.loop.call_later(LINGER, self.transport.close)

    def give_up(self) -> None:
        """TLS has failed: nothing can be received or sent any more, but for an alert that is on its way."""
        self.session.abandon()
        self._closing = True
        self._cut_at = monotonic() + self._hub.settings.stall_timeout

    def cut(self, limit: str) -> None:
        """Close at once: a limit has been passed."""
        self._metrics.closed_by_limit[limit] += 1
        self._closing = True
        self._closed_for = limit
        self.transport.abort()
        self.session.abandon()
        self._leave()  # at once, so that nobody else is cut to make the same room

    def count_memory(self) -> None:
        """Tell the others' sum what this client makes the process hold now."""
        unread = self.transport.get_write_buffer_size()
        # The transport keeps all that was written in one go until the last byte of it has left.
        self._largest_write = unread and max(unread, self._largest_write)
        held = 0 if self.session.is_broken else self.session.memory + self._largest_write
        if held != self.held:
            self._hub.memory.change(held - self.held)
            self.held = held

    def _audit_end(self) -> None:
        """Write down the end of a connection that had logged in, or was closed for not doing so."""
        login = self.session.login
        identity = login.identity
        reason = self._closed_for or ("credentials" if login.is_barred else "")
        if identity is None and not reason:
            return
        details: dict[str, object] = {"peer": self.peer, "reason": reason or "client"}
        if identity is not None:
            details["client"], details["namespace"] = identity.client, identity.namespace
            details["key_id"], details["token_id"] = identity.key_id or None, identity.token_id
        self._hub.context.surroundings.audit("closed", details)

    def _end_because_of(self, error: Exception) -> None:
        self._closed_for = "bug"
        self._hub.context.surroundings.report_bug(error)
        self.session.abandon()
        self.transport.abort()

    def check_time(self, now: float) -> None:
        """Close if the client is too late with something."""
        settings, session = self._hub.settings, self.session
        self.count_memory()
        if self._closing:
            self._check_last_bytes(now)
        elif session.login.identity is None and now - self._made_at > settings.auth_timeout:
            self._expire("auth_timeout")
        elif session.frame_began_at and now - session.frame_began_at > settings.frame_timeout:
            self._metrics.closed_by_limit["frame_timeout"] += 1
            session.stop_reading()
            self.flush()  # closes as soon as nothing is owed for what came before
        elif session.writing_stopped:
            self._check_stall(now)
        elif session.owes_nothing and now - max(session.last_request_at, self._made_at) > settings.idle_timeout:
            self._expire("idle_timeout")

    def _check_last_bytes(self, now: float) -> None:
        """Cut a client that does not take what is left to be sent."""
        unread = self.transport.get_write_buffer_size()
        if unread and unread != self._unread_bytes:
            self._unread_bytes, self._cut_at = unread, now + self._hub.settings.stall_timeout
        elif now > self._cut_at:
            self.cut("stall_timeout")

    def _check_stall(self, now: float) -> None:
        unread = self.transport.get_write_buffer_size()
        if unread != self._unread_bytes:
            self._unread_bytes, self._unread_since = unread, now
        elif now - self._unread_since > self._hub.settings.stall_timeout:
            log.info("a client has not read its answers for %.0f s: %s", now - self._unread_since, self.peer)
            self.cut("stall_timeout")

    def _expire(self, limit: str) -> None:
        if self.session.writing_stopped:
            self.cut(limit)
            return
        self._metrics.closed_by_limit[limit] += 1
        self.close(limit)
