"""Connections to nodes by themselves: when they are tried again, and where they go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from wireproto.server import nodes
from wireproto.server.node_endpoint import NodeEndpoint
from wireproto.settings import Settings


class SilentNode:
    """Accepts connections and says nothing."""

    def __init__(self) -> None:
        self.attempts: list[float] = []
        self.open = self.most_open = 0
        self._attempted = asyncio.Event()
        self._closed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.attempts.append(time.monotonic())
        self._attempted.set()
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            while await reader.read(1000):
                pass
        except ConnectionError:
            pass
        self.open -= 1
        self._closed.set()
        writer.close()

    async def all_closed(self) -> None:
        """Return when no connection is open: both ends of one close in turns of the loop."""
        while self.open:
            self._closed.clear()
            await self._closed.wait()

    async def attempted(self, times: int) -> None:
        """Return when it was tried so often."""
        while len(self.attempts) < times:
            self._attempted.clear()
            await asyncio.wait_for(self._attempted.wait(), 10)


@asynccontextmanager
async def silence(connect_timeout: float) -> AsyncIterator[tuple[SilentNode, nodes.NodeConnection, list[NodeEndpoint]]]:
    """A connection that tries to reach a silent node, and three ways to go to that."""
    node = SilentNode()
    async with await asyncio.start_server(node.serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        ways = [NodeEndpoint.from_url(f"redis://127.0.0.1:{port}/{database}") for database in range(3)]
        connection = nodes.NodeConnection("s", "s", Settings(node_connect_timeout=connect_timeout))
        connection.aim(ways[0])
        running = asyncio.create_task(connection.run())
        try:
            yield node, connection, ways
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await asyncio.wait_for(node.all_closed(), 5)


async def test_an_attempt_that_nobody_answers_does_not_hold_up_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "SHORTEST_PAUSE", 0.1)
    monkeypatch.setattr(nodes, "LONGEST_PAUSE", 0.1)
    async with silence(10.0) as (node, _, _):
        await node.attempted(2 * nodes.MOST_ATTEMPTS)
        assert node.most_open <= nodes.MOST_ATTEMPTS + 1, "the last of them gives way to the next"
    between = [later - earlier for earlier, later in pairwise(node.attempts)]
    assert 0.04 < min(between) < 0.3


async def test_where_it_is_to_go_may_change_twice_in_a_moment() -> None:
    async with silence(10.0) as (node, connection, ways):
        await node.attempted(1)
        for way in ways[1:]:
            connection.aim(way)
            # The first change ends the attempt, in two turns of the loop; the second one comes between these.
            await asyncio.sleep(0)
        await node.attempted(2)
