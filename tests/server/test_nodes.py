"""Connections to nodes by themselves: when they are tried again."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

import pytest

from wireproto.server import nodes
from wireproto.server.node_endpoint import NodeEndpoint
from wireproto.settings import Settings


async def test_an_attempt_that_nobody_answers_is_a_pause_in_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "SHORTEST_PAUSE", 0.2)
    monkeypatch.setattr(nodes, "LONGEST_PAUSE", 0.2)
    attempts: list[float] = []
    enough = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attempts.append(time.monotonic())
        if len(attempts) == 5:
            enough.set()
        try:
            while await reader.read(1000):
                pass
        except ConnectionError:
            pass
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        connection = nodes.NodeConnection("s", "s", Settings(node_connect_timeout=0.2))
        connection.aim(NodeEndpoint.from_url(f"redis://127.0.0.1:{port}"))
        running = asyncio.create_task(connection.run())
        try:
            await asyncio.wait_for(enough.wait(), 10)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    between = [later - earlier for earlier, later in pairwise(attempts)]
    # With a pause of 0.1 to 0.2 s after each it would be 0.3 s at least; and without any time-out, none.
    assert min(between) < 0.28
    assert min(between) > 0.15
