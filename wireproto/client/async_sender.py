"""Sends the asyncio client's plans, and again where that is worth it."""

# ruff: noqa: ASYNC109 - `timeout` is the call's own, over all its attempts; it needs no task and no timer.

from __future__ import annotations

import asyncio
import random
from typing import Any, TypeVar

from wireproto.client.options import ClientOptions, call_timeout
from wireproto.client.shared_connection import SharedConnection
from wireproto.core.call_plan import Call, KeyedPlan, Plan
from wireproto.core.retry import RetryPolicy
from wireproto.errors import RequestError

T = TypeVar("T")


class AsyncSender:
    """Sends on the one connection that all callers share."""

    def __init__(self, shared: SharedConnection, options: ClientOptions, policy: RetryPolicy) -> None:
        self._shared = shared
        self._timeout = options.timeout
        self._policy = policy

    async def run(self, call: Call[T], timeout: float | None) -> T:
        """The result of one call. Raises its error."""
        plan = Plan([call.request], [call.kind])
        await self.execute(plan, timeout)
        result: T = plan.result()
        return result

    async def run_keys(self, plan: KeyedPlan, timeout: float | None) -> dict[Any, Any]:
        """The outcome of each key. Raises if all failed."""
        await self.execute(plan, timeout)
        return plan.by_key()

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
        plan.settle(await connection.exchange(plan.requests(), deadline, plan.unclaimed))
        if plan.untrusted:
            connection.distrust()
