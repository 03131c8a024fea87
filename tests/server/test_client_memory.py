"""The bound on what clients hold: who holds most goes, nobody goes for bytes that have left, and not more than need."""

from __future__ import annotations

import asyncio
import logging

import pytest

from wireproto.server.client_memory import ClientMemory

BOUND = 1000


class FakeHolder:
    """A connection that holds `really` bytes, and was counted with `held`."""

    def __init__(self, room: Room, held: int) -> None:
        self.peer = f"192.0.2.1:{len(room.holders)}"
        self.really = held
        self.held = 0
        self.reason = ""
        self._room = room
        room.holders.append(self)

    def count_memory(self) -> None:
        self._room.memory.change(self.really - self.held)
        self.held = self.really

    def cut(self, limit: str) -> None:
        self.reason = limit
        self.really = 0
        self.count_memory()
        self._room.holders.remove(self)


class Room:
    def __init__(self) -> None:
        self.holders: list[FakeHolder] = []
        self.memory = ClientMemory(BOUND, lambda: self.holders, asyncio.get_running_loop())

    async def settle(self) -> None:
        await asyncio.sleep(0.02)


async def test_within_the_bound_nobody_goes() -> None:
    room = Room()
    for _ in range(10):
        FakeHolder(room, 100).count_memory()
    await room.settle()
    assert room.memory.held == BOUND
    assert len(room.holders) == 10


async def test_who_holds_most_goes_and_no_more_than_need(caplog: pytest.LogCaptureFixture) -> None:
    room = Room()
    holders = [FakeHolder(room, size) for size in (50, 600, 100, 300, 20)]
    with caplog.at_level(logging.WARNING, "wireproto.connections"):
        for holder in holders:
            holder.count_memory()
        await room.settle()
    assert [holder.reason for holder in holders] == ["", "memory", "", "", ""]
    assert room.memory.held == 470
    assert [record.getMessage() for record in caplog.records] == [
        "clients hold 1070 bytes, 70 too many; cutting 192.0.2.1:1, which holds 600"
    ]


async def test_several_go_when_one_is_not_enough() -> None:
    room = Room()
    holders = [FakeHolder(room, 400) for _ in range(6)]
    for holder in holders:
        holder.count_memory()
    await room.settle()
    assert sum(holder.reason == "memory" for holder in holders) == 4
    assert room.memory.held == 800


async def test_bytes_that_have_left_in_the_meantime_cost_nobody_his_connection() -> None:
    room = Room()
    holders = [FakeHolder(room, 600) for _ in range(2)]
    for holder in holders:
        holder.count_memory()
    holders[0].really = 10
    await room.settle()
    assert [holder.reason for holder in holders] == ["", ""]
    assert room.memory.held == 610
    FakeHolder(room, 700).count_memory()
    await room.settle()
    assert len(room.holders) == 2
