"""A master, replicas and Sentinels on hosts of their own, as an operator would set them up."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import redis
from redis.exceptions import RedisError

from bench.chaos.namespaces import Host, Network
from bench.chaos.running import ChaosServer, chaos_server, until
from bench.targets import temporary_folder
from wireproto.server.embedded import find_program

SHARD: Final = "s"
REPLICAS: Final = 3
SENTINELS: Final = 3
NODE_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
DOWN_AFTER: Final = 1000
FAILOVER_TIMEOUT: Final = 3000
"""Milliseconds. By default it is three minutes, and an election that fails is repeated after twice this."""
_ANSWER: Final = 5.0


class SentinelCluster:
    """The processes, which are ended with their network. Their folder must last as long."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network = network
        self._folder = folder
        self._program = find_program(None)
        self._password, self._sentinel_password = secrets.token_hex(16), secrets.token_hex(16)
        self.nodes = [network.host(f"node-{number}") for number in range(1 + REPLICAS)]
        self.sentinels = [network.host(f"sentinel-{number}") for number in range(SENTINELS)]
        for host in self.nodes:
            self._start(host, self._node_lines(host))
        for host in self.sentinels:
            self._start(host, self._sentinel_lines(host), "--sentinel")

    @property
    def shard(self) -> str:
        """What the server is told of it. There are passwords in it."""
        sentinels = ",".join(f"{host.address}:{SENTINEL_PORT}" for host in self.sentinels)
        return f"{SHARD}=sentinel://:{self._sentinel_password}@{sentinels}/{SHARD}?password={self._password}"

    def _start(self, host: Host, lines: list[str], *flags: str) -> None:
        folder = self._folder / host.name
        folder.mkdir()
        path = folder / "node.conf"
        path.write_text("\n".join([*lines, f"dir {folder}", ""]))
        with (folder / "log").open("wb") as log:
            host.run([self._program, path, *flags], stdout=log, stderr=subprocess.STDOUT, cwd=folder)

    def _node_lines(self, host: Host) -> list[str]:
        lines = [f"bind {host.address}", f"port {NODE_PORT}", 'save ""', "appendonly no"]
        lines += [f"requirepass {self._password}", f"masterauth {self._password}", "repl-diskless-sync-delay 0"]
        return lines if host is self.nodes[0] else [*lines, f"replicaof {self.nodes[0].address} {NODE_PORT}"]

    def _sentinel_lines(self, host: Host) -> list[str]:
        return [
            f"bind {host.address}",
            f"port {SENTINEL_PORT}",
            f"requirepass {self._sentinel_password}",
            f"sentinel sentinel-pass {self._sentinel_password}",
            f"sentinel monitor {SHARD} {self.nodes[0].address} {NODE_PORT} {SENTINELS // 2 + 1}",
            f"sentinel auth-pass {SHARD} {self._password}",
            f"sentinel down-after-milliseconds {SHARD} {DOWN_AFTER}",
            f"sentinel failover-timeout {SHARD} {FAILOVER_TIMEOUT}",
            f"sentinel parallel-syncs {SHARD} {REPLICAS}",
        ]

    def log(self, host: Host) -> str:
        """What a process has written."""
        return (self._folder / host.name / "log").read_text(errors="replace")

    # -- looking into it

    def at(self, host: Host) -> redis.Redis:
        """A client of a node, from where this process is."""
        return redis.Redis(host=host.address, port=NODE_PORT, password=self._password, socket_timeout=_ANSWER)

    def ask_sentinel(self, host: Host, *words: str) -> Any:
        """What a Sentinel answers, asked on its own host, also when that is cut off. Raises RedisError."""
        # The connection is made within the block, and kept for the one question.
        with (
            host.entered(),
            redis.Redis(
                host=host.address, port=SENTINEL_PORT, password=self._sentinel_password, socket_timeout=_ANSWER
            ) as client,
        ):
            return client.execute_command("SENTINEL", *words)

    def host_of(self, address: str) -> Host:
        """The host of a node's address."""
        return next(host for host in self.nodes if host.address == address.rpartition(":")[0])

    def others(self, master: Host) -> list[Host]:
        """All hosts but the master's."""
        return [host for host in (*self.nodes, *self.sentinels) if host is not master]

    def is_ready(self) -> bool:
        """Whether every Sentinel knows the others and all replicas, and has none of them for down."""
        with suppress(RedisError, OSError):
            return all(self._knows_all(host) for host in self.sentinels)
        return False

    def _knows_all(self, host: Host) -> bool:
        # Redis-py makes dicts of some of these answers and not of others, by its version.
        master = _pairs(self.ask_sentinel(host, "MASTER", SHARD))
        replicas = [_pairs(entry) for entry in self.ask_sentinel(host, "REPLICAS", SHARD)]
        usable = [one for one in replicas if one["flags"] == "slave"]
        counts = (len(usable), int(master["num-slaves"]), int(master["num-other-sentinels"]))
        return master["flags"] == "master" and counts == (REPLICAS, REPLICAS, SENTINELS - 1)


def _pairs(answer: Any) -> dict[str, str]:
    if isinstance(answer, dict):
        return {_text(name): _text(value) for name, value in answer.items()}
    words = [_text(word) for word in answer]
    return dict(zip(words[::2], words[1::2], strict=True))


def _text(word: Any) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)


@contextmanager
def sentinel_cluster(network: Network) -> Iterator[SentinelCluster]:
    """A cluster in a network, which must be closed after the block: its processes write into a folder."""
    with temporary_folder() as folder:
        cluster = SentinelCluster(network, folder)
        try:
            yield cluster
        finally:
            for host in (*cluster.nodes, *cluster.sentinels):
                host.end_processes()


@contextmanager
def server_before(cluster: SentinelCluster) -> Iterator[ChaosServer]:
    """A server in this namespace that knows the Sentinels alone. Raises StartError."""
    with chaos_server(nodes=cluster.shard) as server:
        yield server


async def until_whole(server: ChaosServer, cluster: SentinelCluster) -> float:
    """Wait until the server may read all replicas, and the Sentinels could promote any. Seconds; raises ChaosError."""

    def is_whole() -> bool:
        return len(server.nodes(SHARD)) == 1 + REPLICAS and server.is_whole() and cluster.is_ready()

    return await until(is_whole, "all nodes are replicas again", within=90.0)
