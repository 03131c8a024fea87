"""The ring and the shards on it: which connections a client's requests take, and what is to be told of the nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final

from wireproto.core.node_health import NodeState
from wireproto.core.ring import HashRing
from wireproto.core.shard_lane import ShardLane
from wireproto.core.topology import ShardView
from wireproto.server.shard_links import Life, ShardLinks
from wireproto.settings import Settings

TICK: Final = 0.015
"""Seconds between two looks at what is overdue: a time-out is told at most two of them late."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One name on the ring, and its weight."""

    name: str
    weight: float


class Router:
    """Keeps connections to the nodes of all shards, as they stand at first (`views`) and after each `update`.

    `on_refused` is called with the name of a shard whose master turns out to be none any more. Raises
    ConfigurationError for a URL of no use.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        views: Sequence[ShardView],
        settings: Settings,
        on_refused: Callable[[str], None] = lambda name: None,
    ) -> None:
        self.ring = HashRing({shard.name: shard.weight for shard in shards}, seed=settings.ring_seed)
        self._group: asyncio.TaskGroup | None = None
        self._lives: list[Life] = []
        by_name = {view.name: view for view in views}
        self._shards = [
            ShardLinks(by_name[name], settings, self._start, lambda name=name: on_refused(name))  # type: ignore[misc]
            for name in self.ring.names
        ]
        self._lanes = [list(lane) for lane in zip(*(shard.lanes for shard in self._shards), strict=True)]
        self._clients = 0

    def lanes_for_client(self) -> list[ShardLane]:
        """A lane to each shard, in the order of the ring's names.

        A client keeps what it is given here: its requests for one master travel over one connection, in order.
        """
        self._clients += 1
        return self._lanes[self._clients % len(self._lanes)]

    def update(self, views: Sequence[ShardView]) -> None:
        """Follow the shards."""
        by_name = {shard.name: shard for shard in self._shards}
        for view in views:
            by_name[view.name].update(view)

    def _start(self, life: Life) -> None:
        """Keep a connection, from when this router runs."""
        if self._group is None:
            self._lives.append(life)
        else:
            self._group.create_task(life())

    async def run(self) -> None:
        """Keep all connections and their times, until cancelled."""
        async with asyncio.TaskGroup() as self._group:
            for life in self._lives:
                self._group.create_task(life())
            self._lives.clear()
            await self._watch_time()

    async def first_attempts(self) -> None:
        """Return when every master has been tried once."""
        for shard in self._shards:
            await shard.first_attempts()

    async def _watch_time(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            now = monotonic()
            for shard in self._shards:
                shard.check_time(now)

    # -- what is told of the nodes

    def down(self) -> list[str]:
        """The names of the shards whose master cannot be reached."""
        return [shard.name for shard in self._shards if shard.state is not NodeState.UP]

    def describe(self, index: int) -> tuple[list[str], dict[str, str]]:
        """The nodes of a shard, for WHERE."""
        return self._shards[index].describe()

    def stats(self) -> list[dict[str, object]]:
        """Every node, for STATS."""
        return [entry for shard in self._shards for entry in shard.stats()]

    def shard_stats(self) -> list[dict[str, object]]:
        """Every shard, for STATS."""
        return [
            {"shard": shard.name, "failovers": shard.view.failovers, "problem": shard.view.problem}
            for shard in self._shards
        ]
