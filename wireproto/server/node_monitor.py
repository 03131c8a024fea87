"""Asks a node again and again what it takes itself for and how far it is, over a connection of its own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from wireproto.core.topology import NodeReport

LONGEST_PAUSE: Final = 1.0
"""Seconds between two looks at a node that cannot be reached."""
NO_ANSWER: Final = (RedisError, OSError, ValueError, TypeError, LookupError, AttributeError)
"""What to ask may raise: where an answer is of the wrong kind, redis-py raises whatever it stumbles over."""


def open_client(url: str, timeout: float) -> Any:
    """A client that connects when it is used, and says at once when it cannot: redis-py would try ten times."""
    return Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        decode_responses=True,
        protocol=2,  # what a node pushes with 3, redis-py may log in the node's words
    )


def end_if_cancelled() -> None:
    """Raise CancelledError if the present task has been cancelled.

    redis-py can make a time-out of a cancellation that comes while it gives up a connection (seen with 8.1). A loop
    that took it for no answer would never end, and nor would the server.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class NodeMonitor:
    """One node's reports: `on_report` is given each, and None when there is no answer."""

    def __init__(self, url: str, timeout: float, on_report: Callable[[NodeReport | None], None]) -> None:
        self._client = open_client(url, timeout)
        self._on_report = on_report

    async def run(self, period: Callable[[], float]) -> None:
        """Look every `period()` seconds, until cancelled."""
        pause = period()
        try:
            while True:
                report = await self._look()
                end_if_cancelled()
                self._on_report(report)
                pause = period() if report is not None else min(LONGEST_PAUSE, pause * 2)
                await asyncio.sleep(pause * random.uniform(0.75, 1.0))  # noqa: S311 - jitter, not a secret
        finally:
            await self._client.aclose()

    async def _look(self) -> NodeReport | None:
        asked_at = monotonic()
        try:
            return NodeReport.from_info(await self._client.info("replication"), asked_at)
        except NO_ANSWER:
            # What is wrong with the node is logged by those who want to use it.
            return None
