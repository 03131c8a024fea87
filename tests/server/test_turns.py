"""How the clients of a process take turns when they have more to do than it can."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

from wireproto.core.metrics import Metrics
from wireproto.server.connection import ClientConnection
from wireproto.server.connection_hub import TURN, ConnectionHub
from wireproto.server.shared_counters import SharedCounters, WorkerSlot
from wireproto.settings import Settings


def made_hub() -> ConnectionHub:
    """One whose connections are made up, so that nothing of the rest is asked for."""
    nothing = cast(Any, None)
    slot = WorkerSlot(SharedCounters.create(slots=1, capacity=0), 0)
    return ConnectionHub(cast(Any, SimpleNamespace(metrics=Metrics())), nothing, Settings(), slot, nothing)


class Client:
    """Works for so long at each of its turns, and comes again as often as it is told to."""

    def __init__(self, hub: ConnectionHub, name: str, log: list[str], seconds: float, times: int = 1) -> None:
        self._hub, self._name, self._log, self._seconds, self._times = hub, name, log, seconds, times

    def resume(self, now: float) -> None:
        self._log.append(self._name)
        time.sleep(self._seconds)
        self._times -= 1
        if self._times:
            self.wait()

    def wait(self) -> None:
        self._hub.resume_later(cast(ClientConnection, self))


async def turn() -> None:
    """What was to be called soon has been called."""
    await asyncio.sleep(0)


async def test_a_turn_is_over_when_enough_was_taken_in_and_the_next_begins_with_the_loops() -> None:
    hub, now = made_hub(), time.monotonic()
    assert not hub.is_turn_over(now)
    assert not hub.is_turn_over(now + TURN / 2)
    assert hub.is_turn_over(now + TURN)
    await turn()
    assert not hub.is_turn_over(now + TURN)


async def test_those_who_wait_have_their_turn_in_order_and_nobody_twice_before_the_others() -> None:
    hub, log = made_hub(), list[str]()
    for name in "abc":
        Client(hub, name, log, 0.0, times=2).wait()
    await turn()
    assert log == ["a", "b", "c"]
    await turn()
    assert log == ["a", "b", "c"] * 2
    await turn()
    assert len(log) == 6


async def test_who_takes_long_makes_others_wait_no_longer_than_a_turn() -> None:
    hub, log = made_hub(), list[str]()
    for name in "abcd":
        Client(hub, name, log, TURN * 0.6).wait()
    await turn()
    assert log == ["a", "b"], "the loop has its turn after those"
    assert hub.is_turn_over(time.monotonic()), "and takes nothing in now"
    await turn()
    assert log == ["a", "b", "c", "d"]
