"""Steps that a generator asks for, and a shell performs: the blocking one, and the one that awaits.

A step's result is sent back to the generator; an error is thrown into it. What the generator returns is the end of it.
So the order of the steps, and what follows from each, is written once, without I/O, for both clients.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

R = TypeVar("R")
S = TypeVar("S")


def perform(steps: Generator[S, Any, R], act: Callable[[S], Any]) -> R:
    """Perform all steps. Raises what the generator does not catch."""
    try:
        step = next(steps)
        while True:
            try:
                answer = act(step)
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        result: R = end.value
        return result


async def perform_async(steps: Generator[S, Any, R], act: Callable[[S], Awaitable[Any]]) -> R:
    """As `perform`; also a cancellation is thrown into the generator, which may have more to do before it ends."""
    try:
        step = next(steps)
        while True:
            try:
                answer = await act(step)
            except GeneratorExit:
                raise  # the coroutine itself is dropped: it may await nothing more
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        result: R = end.value
        return result
