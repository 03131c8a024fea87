"""Connections that are sent elsewhere, or not wanted any more, while they are still being opened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from wireproto.server.node_endpoint import NodeEndpoint
from wireproto.server.nodes import NodeConnection
from wireproto.settings import Settings

NOBODY = [NodeEndpoint.from_url(f"redis://127.0.0.1:{port}") for port in (1, 2)]


class SilentNode:
    """Accepts connections and answers nothing."""

    def __init__(self) -> None:
        self.accepted = 0
        self.open = 0
        self.changed = asyncio.Event()
        self.endpoint: NodeEndpoint

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.open += 1
        self.changed.set()
        try:
            while await reader.read(1000):
                pass
        except ConnectionError:
            pass
        finally:
            self.open -= 1
            self.changed.set()
            writer.close()

    async def until(self, *, is_open: bool) -> None:
        async with asyncio.timeout(5):
            while bool(self.open) is not is_open:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def silent_node() -> AsyncIterator[SilentNode]:
    node = SilentNode()
    async with await asyncio.start_server(node.serve, "127.0.0.1", 0) as server:
        node.endpoint = NodeEndpoint.from_url(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        yield node


async def test_a_master_may_change_again_while_a_connection_is_still_turning() -> None:
    async with silent_node() as node:
        connection = NodeConnection("s", "s", Settings())
        connection.aim(node.endpoint)
        life = asyncio.create_task(connection.run())
        await node.until(is_open=True)
        for turn in range(20):
            connection.aim(NOBODY[turn % 2])
            await asyncio.sleep(0)  # the attempt ends over some turns of the loop
        connection.retire()
        async with asyncio.timeout(5):
            await life
        await node.until(is_open=False)


@pytest.mark.parametrize("turns", range(6))
async def test_a_replica_that_goes_while_it_is_being_reached_leaves_no_connection(turns: int) -> None:
    async with silent_node() as node:
        connection = NodeConnection("s", "s", Settings(), role="replica")
        connection.aim(node.endpoint)
        life = asyncio.create_task(connection.run())
        for _ in range(turns):
            await asyncio.sleep(0)
        connection.retire()
        async with asyncio.timeout(0.5):  # less than an attempt to connect may take
            await life
        if node.accepted or turns > 1:
            await node.until(is_open=False)
