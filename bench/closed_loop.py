"""Closed loop: a connection sends as many requests as its depth, waits until all are answered, and sends the next.

A target that stalls is asked nothing meanwhile, so a stall shows in few latencies. `open_loop` shows it in all.
"""

from __future__ import annotations

from time import monotonic_ns

from bench.connection import Connection
from bench.load import Load


class ClosedLoop(Load):
    """Latency counts from the sending of the batch that a request is in."""

    def drive(self) -> None:
        for connection in list(self.connections.values()):
            self._send_batch(connection, monotonic_ns())
        while not self.window_is_over:
            self.serve(0.05)
            now = monotonic_ns()
            if now >= self.next_tick:
                self.tick(now)

    def read(self, connection: Connection) -> None:
        while (replies := connection.receive()) is not None:
            if replies:
                now = monotonic_ns()
                self.counts[(now - connection.batch_sent_at) // 1000] += replies
                if connection.answered == connection.sent:
                    if not self.window_is_over:
                        self._send_batch(connection, now)
                    return

    def oldest(self, connection: Connection) -> int:
        return connection.batch_sent_at

    def _send_batch(self, connection: Connection, now: int) -> None:
        connection.batch_sent_at = now
        self.send(connection, self.plan.depth)
