"""How late the event loop is, and how much it has to do: the first things to ask when a process is slow."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Final

PERIOD: Final = 0.025
"""Seconds between two looks, which take 10 µs each. A stall is told short by so much at most."""
MEMORY: Final = 30.0
"""Seconds after which the longest stall begins to be forgotten; after as many again it is."""


class LoopWatch:
    """The longest stall of the running loop, of the last half to whole minute, and its unfinished tasks."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._longest = self._longest_before = 0.0
        self._turns_at = monotonic() + MEMORY

    async def run(self) -> None:
        """Look at the time until cancelled."""
        due = monotonic()
        while True:
            due += PERIOD
            await asyncio.sleep(due - monotonic())
            now = monotonic()
            self.note(now - due, now)
            due = now

    def note(self, late: float, now: float) -> None:
        """The loop came to this so many seconds after it should have."""
        if now >= self._turns_at:
            # Whoever was not looked after for as long has nothing from before that counts.
            recent = now < self._turns_at + MEMORY
            self._longest_before = self._longest if recent else 0.0
            self._longest = 0.0
            self._turns_at = now + MEMORY
        self._longest = max(self._longest, late)

    @property
    def longest_stall(self) -> float:
        """Seconds."""
        return max(self._longest, self._longest_before)

    def as_json(self) -> dict[str, object]:
        """For STATS."""
        return {
            "tasks": len(asyncio.all_tasks(self._loop)),
            "longest_stall_ms": round(self.longest_stall * 1000, 1),
        }
