"""Real nodes on ports of their own, each behind a fault proxy, and a server in front of them."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.chaos.fault_proxy import FaultProxy
from bench.processes import accepts, end_with_parent, free_port
from bench.targets import Target, temporary_folder, wireproto_server
from wireproto.server.embedded import find_program

START_TIMEOUT = 10.0


DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
"""Options of a node that still has all that it has answered when it is started again."""


class TcpNode:
    """A node process, which keeps its port when it is started again, and nothing else unless `options` say so."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        self._folder = folder / f"node-{self.port}"
        self._folder.mkdir()
        self._options = options
        self.begin()
        self.wait_until_listening()

    def begin(self) -> None:
        """Start the process, and do not wait for it."""
        command = [find_program(None), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.process = subprocess.Popen(
            [*command, "--dir", str(self._folder), *self._options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=end_with_parent,
        )

    def wait_until_listening(self) -> float:
        """The moment, by the monotonic clock, when it was first seen to accept. Raises TimeoutError."""
        deadline = time.monotonic() + START_TIMEOUT
        while not accepts(("127.0.0.1", self.port)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing listens on port {self.port}")
            time.sleep(0.002)
        return time.monotonic()

    def kill(self) -> None:
        """End the process at once, and whatever it held."""
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True)
class Cluster:
    """A server before nodes; shard `node-N` is `nodes[N]`, behind `proxies[N]`."""

    target: Target
    nodes: list[TcpNode]
    proxies: list[FaultProxy]


@contextlib.contextmanager
def proxied_cluster(count: int, *flags: str) -> Iterator[Cluster]:
    """So many nodes and a server with these flags, ended with the block."""
    with temporary_folder() as folder, contextlib.ExitStack() as stack:
        nodes, proxies = [], []
        for _ in range(count):
            nodes.append(TcpNode(folder))
            stack.callback(nodes[-1].kill)
            proxies.append(stack.enter_context(FaultProxy(("127.0.0.1", nodes[-1].port))))
        urls = [f"node-{number}=redis://127.0.0.1:{proxy.port}" for number, proxy in enumerate(proxies)]
        words = [word for url in urls for word in ("--node", url)]
        target = stack.enter_context(wireproto_server(*words, *flags))
        yield Cluster(target, nodes, proxies)
