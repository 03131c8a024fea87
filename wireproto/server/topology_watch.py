"""The judge of a server: watches nodes and Sentinels, and tells who is master when that changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from wireproto.core.topology import NodeReport, ShardTopology, ShardView
from wireproto.server.node_endpoint import NodeEndpoint
from wireproto.server.node_monitor import NodeMonitor
from wireproto.server.router import Shard
from wireproto.server.sentinel_address import SentinelAddress
from wireproto.server.sentinel_watch import SentinelWatch
from wireproto.settings import Settings

PERIOD: Final = 0.2
"""Seconds between two looks at a node, and between two times that the views are told."""
PERIOD_EACH: Final = 0.003
"""Seconds more for each node: to look at one takes 0.2 ms of a core."""
PERIOD_OF_FAILOVER: Final = 0.02
"""Seconds between two looks at a node of a shard that is about to have another master."""
FIRST_LOOK: Final = 2.0
"""Seconds for which a start waits for somebody to name the masters."""

log = logging.getLogger("wireproto.shards")
Locate = Callable[[str], tuple[str, int | None]]


@dataclass(frozen=True, slots=True)
class ShardSource:
    """Where it is known from which nodes a shard has.

    Either `urls`, of which the first is a hint who is master, or `sentinel`, with the addresses of `members` that are
    known before it says so. `locate` gives the URL of a node's address, and its process where it was started here.
    """

    name: str
    weight: float
    urls: tuple[str, ...] = field(default=(), repr=False)
    sentinel: SentinelAddress | None = None
    members: tuple[str, ...] = ()
    locate: Locate | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether there is nothing to find out."""
        return self.sentinel is None and len(self.urls) == 1


class TopologyWatch:
    """All shards of a server. `on_views` is given how they stand, again and again. Raises ConfigurationError."""

    def __init__(self, sources: Sequence[ShardSource], settings: Settings) -> None:
        self.on_views: Callable[[list[ShardView]], None] = lambda views: None
        self._sources = {source.name: source for source in sources}
        self._timeout = settings.node_connect_timeout
        self._topologies = {source.name: _topology(source) for source in sources}
        self._locate = {source.name: source.locate or _locator(source) for source in sources}
        self._sentinels = self._sentinel_watches()
        self._monitors: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._told: dict[str, tuple[str, str]] = {}
        self._masters: dict[str, str] = {}
        """The last master of each shard, as logged."""
        self._known = asyncio.Event()

    def _sentinel_watches(self) -> list[SentinelWatch]:
        """One for each Sentinel, however many shards it watches."""
        shards: dict[str, dict[str, ShardTopology]] = {}
        names: dict[str, str] = {}
        for source in self._sources.values():
            if source.sentinel is not None:
                for host, port in source.sentinel.sentinels:
                    url = source.sentinel.sentinel_url(host, port)
                    names[url] = f"{host}:{port}"
                    shards.setdefault(url, {})[source.sentinel.master_name] = self._topologies[source.name]
        return [
            SentinelWatch(names[url], url, self._timeout, watched, self._changed, monotonic)
            for url, watched in shards.items()
        ]

    # -- what others ask

    @property
    def shards(self) -> list[Shard]:
        """What the ring is made of."""
        return [Shard(source.name, source.weight) for source in self._sources.values()]

    def views(self) -> list[ShardView]:
        """How all shards stand."""
        return [self._view(name) for name in self._topologies]

    def _view(self, name: str) -> ShardView:
        self._topologies[name].judge(monotonic())
        return self._topologies[name].view(self._locate[name])

    def master_of(self, name: str) -> str | None:
        """The address of a shard's master; None if nobody knows."""
        return self._topologies[name].master

    def refused(self, name: str) -> None:
        """A shard's master has turned out to be none: ask again."""
        for sentinel in self._sentinels:
            sentinel.ask()

    def tell_all(self) -> None:
        """Tell how all shards stand, also those that nothing can happen to but a new process."""
        self.on_views(self.views())

    async def first_look(self) -> None:
        """Return when all masters are known, or nobody says."""
        try:
            async with asyncio.timeout(FIRST_LOOK):
                await self._known.wait()
        except TimeoutError:
            log.warning("not all shards have a master: %s", ", ".join(self._without_master()))

    def _without_master(self) -> list[str]:
        return [name for name, topology in self._topologies.items() if topology.master is None]

    # -- the watch

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as self._group:
            for sentinel in self._sentinels:
                self._group.create_task(sentinel.run())
            while True:
                self._changed()
                if all(source.is_fixed for source in self._sources.values()):
                    await asyncio.Event().wait()
                self.on_views([view for view in self.views() if not self._sources[view.name].is_fixed])
                await asyncio.sleep(self._period())

    def _period(self) -> float:
        return PERIOD + PERIOD_EACH * len(self._monitors)

    def _changed(self, *names: str) -> None:
        """Somebody has said something of these shards, or of any: look at all nodes there are, and tell of a new master
        at once."""
        views = [self._view(name) for name in names or self._topologies]
        self._watch_members(names or self._topologies)
        for view in views:
            master = "" if view.master is None else view.master.address
            before = self._told.get(view.name)
            if before == (master, view.problem):
                continue
            self._told[view.name] = (master, view.problem)
            if before is not None or master:
                self._log(view)
            self.on_views([view])
        if not self._without_master():
            self._known.set()

    def _log(self, view: ShardView) -> None:
        if view.problem:
            log.warning("shard %s: %s", view.name, view.problem)
        before = self._masters.get(view.name)
        if view.master is not None and view.master.address != before and not self._sources[view.name].is_fixed:
            was = f", after {before}" if before else ""
            log.info("shard %s: the master is %s%s", view.name, view.master.address, was)
            self._masters[view.name] = view.master.address

    def _watch_members(self, names: Collection[str]) -> None:
        """Have a monitor for each node of a shard that has several, or that Sentinels watch."""
        wanted = {
            (name, address)
            for name in names
            if not self._sources[name].is_fixed
            for address in self._topologies[name].members
        }
        for gone in [key for key in self._monitors if key[0] in names and key not in wanted]:
            self._monitors.pop(gone).cancel()
        if self._group is not None:
            for name, address in wanted - self._monitors.keys():
                self._monitors[name, address] = self._group.create_task(self._monitor(name, address))

    async def _monitor(self, name: str, address: str) -> None:
        topology = self._topologies[name]

        def on_report(report: NodeReport | None) -> None:
            topology.node_said(address, report)
            # A new master must not wait; all else may wait for the next time.
            if self._sources[name].sentinel is None or topology.is_fenced:
                self._changed(name)

        url, _ = self._locate[name](address)
        await NodeMonitor(url, self._timeout, on_report).run(
            lambda: PERIOD_OF_FAILOVER if topology.is_fenced else self._period()
        )


def _topology(source: ShardSource) -> ShardTopology:
    topology = ShardTopology(source.name, known=source.members, is_watched=source.sentinel is not None)
    topology.set_members(NodeEndpoint.from_url(url).address for url in source.urls)
    if source.is_fixed:
        topology.appoint(topology.members[0])
    return topology


def _locator(source: ShardSource) -> Locate:
    """URLs of addresses, for nodes that were not started here."""
    by_address = {NodeEndpoint.from_url(url).address: url for url in source.urls}

    def locate(address: str) -> tuple[str, int | None]:
        if source.sentinel is not None:
            host, _, port = address.rpartition(":")
            return source.sentinel.node_url(host.strip("[]"), int(port)), None
        return by_address[address], None

    return locate
