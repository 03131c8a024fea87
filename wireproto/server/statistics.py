"""What STATS tells: what this process has counted, and with workers what all of them have.

Each worker shows the others its record ten times a second, and at once when it answers STATS itself: what was told once
is never taken back, not even by the death of the worker that told it.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import dataclass
from typing import Any, Final

from wireproto import __version__
from wireproto.core.build import BUILD
from wireproto.core.metrics import Metrics
from wireproto.core.totals import total, what_remains
from wireproto.server.loop_watch import LoopWatch
from wireproto.server.router import Router
from wireproto.server.shared_counters import Phase, WorkerSlot

PUBLISHING: Final = 0.1
"""Seconds between two records, and how many times longer than making one that is at least: with hundreds of nodes a
record takes milliseconds, and is not to take a noticeable part of a core."""
PUBLISHING_SHARE: Final = 50

ROOM: Final = 64 * 1024
"""Bytes of a record for the counters, and for each shard: nine nodes, each of which has a name and an address."""
ROOM_PER_SHARD: Final = 6 * 1024


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """The server as a whole: the process to send signals to, and the monotonic time of its start."""

    pid: int
    started: float


class Statistics:
    """The answer to STATS. `restarts` is how often the worker in this slot has been replaced."""

    def __init__(
        self,
        metrics: Metrics,
        router: Router,
        slot: WorkerSlot,
        server: ServerIdentity,
        restarts: int,
        loop_watch: LoopWatch,
    ) -> None:
        self._metrics = metrics
        self._router = router
        self._loop_watch = loop_watch
        self._slot = slot
        self._server = server
        self._restarts = restarts
        self._started = time.monotonic()
        left = slot.predecessor()
        self._inherited = [] if left is None else [what_remains(json.loads(left))]

    async def keep_publishing(self) -> None:
        """Show the others what this worker has counted, until cancelled."""
        while True:
            before = time.monotonic()
            self.publish()
            await asyncio.sleep(max(PUBLISHING, PUBLISHING_SHARE * (time.monotonic() - before)))

    def publish(self) -> dict[str, Any]:
        """Show the others what this worker has counted; the same record."""
        own = {
            "pid": os.getpid(),
            "started": self._started,
            "restarts": self._restarts,
            "loop": self._loop_watch.as_json(),
            **total([self._present(), *self._inherited]),
        }
        if not self._slot.is_alone:
            self._slot.publish(json.dumps(own).encode("ascii"))
        return own

    def _present(self) -> dict[str, Any]:
        return {
            "counters": self._metrics.as_json(),
            "nodes": self._router.stats(),
            "shards": self._router.shard_stats(),
        }

    def as_json(self) -> bytes:
        """All counters and nodes of the server, and its workers, as one JSON object."""
        own = self.publish()
        records = [own]
        workers = {self._slot.index: self._worker(own, self._slot.index)}
        for slot, phase, text in self._slot.others():
            record = json.loads(text)
            if phase is Phase.ABSENT:
                record = what_remains(record)
            else:
                workers[slot] = self._worker(record, slot)
            records.append(record)
        summed = total(records)
        stats = {
            "version": __version__,
            "build": BUILD,
            "pid": self._server.pid,
            "uptime_s": round(time.monotonic() - self._server.started, 1),
            **summed["counters"],
            "shards": summed["shards"],
            "nodes": summed["nodes"],
            "workers": [workers[slot] for slot in sorted(workers)],
        }
        return json.dumps(stats).encode("ascii")

    def _worker(self, record: dict[str, Any], slot: int) -> dict[str, object]:
        return {
            "pid": record["pid"],
            "uptime_s": round(time.monotonic() - record["started"], 1),
            "connections": self._slot.connections_of(slot),
            "restarts": record["restarts"],
            "loop": record["loop"],
        }
