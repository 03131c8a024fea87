"""Open loop: requests are sent when they are due, at a given rate, whatever became of those before.

Latency counts from the moment at which a request was due, not from when it could be sent. So a stall of the target is
seen by every request that it would have delayed (no coordinated omission), and so is lateness of the generator itself,
which is told apart.
"""

from __future__ import annotations

import random
import select
from collections.abc import Iterator
from time import monotonic_ns

from bench.connection import Connection
from bench.load import SECOND, Load
from bench.plan import Plan


def due_times(plan: Plan, begin: int, rate: float) -> Iterator[int]:
    """When bursts of requests are due, in nanoseconds: `rate` requests a second, evenly or by a Poisson process."""
    choose = random.Random(f"{plan.workload.seed}/{plan.first_stream}/arrivals")
    between, due = SECOND * plan.depth / rate, float(begin)
    while True:
        due += between if plan.arrivals == "fixed" else choose.expovariate(1.0) * between
        yield round(due)


class OpenLoop(Load):
    """The requests of one schedule go to the connections in turn."""

    _turn = 0

    def drive(self) -> None:
        assert self.plan.rate is not None
        schedule = due_times(self.plan, monotonic_ns(), self.plan.rate)
        due = next(schedule)
        while not self.window_is_over:
            due = self._send_due(schedule, due)
            self._wait_until(min(due, self.next_tick))
            self.serve(0)
            now = monotonic_ns()
            if now >= self.next_tick:
                self.tick(now)

    def _send_due(self, schedule: Iterator[int], due: int) -> int:
        """Send what is due by now, in one piece for each connection; when the next is due."""
        now = monotonic_ns()
        connections = list(self.connections.values()) if due <= now else []
        batch: dict[Connection, int] = {}
        while due <= now and connections:
            self._turn += 1
            connection = connections[self._turn % len(connections)]
            connection.intended.extend([due] * self.plan.depth)
            batch[connection] = batch.get(connection, 0) + self.plan.depth
            if due >= self.window_start:
                self.tally.lateness.counts[(now - due) // 1000] += self.plan.depth
            due = next(schedule)
        for connection, count in batch.items():
            self.send(connection, count)
        return due

    def _wait_until(self, moment: int) -> None:
        """Until then, or until a socket wants something. epoll itself waits for whole milliseconds only."""
        wait = moment - monotonic_ns()
        if wait > 0:
            select.select([self.poller], [], [], wait / SECOND)

    def read(self, connection: Connection) -> None:
        intended = connection.intended
        while (replies := connection.receive()) is not None:
            now = monotonic_ns()
            for _ in range(replies):
                due = intended.popleft()
                if due >= self.window_start:
                    self.tally.latencies.counts[(now - due) // 1000] += 1

    def drop(self, connection: Connection) -> None:
        """What is lost has waited until now at least; to leave it out would make the target look better."""
        super().drop(connection)
        now = monotonic_ns()
        for due in connection.intended:
            if due >= self.window_start:
                self.tally.latencies.counts[(now - due) // 1000] += 1
        connection.intended.clear()

    def oldest(self, connection: Connection) -> int:
        return connection.intended[0] if connection.intended else 0
