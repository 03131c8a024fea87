"""The asyncio client's pipeline."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from wireproto.client.pipeline import CallQueue
from wireproto.core.call_plan import Plan
from wireproto.core.calls import Calls

V = TypeVar("V")


class AsyncPipeline(CallQueue[V]):
    """Calls that are queued in an `async with` block and sent together at its end; see `Client.pipeline`.

    async with client.pipeline() as pipeline:
        pipeline.write("a", b"1")
        value = pipeline.read("b")
    value.result()
    """

    def __init__(
        self, execute: Callable[[Plan, float | None], Awaitable[None]], calls: Calls[V], timeout: float
    ) -> None:
        super().__init__(calls, timeout)
        self._execute = execute

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.execute()

    async def execute(self) -> list[Any]:
        """Send what is queued now. The outcomes, results or RequestErrors, in the order queued."""
        plan, places = self._take_plan()
        await self._execute(plan, self._timeout)
        return self._settle(plan, places)
