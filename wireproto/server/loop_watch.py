"""How late the event loop is, and how much it has to do: the first things to ask when a process is slow."""

from __future__ import annotations

import asyncio
from time import monotonic, thread_time
from typing import Final

PERIOD: Final = 0.025
"""Seconds between two looks, which take 10 µs each. A stall is told short by so much at most."""
MEMORY: Final = 30.0
"""Seconds after which what was longest begins to be forgotten; after as many again it is."""


class Longest:
    """The longest of what was noted in the last half to whole minute, in seconds."""

    def __init__(self, now: float) -> None:
        self._now = self._before = 0.0
        self._turns_at = now + MEMORY

    def note(self, seconds: float, now: float) -> None:
        """Something took so long."""
        if now >= self._turns_at:
            # After a silence as long as that, nothing from before counts.
            self._before = self._now if now < self._turns_at + MEMORY else 0.0
            self._now = 0.0
            self._turns_at = now + MEMORY
        self._now = max(self._now, seconds)

    @property
    def value(self) -> float:
        """Seconds."""
        return max(self._now, self._before)


class LoopWatch:
    """The longest stall of the running loop, the longest work with which it stalls itself, and its unfinished tasks."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        now = monotonic()
        self.stall = Longest(now)
        """How late it came to its turn, for whatever reason."""
        self.work = Longest(now)
        """Time of the processor between two looks, stalled or not: a stall without it is the machine's doing."""

    async def run(self) -> None:
        """Look at the time until cancelled."""
        due, worked = monotonic(), thread_time()
        while True:
            due += PERIOD
            await asyncio.sleep(due - monotonic())
            now, worked_now = monotonic(), thread_time()
            self.stall.note(now - due, now)
            self.work.note(worked_now - worked, now)
            due, worked = now, worked_now

    def as_json(self) -> dict[str, object]:
        """For STATS."""
        return {
            "tasks": len(asyncio.all_tasks(self._loop)),
            "longest_stall_ms": round(self.stall.value * 1000, 1),
            "longest_work_ms": round(self.work.value * 1000, 1),
        }
