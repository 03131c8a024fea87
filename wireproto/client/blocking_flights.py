"""The loads of one process that threads may wait for together, by key."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Final

from wireproto.core.load_steps import ABANDONED, Landing

_tables: Final[weakref.WeakSet[Flights]] = weakref.WeakSet()


class Flight:
    """One load."""

    __slots__ = ("_is_over", "_landing")

    def __init__(self) -> None:
        self._is_over = threading.Event()
        self._landing: Landing[Any] = ABANDONED

    def land(self, landing: Landing[Any]) -> None:
        """It is over; tell those who wait."""
        self._landing = landing
        self._is_over.set()

    def wait(self, seconds: float) -> Landing[Any] | None:
        """What came of it, or None: nothing in that time."""
        return self._landing if self._is_over.wait(seconds) else None


class Flights:
    """The load of each key that others may join."""

    def __init__(self) -> None:
        self._begin()
        _tables.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[bytes, Flight] = {}

    def after_fork(self) -> None:
        """In a child: the threads that load are the parent's."""
        self._begin()

    def find(self, key: bytes) -> Flight | None:
        """The load that is under way, or None."""
        return self._open.get(key)

    def open(self, key: bytes) -> Flight:
        """A new load, that those join who come from now on."""
        with self._lock:
            flight = self._open[key] = Flight()
            return flight

    def find_or_open(self, key: bytes, vain: object | None) -> tuple[Flight, bool]:
        """The load that is under way, unless it is `vain`, or a new one; and whether it is new."""
        with self._lock:
            flight = self._open.get(key)
            if flight is not None and flight is not vain:
                return flight, False
            flight = self._open[key] = Flight()
            return flight, True

    def close(self, key: bytes, flight: Flight) -> None:
        """Nobody joins this load any more."""
        with self._lock:
            if self._open.get(key) is flight:
                del self._open[key]


def _after_fork_in_child() -> None:
    for table in list(_tables):
        table.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
