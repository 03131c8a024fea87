"""What is to be started as embedded nodes: their names, their configurations, their ports and their folder."""

from __future__ import annotations

import os
import secrets
import socket
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from wireproto.errors import ConfigurationError

HOST: Final = "127.0.0.1"
"""Where nodes with replicas, and Sentinels, listen."""
MAX_SOCKET_PATH: Final = 103
"""Bytes. `sun_path` has 104 with its NUL on macOS, 108 on Linux (unix(7))."""
FAILOVER_TIMEOUT: Final = 2000
"""Milliseconds, Sentinel's `failover-timeout`. A new attempt comes after twice this and up to one second
(`sentinelStartFailoverIfNeeded`), so it bounds what a split election costs. It must be well above one second: a
promotion that Sentinel has not seen within it is given up (`sentinelFailoverWaitPromotion`), and it looks once a
second."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted. `memory` and `eviction` are Redis's own words.

    `down_after` is in seconds: for so long must a node be silent before a Sentinel takes it for down.
    """

    shards: int
    replicas: int
    memory: str
    eviction: str
    sentinels: int = 0
    down_after: float = 1.0


@dataclass(frozen=True, slots=True)
class NodePlan:
    """A node to start: what it is, and the lines of its configuration, which may hold a password."""

    name: str
    shard: str
    role: Literal["master", "replica"]
    port: int | None
    lines: list[str] = field(repr=False)

    def configuration(self, master: NodePlan | None) -> list[str]:
        """The lines of its configuration as a replica of another node, or as a master."""
        return self.lines if master is None else [*self.lines, f"replicaof {HOST} {master.port}"]


