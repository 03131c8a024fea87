"""What the loop's own watch sees."""

from __future__ import annotations

import asyncio
import time

from wireproto.server.loop_watch import MEMORY, PERIOD, LoopWatch

STALL = 0.2


async def test_a_stall_is_seen_and_told() -> None:
    watch = LoopWatch()
    task = asyncio.create_task(watch.run())
    await asyncio.sleep(2 * PERIOD)
    time.sleep(STALL)  # noqa: ASYNC251 - to stall the loop is the point
    await asyncio.sleep(2 * PERIOD)
    assert watch.longest_stall >= STALL - PERIOD
    told = watch.as_json()
    assert told["longest_stall_ms"] == round(watch.longest_stall * 1000, 1)
    task.cancel()


async def test_tasks_are_counted_while_they_run() -> None:
    watch = LoopWatch()
    before = watch.as_json()["tasks"]
    tasks = [asyncio.create_task(asyncio.sleep(60)) for _ in range(3)]
    assert watch.as_json()["tasks"] == before + 3  # type: ignore[operator]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert watch.as_json()["tasks"] == before


async def test_a_stall_is_remembered_for_half_a_minute_at_least_and_forgotten_after_a_whole_one() -> None:
    watch, now = LoopWatch(), time.monotonic()
    watch.note(0.5, now)
    for passed in range(1, int(MEMORY)):
        watch.note(0.001, now + passed)
        assert watch.longest_stall == 0.5
    watch.note(0.001, now + MEMORY + 1)
    assert watch.longest_stall == 0.5
    watch.note(0.002, now + 2 * MEMORY + 2)
    assert watch.longest_stall == 0.002
    watch.note(0.003, now + 9 * MEMORY)
    assert watch.longest_stall == 0.003


async def test_a_stall_just_before_the_turn_is_remembered_after_it() -> None:
    watch, now = LoopWatch(), time.monotonic()
    watch.note(0.4, now + MEMORY - 1)
    watch.note(0.001, now + MEMORY + 1)
    assert watch.longest_stall == 0.4
