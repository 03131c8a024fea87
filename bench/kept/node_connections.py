"""One connection to a node that all share, or a pool of them: `python -m bench.kept.node_connections`.

Callers in one process each ask a node for a value, wait for it, and ask again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import hiredis
import redis.asyncio
import uvloop

from bench.table import Row, aligned
from bench.targets import four_nodes

CALLERS = 64
SECONDS = 2.0
"""For each way."""
KEY = b"key:00000000"
VALUE = b"v" * 100

Get = Callable[[], Awaitable[object]]


class Connection(asyncio.Protocol):
    """Replies are matched by counting. What is asked in one turn of the loop leaves in one write."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self._waiting: deque[asyncio.Future[object]] = deque()
        self._commands: list[bytes] = []
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            self._waiting.popleft().set_result(reply)

    def ask(self, *words: bytes) -> asyncio.Future[object]:
        """The reply to a command."""
        if not self._commands:
            self._loop.call_soon(self._flush)
        self._commands.append(hiredis.pack_command(words))  # type: ignore[arg-type]  # any length
        future = self._loop.create_future()
        self._waiting.append(future)
        return future

    def close(self) -> None:
        """End it."""
        self._transport.close()

    def _flush(self) -> None:
        self._transport.write(b"".join(self._commands))
        self._commands.clear()


async def asked(gets: Sequence[Get], seconds: float) -> tuple[float, float]:
    """Requests per second of all callers together, and the microseconds of this process's CPU for each."""
    count = 0
    deadline = time.monotonic() + seconds

    async def call(get: Get) -> None:
        nonlocal count
        while time.monotonic() < deadline:
            assert await get() == VALUE
            count += 1

    started, cpu = time.monotonic(), time.process_time()
    await asyncio.gather(*map(call, gets))
    return count / (time.monotonic() - started), (time.process_time() - cpu) / count * 1e6


async def connected(path: Path, password: str) -> Connection:
    """A connection that may be used."""
    _, connection = await asyncio.get_running_loop().create_unix_connection(Connection, str(path))
    await connection.ask(b"AUTH", password.encode())
    return connection


async def experiment(path: Path, password: str, seconds: float) -> list[Row]:
    """All ways in turn."""
    connections = [await connected(path, password) for _ in range(CALLERS)]
    await connections[0].ask(b"SET", KEY, VALUE)
    pool = redis.asyncio.BlockingConnectionPool(
        connection_class=redis.asyncio.UnixDomainSocketConnection,
        path=str(path),
        password=password,
        max_connections=CALLERS,
    )
    client = redis.asyncio.Redis(connection_pool=pool)
    ways: dict[str, list[Get]] = {
        "one connection for all (chosen)": [partial(connections[0].ask, b"GET", KEY)] * CALLERS,
        "the same code, a connection for each": [partial(connection.ask, b"GET", KEY) for connection in connections],
        "redis-py, a pool with one for each": [partial(client.get, KEY)] * CALLERS,
    }
    rows: list[Row] = []
    for name, gets in ways.items():
        rate, cpu = await asked(gets, seconds)
        rows.append((name, f"{rate:,.0f}", f"{cpu:.1f}"))
    await pool.aclose()
    for connection in connections:
        connection.close()
    return rows


def main(seconds: float = SECONDS) -> None:
    """Measure and print."""
    with four_nodes(1) as nodes:
        ((_, path),) = nodes.sockets.items()
        rows = uvloop.run(experiment(path, nodes.password, seconds))
    print(aligned([(f"{CALLERS} callers", "requests/s", "us of CPU each"), *rows]))


if __name__ == "__main__":
    main()
