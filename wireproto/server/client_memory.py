"""What clients make this process hold, all of them together, and who has to go when it is too much.

Each connection says what it holds when that has changed by much, and twice a second. So the sum may be too high by what
has left since; before anybody is cut, all are asked again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final, Protocol

WORTH_COUNTING: Final = 4 * 1024
"""Bytes below which nobody counts a connection's while it is busy: a request at a time costs nothing then."""
PAUSE: Final = 0.005
"""Seconds from the moment when it is too much until somebody is cut; the sum is exact again by then."""

log = logging.getLogger("wireproto.connections")


class Holder(Protocol):
    """A connection."""

    peer: str
    held: int
    """Bytes that are counted for it."""

    def count_memory(self) -> None:
        """Count again."""

    def cut(self, limit: str) -> None:
        """Close it at once."""


class ClientMemory:
    """The sum, and its bound in bytes."""

    def __init__(self, bound: int, holders: Callable[[], Iterable[Holder]], loop: asyncio.AbstractEventLoop) -> None:
        self.held = 0
        self._bound = bound
        self._holders = holders
        self._loop = loop
        self._is_due = False

    def change(self, by: int) -> None:
        """A connection holds so many bytes more, or less."""
        self.held += by
        if self.held > self._bound and not self._is_due:
            self._is_due = True
            self._loop.call_later(PAUSE, self._keep_bound)

    def _keep_bound(self) -> None:
        """Cut those that hold most until what is left is within the bound."""
        self._is_due = False
        holders = list(self._holders())
        for holder in holders:
            holder.count_memory()
        if self.held <= self._bound:
            return
        for holder in sorted(holders, key=lambda each: each.held, reverse=True):
            if self.held <= self._bound:
                break
            log.warning("clients hold %d bytes, %d too many; cutting %s, which holds %d", *self._figures(holder))
            holder.cut("memory")

    def _figures(self, holder: Holder) -> tuple[int, int, str, int]:
        return self.held, self.held - self._bound, holder.peer, holder.held
