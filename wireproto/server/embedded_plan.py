"""What is to be started as embedded nodes: their names, their configurations, their ports and their folder."""

from __future__ import annotations

import os
import secrets
import socket
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

MAX_SOCKET_PATH: Final = 103
"""Bytes. `sun_path` has 104 with its NUL on macOS, 108 on Linux (unix(7))."""


@dataclass(frozen=True, slots=True)
class NodePlan:
    """A node to start: what it is, and the lines of its configuration, which may hold a password."""

    name: str
    shard: str
    role: Literal["master", "replica"]
    lines: list[str] = field(repr=False)


def plan_nodes(shards: int, replicas: int, memory: str, eviction: str, password: str | None) -> list[NodePlan]:
    """The nodes to start. Replication needs TCP; without replicas no node has a port."""
    common = [
        "unixsocketperm 600",
        'save ""',
        "appendonly no",
        "daemonize no",
        "loglevel warning",
        f"maxmemory {memory}",
        f"maxmemory-policy {eviction}",
    ]
    if not replicas:
        names = [f"shard-{number}" for number in range(1, shards + 1)]
        return [NodePlan(name, name, "master", [*common, "port 0"]) for name in names]
    common += [
        "bind 127.0.0.1",
        f"requirepass {password}",
        f"masterauth {password}",
        "repl-diskless-sync yes",
        "repl-diskless-sync-delay 0",
        "repl-diskless-load on-empty-db",
    ]
    ports = _free_ports(shards * (replicas + 1))
    plans = []
    for number in range(1, shards + 1):
        shard, master_port = f"shard-{number}", ports.pop()
        plans.append(NodePlan(shard, shard, "master", [*common, f"port {master_port}"]))
        plans += [
            NodePlan(
                f"{shard}-replica-{replica}",
                shard,
                "replica",
                [*common, f"port {ports.pop()}", f"replicaof 127.0.0.1 {master_port}"],
            )
            for replica in range(1, replicas + 1)
        ]
    return plans


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago. Held together, so that no two are the same. Raises OSError."""
    held = []
    try:
        for _ in range(count):
            holder = socket.socket()
            held.append(holder)
            holder.bind(("127.0.0.1", 0))
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
