"""The ring and the nodes on it: which connections a client's requests take, and what is to be told of the nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from wireproto.core.node_health import NodeState
from wireproto.core.node_pipeline import NodePipeline
from wireproto.core.ring import HashRing
from wireproto.server.node_endpoint import NodeEndpoint
from wireproto.server.nodes import NodeConnection
from wireproto.settings import Settings

TICK: Final = 0.015
"""Seconds between two looks at what is overdue: a time-out is told at most two of them late."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One name on the ring, the URL of its node, and the process that it runs in, if it was started here."""

    name: str
    weight: float
    url: str = field(repr=False)
    pid: int | None = None


class Router:
    """Keeps `settings.pool_size` connections to each shard's node. Raises ConfigurationError for a URL of no use."""

    def __init__(self, shards: Sequence[Shard], settings: Settings) -> None:
        self.ring = HashRing({shard.name: shard.weight for shard in shards}, seed=settings.ring_seed)
        by_name = {shard.name: shard for shard in shards}
        self._shards = [by_name[name] for name in self.ring.names]
        self._pools = [self._pool(shard, settings) for shard in self._shards]
        self._lanes = [[connection.pipeline for connection in lane] for lane in zip(*self._pools, strict=True)]
        self._clients = 0

    @staticmethod
    def _pool(shard: Shard, settings: Settings) -> list[NodeConnection]:
        endpoint = NodeEndpoint.from_url(shard.url)
        return [NodeConnection(shard.name, endpoint, settings) for _ in range(settings.pool_size)]

    def pipelines_for_client(self) -> list[NodePipeline]:
        """A pipeline to each node, in the order of the ring's names.

        A client keeps what it is given here: its requests for one node travel over one connection, in order.
        """
        self._clients += 1
        return self._lanes[self._clients % len(self._lanes)]

    async def run(self) -> None:
        """Keep all connections and their times, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for pool in self._pools:
                for connection in pool:
                    group.create_task(connection.run())
            await self._watch_time()

    async def first_attempts(self) -> None:
        """Return when every connection has been tried once."""
        for pool in self._pools:
            for connection in pool:
                await connection.first_attempt_over.wait()

    async def _watch_time(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            now = monotonic()
            for pool in self._pools:
                for connection in pool:
                    connection.check_time(now)

    # -- what is told of the nodes

    def down(self) -> list[str]:
        """The names of the nodes that cannot be reached."""
        return [pool[0].name for pool in self._pools if self._state(pool) is not NodeState.UP]

    def describe(self, index: int) -> dict[str, str]:
        """The node of a shard, for WHERE."""
        pool = self._pools[index]
        return {"role": pool[0].role, "state": self._state(pool).value}

    def stats(self) -> list[dict[str, object]]:
        """Every node, for STATS."""
        return [self._node_stats(index) for index in range(len(self._pools))]

    def _node_stats(self, index: int) -> dict[str, object]:
        shard, pool = self._shards[index], self._pools[index]
        pipelines = [connection.pipeline for connection in pool]
        entry: dict[str, object] = {
            "shard": shard.name,
            "role": pool[0].role,
            "state": self._state(pool).value,
            "connections": sum(pipeline.state is NodeState.UP for pipeline in pipelines),
            "connects": sum(connection.connects for connection in pool),
            "waiting": sum(pipeline.waiting_requests for pipeline in pipelines),
            "in_flight": sum(pipeline.in_flight_requests for pipeline in pipelines),
            "round_trip_us": round(max(pipeline.round_trip for pipeline in pipelines) * 1e6),
        }
        if shard.pid is not None:
            entry["pid"] = shard.pid
        return entry

    @staticmethod
    def _state(pool: list[NodeConnection]) -> NodeState:
        """The best state among a node's connections."""
        states = {connection.pipeline.state for connection in pool}
        return next(state for state in (NodeState.UP, NodeState.PROBING, NodeState.DOWN) if state in states)
