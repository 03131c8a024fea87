"""Connections that have not shown who they are, the oldest first: they make room when there is none left.

As with a SYN cache, a crowd that only opens connections pushes out its own, and keeps out nobody who logs in.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from wireproto.core.metrics import Metrics
from wireproto.server.shared_counters import WorkerSlot

if TYPE_CHECKING:
    from wireproto.server.connection import ClientConnection

AT_ONCE: Final = 8
"""Connections that are ended before the others have their turn: it costs 50 us each, and a crowd came at one time."""


class Strangers:
    """Those of one process. Times are seconds of a monotonic clock."""

    def __init__(self, metrics: Metrics, slot: WorkerSlot) -> None:
        self._metrics = metrics
        self._slot = slot
        self._shaking_hands: OrderedDict[ClientConnection, tuple[float, asyncio.Task[None]]] = OrderedDict()
        """Since when, and who is to be told that it is over."""
        self._silent: OrderedDict[ClientConnection, float] = OrderedDict()
        """Those that can speak and have not said who they are; since when they have been there."""

    def arrived(self, connection: ClientConnection, welcome: asyncio.Task[None], now: float) -> None:
        """It was accepted, and is counted as shaking hands. `welcome` gives it up when it is cancelled."""
        self._shaking_hands[connection] = (now, welcome)
        self._count()

    def has_shaken_hands(self, connection: ClientConnection) -> None:
        """It can speak."""
        entry = self._shaking_hands.pop(connection, None)
        if entry is not None:
            self._silent[connection] = entry[0]
            self._no_longer_shakes_hands()

    def left(self, connection: ClientConnection) -> None:
        """It is no stranger any more, or gone. To say so again does nothing."""
        if self._shaking_hands.pop(connection, None) is not None:
            self._no_longer_shakes_hands()
        self._silent.pop(connection, None)
        self._count()

    def _count(self) -> None:
        self._slot.count_strangers(len(self._shaking_hands) + len(self._silent))

    def _no_longer_shakes_hands(self) -> None:
        metrics = self._metrics
        metrics.handshaking -= 1
        self._slot.count_connections(metrics.open + metrics.handshaking)

    def evict_oldest(self) -> bool:
        """End the connection that has been a stranger for longest; False if there is none."""
        shaking = next(iter(self._shaking_hands.values()), None)
        silent = next(iter(self._silent.items()), None)
        if silent is not None and (shaking is None or silent[1] <= shaking[0]):
            self.left(silent[0])
            silent[0].cut("evicted")
        elif shaking is not None:
            self._metrics.closed_by_limit["evicted"] += 1
            self._give_up_first()
        else:
            return False
        return True

    def end_late_handshakes(self, now: float, timeout: float) -> bool:
        """Give up some of those that take longer; whether there may be more of them."""
        for _ in range(AT_ONCE):
            first = next(iter(self._shaking_hands.values()), None)
            if first is None or now - first[0] <= timeout:
                return False
            self._metrics.handshake_failures += 1
            self._give_up_first()
        return True

    def _give_up_first(self) -> None:
        connection, (_, welcome) = next(iter(self._shaking_hands.items()))
        self.left(connection)
        welcome.cancel()
