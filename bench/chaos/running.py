"""A server as the harness needs it: a child process whose nodes can be found, looked into, stopped and killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import psutil
import redis

from bench.processes import running, wait_for, written
from bench.targets import REPOSITORY, StatsError, read_stats, temporary_folder
from wireproto import Client

Node = dict[str, Any]
"""What STATS tells of a node: `shard`, `role`, `address`, `state`, `read`, and of an embedded one `pid`."""
NODE_TIMEOUT: Final = 1.0
SYNC_TIMEOUT: Final = 1.0
"""Seconds, what the server is given: both are what it does by itself."""
MOST_TAGS: Final = 10_000
_LOOK: Final = 0.05


class ChaosError(RuntimeError):
    """An experiment could not be done: what it waited for has not happened."""


class ChaosServer:
    """A running server, reached without TLS: this is about nodes. Its log is read from the file that it goes to."""

    def __init__(self, folder: Path) -> None:
        banner = written(folder, "wireproto")
        self._log = folder / "wireproto.log"
        self._plain_port = int(_found(r"listening on \S+:(\d+) \(plain", banner))
        self._api_key = _found(r'auth "([^"]+)"', banner)

    @property
    def url(self) -> str:
        """For the clients."""
        return f"wireproto+plain://{self._api_key}@127.0.0.1:{self._plain_port}"

    def log(self) -> str:
        """What it has written to its standard error."""
        return self._log.read_text(errors="replace")

    def stats(self) -> dict[str, Any]:
        """What STATS answers. Raises ChaosError with the server's log when it does not."""
        try:
            return read_stats(self._plain_port, self._api_key)
        except (OSError, StatsError) as error:
            raise ChaosError(f"{error}; the server's log ends with\n{self.log()[-4000:]}") from error

    def nodes(self, shard: str) -> list[Node]:
        """A shard's nodes, the master first."""
        return [node for node in self.stats()["nodes"] if node["shard"] == shard]

    def master(self, shard: str) -> Node:
        """Who is written to."""
        return self.nodes(shard)[0]

    def failovers(self, shard: str) -> int:
        """How often a shard has had another master since the start."""
        return next(int(entry["failovers"]) for entry in self.stats()["shards"] if entry["shard"] == shard)

    def is_whole(self) -> bool:
        """Whether every node is up, and every replica may be read."""
        return all(node["state"] == "up" and node.get("read", True) for node in self.stats()["nodes"])

    def at(self, node: Node) -> redis.Redis:
        """A client straight to an embedded node. Raises ChaosError when its configuration is not found."""
        port = node["address"].rpartition(":")[2]
        for path in Path(psutil.Process(node["pid"]).cwd()).glob("*.conf"):
            text = path.read_text()
            if re.search(rf"^port {port}$", text, re.MULTILINE):
                password = _found(r"(?m)^requirepass \"?([^\"\s]+)", text)
                return redis.Redis(port=int(port), password=password, socket_timeout=10)
        raise ChaosError(f"no configuration has port {port}")

    def hash_tag(self, shard: str) -> str:
        """A beginning of keys, `{...}`, that has them all belong to this shard. Raises ChaosError."""
        with Client(self.url) as client:
            for number in range(MOST_TAGS):
                if client.where(f"{{{number}}}").node == shard:
                    return f"{{{number}}}"
        raise ChaosError(f"no key was found that belongs to {shard}")


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise ChaosError(f"{pattern} is not in what was written")
    return match[1]


@contextlib.contextmanager
def chaos_server(*flags: str, nodes: str = "") -> Iterator[ChaosServer]:
    """A server in one process with `flags`, before embedded nodes or those of `nodes`, as WIREPROTO_NODES takes them.

    Raises StartError.
    """
    with temporary_folder() as folder:
        command: list[str | Path] = [sys.executable, REPOSITORY / "server.py", "--port", "0", "--plain-port", "0"]
        command += ["--workers", "1", "--node-timeout", f"{NODE_TIMEOUT}s", "--sync-timeout", f"{SYNC_TIMEOUT}s"]
        command += ["--certs-folder", folder / "certs", "--state-folder", folder / "state", *flags]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WIREPROTO_")}
        if nodes:  # not by flags, which every user of the machine can read: there are passwords in them
            environment["WIREPROTO_NODES"] = nodes
        with running(command, folder, "wireproto", environment) as process:
            wait_for(process, folder, "wireproto", lambda: "\nready" in written(folder, "wireproto"))
            yield ChaosServer(folder)


async def until(condition: Callable[[], bool], what: str, within: float = 60.0) -> float:
    """Wait until something is so, asked in a thread; the seconds that it took. Raises ChaosError."""
    started = time.monotonic()
    while not await asyncio.to_thread(condition):
        if time.monotonic() - started > within:
            raise ChaosError(f"after {within:.0f} s still not: {what}")
        await asyncio.sleep(_LOOK)
    return time.monotonic() - started
