"""Coroutines that run beside what a process waits for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager

log = logging.getLogger("wireproto.server")


@asynccontextmanager
async def running(lives: Sequence[Coroutine[None, None, None]], shutdown: asyncio.Event) -> AsyncIterator[None]:
    """Run coroutines in the background. One that ends by an error is a bug: the server then shuts down."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("a part of the server has ended; shutting down", exc_info=error)
            shutdown.set()

    tasks = [asyncio.create_task(life) for life in lives]
    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def either(*waits: Coroutine[None, None, object]) -> None:
    """Return as soon as one of them has."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
