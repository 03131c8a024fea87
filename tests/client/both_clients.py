"""Both clients in one form, for what has to be the same in either."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Self

from wireproto import AsyncClient, Client


class LoopClient:
    """An `AsyncClient`, called like the blocking one; `with`, it has an event loop of its own."""

    def __init__(self, url: str, **options: Any) -> None:
        self._client: Any = AsyncClient(url, **options)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._run(self._client.close)
        finally:
            self._runner.__exit__(kind, error, trace)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        return lambda *arguments, **options: self._run(lambda: method(*arguments, **options))

    def _run(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        async def asked() -> Any:
            return await ask()

        return self._runner.run(asked())

    def pipeline(self) -> LoopPipeline:
        """As the blocking client's."""
        return LoopPipeline(self._client.pipeline(), self._run)


class LoopPipeline:
    """An `AsyncPipeline` in the same form."""

    def __init__(self, pipeline: Any, run: Callable[[Callable[[], Awaitable[Any]]], Any]) -> None:
        self._pipeline = pipeline
        self._run = run

    def __enter__(self) -> Any:
        return self._pipeline

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(lambda: self._pipeline.__aexit__(kind, error, trace))


BOTH: Final[tuple[Any, ...]] = (Client, LoopClient)
