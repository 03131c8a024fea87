"""What the loop's own watch sees."""

from __future__ import annotations

import asyncio
import time

from wireproto.server.loop_watch import MEMORY, PERIOD, Longest, LoopWatch

STALL = 0.2


def sleep() -> None:
    time.sleep(STALL)


def work() -> None:
    until = time.thread_time() + STALL
    while time.thread_time() < until:
        pass


async def watched_during(what: object) -> LoopWatch:
    assert callable(what)
    watch = LoopWatch()
    task = asyncio.create_task(watch.run())
    await asyncio.sleep(2 * PERIOD)
    what()
    await asyncio.sleep(2 * PERIOD)
    task.cancel()
    return watch


async def test_a_stall_is_seen_and_told() -> None:
    watch = await watched_during(sleep)
    assert watch.stall.value >= STALL - PERIOD
    assert watch.work.value < STALL / 2, "who does nothing does not work"
    told = watch.as_json()
    assert told["longest_stall_ms"] == round(watch.stall.value * 1000, 1)
    assert told["longest_work_ms"] == round(watch.work.value * 1000, 1)


async def test_work_is_told_from_waiting() -> None:
    watch = await watched_during(work)
    assert watch.work.value >= STALL
    assert watch.stall.value >= STALL - PERIOD


async def test_tasks_are_counted_while_they_run() -> None:
    watch = LoopWatch()
    before = watch.as_json()["tasks"]
    tasks = [asyncio.create_task(asyncio.sleep(60)) for _ in range(3)]
    assert watch.as_json()["tasks"] == before + 3  # type: ignore[operator]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert watch.as_json()["tasks"] == before


def test_what_was_longest_is_remembered_for_half_a_minute_at_least_and_forgotten_after_a_whole_one() -> None:
    longest = Longest(100.0)
    longest.note(0.5, 100.0)
    for passed in range(1, int(MEMORY)):
        longest.note(0.001, 100 + passed)
        assert longest.value == 0.5
    longest.note(0.001, 100 + MEMORY + 1)
    assert longest.value == 0.5
    longest.note(0.002, 100 + 2 * MEMORY + 2)
    assert longest.value == 0.002
    longest.note(0.003, 100 + 9 * MEMORY)
    assert longest.value == 0.003


def test_what_came_just_before_the_turn_is_remembered_after_it() -> None:
    longest = Longest(100.0)
    longest.note(0.4, 100 + MEMORY - 1)
    longest.note(0.001, 100 + MEMORY + 1)
    assert longest.value == 0.4
