"""One connection for any number of coroutines: an asyncio protocol around a client session.

The connection alone reads. A caller waits for one future, however many requests it sent; when it is cancelled or its
time is up, its requests stay in the session, and their replies are dropped when they come. There is no task and no
timer for a call: one timer for the connection looks after all of them.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, cast

from wireproto.client.options import ClientOptions
from wireproto.core.client_session import ClientSession, Credentials
from wireproto.core.reply_wire import Reply
from wireproto.errors import DeadlineError, LostError, NodeDownError, NodeTimeoutError, ProtocolError, RequestError

RECEIVE_SIZE: Final = 64 * 1024
MIN_SWEEP: Final = 0.005
"""Seconds between two looks at the deadlines: so late may a time-out be."""
LATEST_REPLY: Final = 60.0
"""Seconds after its deadline in which a reply may still come. Later than that, the server has forgotten it."""
_ENDED_BEFORE: Final = "not sent: the connection ended before"

Answer = Reply | RequestError


class Exchange:
    """Requests that one caller sent together. `done` is set when all have an answer, or the deadline has passed."""

    __slots__ = ("answers", "deadline", "done", "missing", "sent_at")

    def __init__(self, count: int, sent_at: float, deadline: float, done: asyncio.Future[None]) -> None:
        self.answers: list[Answer | None] = [None] * count
        self.missing = count
        self.sent_at = sent_at
        self.deadline = deadline
        self.done = done

    def deliver(self, index: int, answer: Answer) -> None:
        """Put an answer into its place."""
        self.answers[index] = answer
        self.missing -= 1
        if not self.missing and not self.done.done():
            self.done.set_result(None)


class MultiplexedConnection(asyncio.BufferedProtocol):
    """A connection, from the moment it is made. `ready` is done when it is logged in, or cannot be."""

    def __init__(self, options: ClientOptions, credentials: Credentials, loop: asyncio.AbstractEventLoop) -> None:
        self.ready: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.session: ClientSession[tuple[Exchange, int]] = ClientSession(credentials)
        self._options = options
        self._loop = loop
        self._transport: asyncio.Transport
        self._buffer = memoryview(bytearray(RECEIVE_SIZE))
        self._flush_is_due = False
        self._writing_stopped = False
        self._waiting_for_room: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._sweep: asyncio.TimerHandle | None = None
        self._sweep_at = float("inf")
        self._heard_at = 0.0
        self._is_welcome = False

    # -- asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._heard_at = self._loop.time()
        self.session.start(self._heard_at)
        self._flush()
        self._check_state()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._heard_at = now = self._loop.time()
        for (exchange, index), reply in self.session.receive(bytes(self._buffer[:nbytes]), now):
            exchange.deliver(index, reply)
        if self._waiting_for_room:
            self._admit()
        if self.session.has_output:
            self._flush_soon()
        if not self._is_welcome or not self.session.is_ready:
            self._check_state()

    def eof_received(self) -> bool:
        self._end(LostError("the server has closed the connection"))
        return False

    def pause_writing(self) -> None:
        self._writing_stopped = True

    def resume_writing(self) -> None:
        self._writing_stopped = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(LostError(str(exc) if exc else "the connection was closed"))
        if not self.closed.done():
            self.closed.set_result(None)

    # -- states

    @property
    def is_usable(self) -> bool:
        """Whether calls may be sent on it."""
        return self.session.is_ready

    def _check_state(self) -> None:
        """Tell those who wait for the login, and close what is over."""
        session = self.session
        if session.is_ready and not self._is_welcome:
            self._is_welcome = True
            _release(self.ready)
        if session.is_over:
            self._end(LostError("the connection is retired"))
        elif not session.is_ready:
            self._admit()

    def _end(self, failure: RequestError) -> None:
        """End the conversation: everybody who waits gets an error."""
        session = self.session
        session.close(failure)
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for (exchange, index), error in session.lose():
            exchange.deliver(index, error)
        self._admit()
        if not self.ready.done():
            assert session.failure is not None
            self.ready.set_exception(session.failure)
            self.ready.exception()  # looked at, should nobody wait any more
        self._transport.close()

    def distrust(self) -> None:
        """A reply did not fit its request."""
        self._end(ProtocolError("the replies do not fit the requests"))

    async def close(self, linger: float) -> None:
        """Close; what is in flight is lost. Waits at most `linger` seconds for the transport's farewell."""
        self._end(LostError("the client was closed"))
        await asyncio.wait([self.closed], timeout=linger)
        if not self.closed.done():
            self.abort()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._transport.abort()

    # -- requests

    async def exchange(self, requests: Sequence[bytes], deadline: float) -> list[Answer]:
        """Send requests and wait for the reply to each. Those that fail have an error in their place."""
        session, loop = self.session, self._loop
        now = loop.time()
        exchange = Exchange(len(requests), now, deadline, loop.create_future())
        submitted = 0
        for request in requests:
            if self._waiting_for_room or not self._has_room():
                await self._wait_for_room(deadline)
                now = loop.time()
            if not session.is_ready or now >= deadline:
                break
            session.submit(request, (exchange, submitted), now)
            submitted += 1
            self._flush_soon()
        for index in range(submitted, len(requests)):
            late = session.is_ready
            exchange.deliver(index, DeadlineError("not sent in time") if late else NodeDownError(_ENDED_BEFORE))
        if self._waiting_for_room:
            self._admit()
        if deadline < self._sweep_at:
            self._sweep_by(deadline)
        await exchange.done
        return [answer or NodeTimeoutError("no answer in time") for answer in exchange.answers]

    def _flush_soon(self) -> None:
        """Write at the end of this turn of the loop, when more callers may have submitted something."""
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        if not self._writing_stopped and self.session.has_output:
            self._transport.write(self.session.data_to_send())

    # -- how much may be in flight

    def _has_room(self) -> bool:
        session, options = self.session, self._options
        return session.in_flight < options.max_in_flight and session.in_flight_bytes < options.max_in_flight_bytes

    async def _wait_for_room(self, deadline: float) -> None:
        """Wait until there is room, the deadline has passed, or the connection is of no use any more; first come, first
        served."""
        waiting = self._waiting_for_room
        is_first = False
        while not is_first or (self.session.is_ready and not self._has_room()):
            place = self._loop.create_future()
            waiting[place] = None
            if is_first:
                waiting.move_to_end(place, last=False)
            timer = self._loop.call_at(deadline, _release, place)
            try:
                await place
            except asyncio.CancelledError:
                # The room that this caller may have been let into is for the next.
                self._admit()
                raise
            finally:
                timer.cancel()
                waiting.pop(place, None)
            is_first = True
            if self._loop.time() >= deadline:
                return

    def _admit(self) -> None:
        """Let in as many callers as there is room for, or all, if the connection is of no use any more."""
        waiting = self._waiting_for_room
        room = self._options.max_in_flight - self.session.in_flight if self._has_room() else 0
        if not self.session.is_ready:
            room = len(waiting)
        while waiting and room > 0:
            _release(waiting.popitem(last=False)[0])
            room -= 1

    # -- time

    def _sweep_by(self, when: float) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        self._sweep_at = when
        self._sweep = self._loop.call_at(when, self._look_at_deadlines)

    def _look_at_deadlines(self) -> None:
        """End the wait of those whose time is up, and the connection if the server seems to be gone."""
        now = self._loop.time()
        timeout = self._options.timeout
        self._sweep, self._sweep_at = None, float("inf")
        soonest = float("inf")
        is_gone = False
        for exchange, _index in self.session.waiters():
            if exchange.deadline > now:
                soonest = min(soonest, exchange.deadline)
                continue
            _release(exchange.done)
            silence = now - max(self._heard_at, exchange.sent_at)
            is_gone = is_gone or silence >= timeout or now - exchange.deadline >= LATEST_REPLY
            soonest = min(soonest, now + timeout)
        if is_gone:
            self._end(NodeTimeoutError("the server has fallen silent"))
        elif soonest < float("inf"):
            self._sweep_by(max(soonest, now + MIN_SWEEP))


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