@dataclass(frozen=True, slots=True)
class SentinelPlan:
    """A Sentinel to start."""

    name: str
    port: int
    lines: list[str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is to be started. Nodes with replicas, and Sentinels, have a password each for all of their kind."""

    nodes: dict[str, NodePlan]
    sentinels: dict[str, SentinelPlan]
    password: str | None = field(repr=False)
    sentinel_password: str | None = field(repr=False)

    def master_of(self, shard: str) -> NodePlan:
        """The node that is a shard's master at the start. It bears the shard's name."""
        return self.nodes[shard]

    def configurations(self) -> dict[str, list[str]]:
        """What the nodes are started with: masters first, as a replica that finds no master waits for a second."""
        return {
            plan.name: plan.configuration(None if plan.role == "master" else self.master_of(plan.shard))
            for plan in sorted(self.nodes.values(), key=lambda plan: plan.role)
        }


def make_plan(order: Order) -> Plan:
    """Names, passwords and ports. Replication needs TCP; without replicas no node has a port.

    Raises OSError, and ConfigurationError for Sentinels that would have nothing to promote.
    """
    if order.sentinels and not order.replicas:
        raise ConfigurationError("Sentinels are of use only with replicas")
    password = secrets.token_hex(32) if order.replicas else None
    ports = _free_ports(order.shards * (order.replicas + 1) + order.sentinels if order.replicas else 0)
    nodes = _plan_nodes(order, password, ports)
    sentinel_password = secrets.token_hex(32) if order.sentinels else None
    sentinels = _plan_sentinels(order, list(nodes.values()), password, sentinel_password, ports)
    return Plan(nodes, sentinels, password, sentinel_password)


def _plan_nodes(order: Order, password: str | None, ports: list[int]) -> dict[str, NodePlan]:
    """The nodes to start. Takes their ports from `ports`."""
    common = [
        "unixsocketperm 600",
        'save ""',
        "appendonly no",
        "daemonize no",
        "loglevel warning",
        f"maxmemory {order.memory}",
        f"maxmemory-policy {order.eviction}",
        *(_replication(password) if order.replicas else []),
    ]
    plans = {}
    for number in range(1, order.shards + 1):
        shard = f"shard-{number}"
        for name in (shard, *(f"{shard}-replica-{replica}" for replica in range(1, order.replicas + 1))):
            port = ports.pop() if order.replicas else None
            role: Literal["master", "replica"] = "master" if name == shard else "replica"
            plans[name] = NodePlan(name, shard, role, port, [*common, f"port {port or 0}"])
    return plans


def _replication(password: str | None) -> list[str]:
    """How nodes that have, or are, replicas replicate (redis.conf says what each line does)."""
    return [
        f"bind {HOST}",
        f"requirepass {password}",
        f"masterauth {password}",
        # Nothing waits for other replicas to come, and nothing is written to a disk.
        "repl-diskless-sync yes",
        "repl-diskless-sync-delay 0",
        "repl-diskless-load on-empty-db",
        # `repl-backlog-size` stays as it is, for it counts as memory of the node: with 1 MB (Redis) and 10 MB (Valkey)
        # the other replicas went on without a full copy when the master was killed amid writes of 30 MB/s.
        # A replica whose master hangs gives up after `repl-timeout`; it must be longer than a few pings. The defaults
        # are 10 and 60 s, in which a node that was started again as the replica of one that hangs does nothing else.
        "repl-ping-replica-period 1",
        "repl-timeout 10",
    ]


def _plan_sentinels(
    order: Order, nodes: list[NodePlan], password: str | None, sentinel_password: str | None, ports: list[int]
) -> dict[str, SentinelPlan]:
    """Sentinels that know all nodes and each other from the start. Takes their ports from `ports`.

    What they would have to find out (`known-…`, which they write into their files themselves) takes two seconds for
    each other, and ten for replicas that were not attached when they first asked: until then nothing would be promoted.
    """
    known = {f"sentinel-{number}": (ports.pop(), secrets.token_hex(20)) for number in range(1, order.sentinels + 1)}
    plans = {}
    for name, (port, identity) in known.items():
        others = [f"{HOST} {other[0]} {other[1]}" for other in known.values() if other[1] != identity]
        lines = [
            "unixsocketperm 600",
            "daemonize no",
            f"bind {HOST}",
            f"port {port}",
            f"requirepass {sentinel_password}",
            f"sentinel sentinel-pass {sentinel_password}",
            f"sentinel myid {identity}",
            "sentinel deny-scripts-reconfig yes",
        ]
        for master in nodes:
            if master.role == "master":
                lines += _monitored(order, master, nodes, password)
                lines += [f"sentinel known-sentinel {master.shard} {other}" for other in others]
        plans[name] = SentinelPlan(name, port, lines)
    return plans


def _monitored(order: Order, master: NodePlan, nodes: list[NodePlan], password: str | None) -> list[str]:
    """How every Sentinel looks after a shard."""
    shard = master.shard
    replicas = [node for node in nodes if node.shard == shard and node is not master]
    return [
        f"sentinel monitor {shard} {HOST} {master.port} {order.sentinels // 2 + 1}",
        f"sentinel auth-pass {shard} {password}",
        f"sentinel down-after-milliseconds {shard} {round(order.down_after * 1000)}",
        f"sentinel failover-timeout {shard} {FAILOVER_TIMEOUT}",
        f"sentinel parallel-syncs {shard} {len(replicas)}",
        *(f"sentinel known-replica {shard} {HOST} {replica.port}" for replica in replicas),
    ]


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago. Held together, so that no two are the same. Raises OSError."""
    held = []
    try:
        for _ in range(count):
            holder = socket.socket()
            held.append(holder)
            holder.bind((HOST, 0))
        return [holder.getsockname()[1] for holder in held]
    finally:
        for holder in held:
            holder.close()


def new_folder(longest_name: int) -> Path:
    """The path of a folder that is not there yet, short enough for sockets in it. Raises OSError."""
    name = f"wireproto-{secrets.token_hex(4)}"
    chosen = Path(tempfile.gettempdir(), name)
    if len(os.fsencode(chosen)) + len("/.sock") + longest_name <= MAX_SOCKET_PATH:
        return chosen
    return Path("/tmp", name)  # noqa: S108 - the guard makes it, private, and stops if it is there already
