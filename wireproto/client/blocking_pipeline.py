"""The blocking client's pipeline."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from wireproto.client.pipeline import CallQueue
from wireproto.core.call_plan import Plan
from wireproto.core.calls import Calls

V = TypeVar("V")


class Pipeline(CallQueue[V]):
    """Calls that are queued in a `with` block and sent together at its end.

        with client.pipeline() as pipeline:
            pipeline.write("a", b"1")
            value = pipeline.read("b")
        value.result()

    A call that fails does not fail the others: `result()` raises its error. The block raises only if all failed. If it
    is left by an exception, nothing is sent.
    """

    def __init__(self, execute: Callable[[Plan, float | None], None], calls: Calls[V], timeout: float) -> None:
        super().__init__(calls, timeout)
        self._execute = execute

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.execute()

    def execute(self) -> list[Any]:
        """Send what is queued now. The outcomes, results or RequestErrors, in the order queued."""
        plan, places = self._take_plan()
        self._execute(plan, self._timeout)
        return self._settle(plan, places)
