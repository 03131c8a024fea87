"""The loads of one event loop that coroutines wait for together, by key, each in a task of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from wireproto.core.load_steps import ABANDONED, Landing


class Flight:
    """One load. When nobody waits for it any more, it is cancelled."""

    __slots__ = ("_close", "_task", "_waiting")

    def __init__(self) -> None:
        self._task: asyncio.Task[Landing[Any]]
        self._close: Callable[[], None]
        self._waiting = 0

    @property
    def is_over(self) -> bool:
        """Whether its task has ended, be it before it began."""
        return self._task.done()

    def begin(self, task: asyncio.Task[Landing[Any]], close: Callable[[], None]) -> None:
        """It is under way. `close`: nobody is to join any more."""
        self._task = task
        self._close = close

    async def wait(self, seconds: float | None) -> Landing[Any] | None:
        """What came of it, or None: nothing in that time."""
        task = self._task
        self._waiting += 1
        try:
            await asyncio.wait([task], timeout=seconds)
        finally:
            self._waiting -= 1
            if not self._waiting and not task.done():
                self._close()
                if not task.get_loop().is_closed():
                    task.cancel()
        if not task.done():
            return None
        return ABANDONED if task.cancelled() else task.result()


class Flights:
    """The load of each key that others may join, and the tasks of all."""

    def __init__(self) -> None:
        self._open: dict[bytes, Flight] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def find(self, key: bytes) -> Flight | None:
        """The load that is under way, or None."""
        flight = self._open.get(key)
        if flight is not None and asyncio.get_running_loop() is not self._loop:
            # It has ended with its loop.
            self._open.clear()
            return None
        if flight is not None and flight.is_over:
            # A task that is cancelled before its first step closes nothing.
            self.close(key, flight)
            return None
        return flight

    def open(self, key: bytes, is_joinable: bool, run: Callable[[Flight], Coroutine[Any, Any, Landing[Any]]]) -> Flight:
        """A new load, which those join who come from now on, if it `is_joinable`."""
        loop = asyncio.get_running_loop()
        flight = Flight()
        if is_joinable:
            if loop is not self._loop:
                self._open.clear()
                self._loop = loop
            self._open[key] = flight
        flight.begin(self.keep(run(flight)), lambda: self.close(key, flight))
        return flight

    def close(self, key: bytes, flight: Flight) -> None:
        """Nobody joins this load any more."""
        if self._open.get(key) is flight:
            del self._open[key]

    def keep(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something in a task of its own; the loop itself would not hold it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, should nobody wait any more
