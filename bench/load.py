"""The load generator of one process: non-blocking sockets and epoll, without asyncio.

It must be far cheaper than the servers that it measures. So it sends bytes that were prepared, compares whole pieces of
the stream with what must come (one `memcmp`), and finds by bisection which requests a piece completes.
"""

from __future__ import annotations

import gc
import select
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from time import monotonic_ns

from bench.connection import Connection, open_socket
from bench.dialects import DIALECTS
from bench.plan import Plan
from bench.script import make_script
from bench.tagged_connection import TaggedConnection
from bench.tally import Tally
from bench.targets import Target

SECOND = 1_000_000_000
TICK = SECOND // 5
"""Between looks at what is not urgent."""
SHORT_TICK = SECOND // 100
"""The same where the number of replies ends the run."""


class Load(ABC):
    """Connections to a target, and a loop that drives them through warm-up, window and drain. Times in nanoseconds."""

    def __init__(self, target: Target, plan: Plan) -> None:
        self.plan = plan
        self.tally = Tally()
        self.connections: dict[int, Connection] = {}
        self.poller = select.epoll()
        self.counts: Counter[int] = Counter()
        """Where latencies are counted now: thrown away before the window opens."""
        self.window_start = self.next_tick = 0
        self.window_is_over = False
        self._ended: list[Connection] = []
        self._before = (0, 0.0, 0, 0)
        self._tell: Callable[[str, int], None]
        dialect = DIALECTS[target.protocol]
        context = target.client_context() if target.tls else None
        for stream in range(plan.first_stream, plan.first_stream + plan.clients):
            raw = open_socket(target, context)
            connection: Connection
            if plan.tagged:
                connection = TaggedConnection(raw, plan, stream)
            else:
                script = make_script(plan.workload, dialect, stream, plan.depth)
                connection = Connection(raw, script, dialect)
            self.connections[connection.descriptor] = connection
            self.poller.register(connection.descriptor, select.EPOLLIN)

    @abstractmethod
    def drive(self) -> None:
        """Send and receive until the window is over."""

    @abstractmethod
    def read(self, connection: Connection) -> None:
        """Take what has come for a connection."""

    @abstractmethod
    def oldest(self, connection: Connection) -> int:
        """Since when the oldest request in flight has been waited for."""

    def run(self, begin: int, tell: Callable[[str, int], None]) -> Tally:
        """Put the planned load on the target from `begin` of the monotonic clock on.

        Calls `tell("progress", replies)` a few times a second, and `tell("end", replies)` when the window closes.
        """
        self._tell = tell
        self.next_tick = begin
        self.window_start = begin + round(self.plan.warm_up * SECOND)
        time.sleep(max(0, begin - monotonic_ns()) / SECOND)
        gc.disable()  # the loop makes no circles
        try:
            self.drive()
            self._drain()
        finally:
            gc.enable()
            self.poller.close()
            for connection in self.connections.values():
                connection.close()
        for connection in [*self._ended, *self.connections.values()]:
            self.tally.errors.update(connection.errors)
            self.tally.side_replies.update(connection.side_replies)
        return self.tally

    def send(self, connection: Connection, count: int) -> None:
        """Send the next requests of its script; what the socket does not take goes out when it can."""
        connection.send(count)
        if connection.closed:
            self.drop(connection)
        elif connection.outgoing:
            self.poller.modify(connection.descriptor, select.EPOLLIN | select.EPOLLOUT)

    def serve(self, timeout: float) -> None:
        """Wait for sockets, at most so many seconds, and serve them."""
        for descriptor, events in self.poller.poll(timeout):
            connection = self.connections[descriptor]
            if events & select.EPOLLOUT:
                connection.flush()
                if not connection.outgoing and not connection.closed:
                    self.poller.modify(descriptor, select.EPOLLIN)
            self.read(connection)
            if connection.closed:
                self.drop(connection)

    def drop(self, connection: Connection) -> None:
        """Forget a closed connection; epoll has forgotten its socket by itself."""
        if self.connections.pop(connection.descriptor, None) is not None:
            self._ended.append(connection)

    def tick(self, now: int) -> None:
        """Open or close the window when it is time, give up what stalls, and tell of the progress."""
        replies = self._replies()
        if not self._before[0]:
            if now >= self.window_start:
                self._before = self._standing(now)
                self.counts = self.tally.latencies.counts
                for connection in self.connections.values():
                    connection.side_replies.clear()
        elif self._is_over(now, replies):
            self._close_window(now)
            return
        self._give_up_stalled(now, self.plan.stall_seconds)
        self._tell("progress", replies)
        self.next_tick = now + (TICK if self.plan.requests is None else SHORT_TICK)
        for boundary in (self.window_start, self._window_end):
            if now < boundary < self.next_tick:
                self.next_tick = boundary

    @property
    def _window_end(self) -> int:
        return self.window_start + round(self.plan.seconds * SECOND)

    def _is_over(self, now: int, replies: int) -> bool:
        if not self.connections:
            return True
        if self.plan.requests is None:
            return now >= self._window_end
        return replies - self._before[2] >= self.plan.requests

    def _close_window(self, now: int) -> None:
        then, cpu_seconds, replies, received = self._before
        _, cpu_seconds_now, replies_now, received_now = self._standing(now)
        self.tally.seconds = (now - then) / SECOND
        self.tally.cpu_seconds = cpu_seconds_now - cpu_seconds
        self.tally.requests = replies_now - replies
        self.tally.received = received_now - received
        self.window_is_over = True
        self.counts = Counter()
        self._tell("end", replies_now)

    def _standing(self, now: int) -> tuple[int, float, int, int]:
        received = sum(connection.received for connection in [*self._ended, *self.connections.values()])
        return now, time.process_time(), self._replies(), received

    def _replies(self) -> int:
        return sum(connection.answered for connection in [*self._ended, *self.connections.values()])

    def _give_up_stalled(self, now: int, stall_seconds: float) -> None:
        for connection in list(self.connections.values()):
            waited = (now - self.oldest(connection)) / SECOND
            if connection.answered < connection.sent and waited >= stall_seconds:
                connection.close("no reply")
                self.drop(connection)

    def _drain(self) -> None:
        """Take the replies that are still to come: a wrong or missing one counts there too."""
        deadline = monotonic_ns() + round(self.plan.stall_seconds * SECOND)
        while any(connection.answered < connection.sent for connection in self.connections.values()):
            self.serve(0.05)
            if monotonic_ns() > deadline:
                self._give_up_stalled(monotonic_ns(), 0)
