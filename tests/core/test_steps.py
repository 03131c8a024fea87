"""Generators of steps, performed by both shells alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any

import pytest

from wireproto.core.steps import perform, perform_async


def adding(cleaned: list[str]) -> Generator[str, Any, Any]:
    """Asks for two numbers, and the first again if that fails; asks for a last step when it is interrupted."""
    try:
        try:
            first = yield "first"
        except (KeyError, StopIteration):
            first = yield "again"
        second = yield "second"
        return first + second
    except BaseException:
        cleaned.append((yield "clean"))
        raise


def act(answers: dict[str, Any]) -> Any:
    def one(step: str) -> Any:
        answer = answers[step]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return one


def both(answers: dict[str, Any]) -> Any:
    """What both shells make of it, which has to be the same."""

    async def later(step: str) -> Any:
        await asyncio.sleep(0)
        return act(answers)(step)

    outcomes: list[Any] = []
    runs: list[Callable[[], Any]] = [
        lambda: perform(adding([]), act(answers)),
        lambda: asyncio.run(perform_async(adding([]), later)),
    ]
    for run in runs:
        try:
            outcomes.append(run())
        except Exception as error:
            outcomes.append(repr(error))
    assert outcomes[0] == outcomes[1]
    return outcomes[0]


def test_answers_are_sent_back() -> None:
    assert both({"first": 1, "second": 2}) == 3


def test_errors_are_thrown_in() -> None:
    assert both({"first": KeyError("k"), "again": 5, "second": 2}) == 7
    assert both({"first": 1, "second": ValueError("v"), "clean": "c"}) == "ValueError('v')"


def test_an_iterators_end_in_a_step_is_no_end_of_the_steps() -> None:
    assert perform(adding([]), act({"first": StopIteration(), "again": 5, "second": 2})) == 7


async def test_a_cancelled_task_may_still_do_its_last_step() -> None:
    cleaned: list[str] = []
    begun = asyncio.Event()

    async def later(step: str) -> Any:
        if step == "clean":
            await asyncio.sleep(0)
            return "cleaned"
        begun.set()
        return await asyncio.Event().wait()

    task = asyncio.create_task(perform_async(adding(cleaned), later))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == ["cleaned"]


def test_a_coroutine_that_is_dropped_awaits_nothing_more() -> None:
    seen: list[str] = []

    def steps() -> Generator[str, Any, None]:
        try:
            yield "first"
        except GeneratorExit:
            seen.append("dropped")
            raise

    class Never:
        def __await__(self) -> Generator[None, None, None]:
            yield

    async def never(step: str) -> None:
        await Never()

    coroutine = perform_async(steps(), never)
    coroutine.send(None)
    coroutine.close()
    assert seen == ["dropped"]
