"""One connection for any number of coroutines: an asyncio protocol around a client session.

The connection alone reads. A caller waits for one future, however many requests it sent; when it is cancelled or its
time is up, its requests stay in the session, and their replies are dropped when they come, unless somebody has asked
for what is unclaimed. There is no task and no timer for a call: one timer for the connection looks after all of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

from wireproto.client.exchange import Exchange
from wireproto.client.options import ClientOptions
from wireproto.core.client_session import ClientSession
from wireproto.core.credentials import Credentials
from wireproto.errors import LostError, NodeTimeoutError, ProtocolError, RequestError

RECEIVE_SIZE: Final = 64 * 1024
MIN_SWEEP: Final = 0.005
"""Seconds between two looks at the deadlines: so late may a time-out be."""
LATEST_REPLY: Final = 60.0
"""Seconds after its deadline in which a reply may still come. Later than that, the server has forgotten it."""


class MultiplexedConnection(asyncio.BufferedProtocol):
    """A connection, from the moment it is made. `ready` is done when it is logged in, or cannot be."""

    def __init__(self, options: ClientOptions, credentials: Credentials, loop: asyncio.AbstractEventLoop) -> None:
        self.ready: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.session: ClientSession[Exchange] = ClientSession(credentials)
        self._options = options
        self._loop = loop
        self._transport: asyncio.Transport
        self._buffer = memoryview(bytearray(RECEIVE_SIZE))
        self._flush_is_due = False
        self._writing_stopped = False
        self._queue: deque[Exchange] = deque()
        """Those of whom not everything is submitted, and some who have given up."""
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
        for batch in self.session.receive(bytes(self._buffer[:nbytes]), now):
            batch.owner.note(len(batch.requests))
        if self._queue:
            self._admit()
        if self.session.output:
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
        for batch in session.lose():
            batch.owner.note(len(batch.requests))
        self._admit()
        if not self.ready.done():
            assert session.failure is not None
            self.ready.set_exception(session.failure)
            self.ready.exception()  # looked at, should nobody wait any more
        if isinstance(session.failure, NodeTimeoutError | ProtocolError):
            # To close politely would be to wait for a peer that is gone, or not what it should be.
            self._transport.abort()
        else:
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

    async def exchange(
        self, requests: list[bytes], deadline: float, unclaimed: Callable[[list[Any]], None] | None = None
    ) -> list[Any]:
        """Send requests and wait for the reply to each. Those that fail have an error in their place.

        `unclaimed` is called with the answers when they come after the caller has given up.
        """
        loop = self._loop
        exchange = Exchange(requests, loop.time(), deadline, loop.create_future())
        self._queue.append(exchange)
        if len(self._queue) == 1:
            self._admit()
        if deadline < self._sweep_at:
            self._sweep_by(deadline)
        if unclaimed is None:
            await exchange.done
            return exchange.outcome()
        try:
            await exchange.done
        except asyncio.CancelledError:
            exchange.leave(unclaimed)
            raise
        answers = exchange.outcome()
        if any(isinstance(answer, NodeTimeoutError) for answer in answers):
            exchange.leave(unclaimed)
        return answers

    def _admit(self) -> None:
        """Submit what waits, first come, first served, while there is room; or fail it, if it can no longer be sent."""
        session, queue = self.session, self._queue
        while queue:
            exchange = queue[0]
            if not exchange.done.done():
                if not session.is_ready:
                    exchange.refuse("the connection ended before")
                elif not self._submit(exchange):
                    return
            queue.popleft()

    def _submit(self, exchange: Exchange) -> bool:
        """Submit what there is room for; whether that is all."""
        session, options = self.session, self._options
        room = options.max_in_flight - session.in_flight
        byte_room = options.max_in_flight_bytes - session.in_flight_bytes
        if room > 0 and byte_room > 0:
            part = exchange.part(room, byte_room)
            exchange.batches.append(session.submit(part, exchange, exchange.sent_at))
            exchange.submitted += len(part)
            self._flush_soon()
        return exchange.submitted == len(exchange.requests)

    def _flush_soon(self) -> None:
        """Write at the end of this turn of the loop, when more callers may have submitted something."""
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        if not self._writing_stopped and self.session.output:
            self._transport.write(self.session.data_to_send())

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
        self._queue = deque(exchange for exchange in self._queue if not exchange.done.done())
        for exchange in (*self._queue, *(batch.owner for batch in self.session.waiting())):
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
