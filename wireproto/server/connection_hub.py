"""What the connections of a process share: turns of the loop, writes that go together, and clocks."""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final

from wireproto.core.session_context import SessionContext
from wireproto.server.address_guard import AddressGuard
from wireproto.server.client_memory import ClientMemory
from wireproto.server.router import Router
from wireproto.server.shared_counters import WorkerSlot
from wireproto.server.strangers import Strangers
from wireproto.settings import Settings

if TYPE_CHECKING:
    from wireproto.server.connection import ClientConnection

TURN: Final = 0.01
"""Seconds of one turn of the loop in which requests are taken in. Without it, a hundred clients that have thousands in
flight each kept the loop for so long that nodes seemed not to have answered."""
SWEEP: Final = 0.5
"""Seconds between two looks at the connections' clocks."""
HANDSHAKE_SWEEP: Final = 0.1
"""Seconds between two looks at the handshakes."""
PARTIAL_DELAY: Final = 0.005
"""Seconds after which answers leave that could have left in one write with the next, which is missing."""
AT_ONCE: Final = 16
"""Connections whose clocks are looked at before the others have their turn: to close one costs 80 us, and a crowd that
came at one time goes at one time."""


class ConnectionHub:
    """What the connections of a process share: who is open, and who has something to write."""

    def __init__(
        self, context: SessionContext, router: Router, settings: Settings, slot: WorkerSlot, guard: AddressGuard
    ) -> None:
        self.context = context
        self.router = router
        self.settings = settings
        self.slot = slot
        self.guard = guard
        self.strangers = Strangers(context.metrics, slot)
        self.open: set[ClientConnection] = set()
        self.loop = asyncio.get_running_loop()
        self._turn_ends_at = 0.0
        self._to_resume: deque[ClientConnection] = deque()
        self._resume_is_due = False
        self.memory = ClientMemory(settings.max_client_memory // slot.workers, lambda: self.open, self.loop)
        self._to_flush: list[ClientConnection] = []
        self._partial: list[ClientConnection] = []

    def count_connections(self) -> None:
        """Tell the other workers how many connections there are here."""
        metrics = self.context.metrics
        self.slot.count_connections(metrics.open + metrics.handshaking)

    def is_turn_over(self, now: float) -> bool:
        """Whether enough was taken in during this turn of the loop, and nodes and answers come first."""
        if not self._turn_ends_at:
            self._begin_turn(now)
        return now >= self._turn_ends_at

    def _begin_turn(self, now: float) -> None:
        self._turn_ends_at = now + TURN
        self.loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._turn_ends_at = 0.0

    def resume_later(self, connection: ClientConnection) -> None:
        """Have it go on with what it has received, when those that wait already have had their turn."""
        if not self._resume_is_due:
            self._resume_is_due = True
            self.loop.call_soon(self._resume_some)
        self._to_resume.append(connection)

    def _resume_some(self) -> None:
        waiting, now = self._to_resume, monotonic()
        # Always a turn of their own: those that have sent again in the meantime must not take it from them.
        self._begin_turn(now)
        ends_at = self._turn_ends_at
        for _ in range(len(waiting)):  # and nobody twice
            waiting.popleft().resume(now)
            now = monotonic()
            if now >= ends_at:
                break
        self._resume_is_due = bool(waiting)
        if waiting:
            self.loop.call_soon(self._resume_some)

    def flush_soon(self, connection: ClientConnection) -> None:
        """Write its answers at the end of this turn of the loop, when more nodes may have answered."""
        if not self._to_flush:
            self.loop.call_soon(self._flush)
        self._to_flush.append(connection)

    def _flush(self) -> None:
        connections, self._to_flush = self._to_flush, []
        for connection in connections:
            connection.flush()

    def flush_partial_later(self, connection: ClientConnection) -> None:
        """Write the answers that are there, should the next in order not come soon."""
        if not self._partial:
            self.loop.call_later(PARTIAL_DELAY, self._flush_partial)
        self._partial.append(connection)

    def _flush_partial(self) -> None:
        connections, self._partial = self._partial, []
        for connection in connections:
            connection.flush_partial()

    async def watch_time(self) -> None:
        """Close connections that are too late with something, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP)
            now = monotonic()
            for number, connection in enumerate(list(self.open), 1):
                if connection in self.open:  # it may have gone while the others had their turn
                    connection.check_time(now)
                if number % AT_ONCE == 0:
                    await asyncio.sleep(0)

    async def watch_handshakes(self) -> None:
        """Give up handshakes that take too long, until cancelled."""
        while True:
            may_be_more = self.strangers.end_late_handshakes(monotonic(), self.settings.handshake_timeout)
            await asyncio.sleep(0 if may_be_more else HANDSHAKE_SWEEP)

    async def drain(self, linger: float, deadline: float) -> None:
        """Take nothing new, answer what is in flight, and close every connection.

        `linger` is how many seconds a connection stays open to answer CLOSING to what is on its way already, and
        `deadline` the monotonic time at which what is still open is cut.
        """
        for connection in list(self.open):
            connection.session.drain()
        lingers_until = monotonic() + linger
        while self.open and (now := monotonic()) < deadline:
            for connection in list(self.open):
                if now >= lingers_until and connection.session.owes_nothing:
                    connection.close("drain")
            await asyncio.sleep(0.02)
        for connection in list(self.open):
            connection.cut("drain")
