"""Sends the blocking client's plans, and again where that is worth it."""

from __future__ import annotations

import random
import time
from typing import Any, TypeVar

from wireproto.client.options import ClientOptions, call_timeout
from wireproto.client.pool import ConnectionPool
from wireproto.core.call_plan import Call, KeyedPlan, Plan
from wireproto.core.retry import RetryPolicy
from wireproto.errors import RequestError

T = TypeVar("T")


class BlockingSender:
    """Sends on the connections of a pool, each attempt on one that is the caller's alone."""

    def __init__(self, pool: ConnectionPool, options: ClientOptions, policy: RetryPolicy) -> None:
        self._pool = pool
        self._timeout = options.timeout
        self._policy = policy

    def run(self, call: Call[T], timeout: float | None) -> T:
        """The result of one call. Raises its error."""
        plan = Plan([call.request], [call.kind])
        self.execute(plan, timeout)
        result: T = plan.result()
        return result

    def run_keys(self, plan: KeyedPlan, timeout: float | None) -> dict[Any, Any]:
        """The outcome of each key. Raises if all failed."""
        self.execute(plan, timeout)
        return plan.by_key()

    def execute(self, plan: Plan, timeout: float | None) -> None:
        """Send what there is to send, and again what is worth it, until all is settled or the time is used up."""
        deadline = time.monotonic() + (self._timeout if timeout is None else call_timeout(timeout, self._timeout))
        while plan.todo:
            self._attempt(plan, deadline)
            if not plan.failures:
                return
            delay = plan.next_delay(self._policy, time.monotonic(), deadline, random.random())  # noqa: S311 - no secret
            if delay is None:
                return
            time.sleep(delay)

    def _attempt(self, plan: Plan, deadline: float) -> None:
        try:
            connection = self._pool.acquire(deadline)
        except RequestError as error:
            plan.fail(error)
            return
        try:
            plan.settle(connection.exchange(plan.requests(), deadline))
        finally:
            # Also when a signal's handler raised in the middle: what is owed to this call must reach no other.
            self._pool.release(connection, reusable=connection.is_reusable and not plan.untrusted)
