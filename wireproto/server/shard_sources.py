"""Where the shards come from: nodes that the settings name, or nodes that are started here and end with the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from wireproto.errors import ConfigurationError
from wireproto.server.embedded import EmbeddedNode, EmbeddedNodes, find_program
from wireproto.server.sentinel_address import SentinelAddress
from wireproto.server.topology_watch import ShardSource, TopologyWatch
from wireproto.settings import Settings, ShardAddress


@asynccontextmanager
async def shards_of(settings: Settings) -> AsyncIterator[TopologyWatch]:
    """The watch over all shards; nodes that are started here run as long as the context. Raises ConfigurationError."""
    if settings.nodes:
        yield TopologyWatch([_named(shard) for shard in settings.nodes], settings)
        return
    _check_sync(settings)
    started = _StartedNodes()
    started.nodes = await EmbeddedNodes.start(
        shards=settings.shards,
        replicas=settings.replicas,
        sentinels=settings.sentinel_count,
        down_after=settings.sentinel_down_after,
        program=find_program(settings.redis_server),
        memory=settings.node_memory,
        eviction=settings.eviction,
        master_of=started.master_of,
        on_change=started.changed,
    )
    try:
        started.watch = TopologyWatch(started.sources(), settings)
        yield started.watch
    finally:
        await started.nodes.stop()


def _check_sync(settings: Settings) -> None:
    """Refuse to wait for replicas that are not there. Raises ConfigurationError."""
    wanted_by = {"sync": settings.sync} | {f"namespace_sync: {name}": count for name, count in settings.namespace_sync}
    for name, wanted in wanted_by.items():
        if wanted > settings.replicas:
            raise ConfigurationError(f"{name}: {wanted} replicas must have each write, {settings.replicas} are started")


def _named(shard: ShardAddress) -> ShardSource:
    if shard.has_sentinels:
        return ShardSource(shard.name, shard.weight, sentinel=SentinelAddress.from_url(shard.url))
    return ShardSource(shard.name, shard.weight, urls=shard.node_urls)


class _StartedNodes:
    """Nodes that are started here, and the watch over them: each asks the other."""

    def __init__(self) -> None:
        self.nodes: EmbeddedNodes
        self.watch: TopologyWatch | None = None

    def sources(self) -> list[ShardSource]:
        """The shards of these nodes."""
        by_shard: dict[str, list[EmbeddedNode]] = {}
        for node in self.nodes.nodes:
            by_shard.setdefault(node.shard, []).append(node)
        return [self._source(name, nodes) for name, nodes in by_shard.items()]

    def _source(self, name: str, nodes: Sequence[EmbeddedNode]) -> ShardSource:
        if not self.nodes.sentinels:
            return ShardSource(name, 1.0, urls=tuple(node.url for node in nodes), locate=self._locate)
        addresses = tuple(_address(node) for node in nodes)
        return ShardSource(name, 1.0, sentinel=self._sentinels(name), members=addresses, locate=self._locate)

    def _sentinels(self, shard: str) -> SentinelAddress:
        return SentinelAddress(
            sentinels=tuple((sentinel.host, sentinel.port) for sentinel in self.nodes.sentinels),
            master_name=shard,
            username=None,
            password=self.nodes.sentinel_password,
            tls=False,
            node_username=None,
            node_password=None,
            node_tls=False,
            database=0,
            ssl_options=(),
        )

    def _locate(self, address: str) -> tuple[str, int | None]:
        """Sentinels know a node by its port; its unix socket is quicker."""
        node = self._by_address().get(address)
        return (f"redis://{address}", None) if node is None else (node.url, node.pid)

    def _by_address(self) -> dict[str, EmbeddedNode]:
        return {name: node for node in self.nodes.nodes for name in (_address(node), str(node.socket))}

    def master_of(self, shard: str) -> str | None:
        """The name of the node that is the master of a shard, as far as is known."""
        address = None if self.watch is None else self.watch.master_of(shard)
        node = None if address is None else self._by_address().get(address)
        return None if node is None else node.name

    def changed(self) -> None:
        """A node has been started again: it is another process."""
        if self.watch is not None:
            self.watch.tell_all()


def _address(node: EmbeddedNode) -> str:
    return str(node.socket) if node.port is None else f"127.0.0.1:{node.port}"
