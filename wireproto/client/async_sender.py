"""Sends the asyncio client's plans, and again where that is worth it."""

# ruff: noqa: ASYNC109 - `timeout` is the call's own, over all its attempts; it needs no task and no timer.

from __future__ import annotations

import asyncio
import random

from wireproto.client.options import ClientOptions, call_timeout
from wireproto.client.shared_connection import SharedConnection
from wireproto.core.call_plan import Plan
from wireproto.core.retry import RetryPolicy
from wireproto.errors import RequestError


class AsyncSender:
    """Sends on the one connection that all callers share."""

    def __init__(self, shared: SharedConnection, options: ClientOptions, policy: RetryPolicy) -> None:
        self._shared = shared
        self._timeout = options.timeout
        self._policy = policy

    async def execute(self, plan: Plan, timeout: float | None) -> None:
        """Send what there is to send, and again what is worth it, until all is settled or the time is used up."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (self._timeout if timeout is None else call_timeout(timeout, self._timeout))
        while plan.todo:
            await self._attempt(plan, loop, deadline)
            if not plan.failures:
                return
            delay = plan.next_delay(self._policy, loop.time(), deadline, random.random())  # noqa: S311 - no secret
            if delay is None:
                return
            await asyncio.sleep(delay)

    async def _attempt(self, plan: Plan, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        connection = self._shared.current(loop)
        if connection is None:
            try:
                connection = await self._shared.connected(loop, deadline)
            except RequestError as error:
                plan.fail(error)
                return
        plan.settle(await connection.exchange(plan.requests(), deadline))
        if plan.untrusted:
            connection.distrust()
