"""The process above the workers: it starts them, replaces those that end, and drains them all.

It holds the listening sockets for as long as the server runs, serves nobody itself, and does so little that little can
go wrong with it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from wireproto.core.keyring import NO_KEYS, Keyring
from wireproto.core.quota_table import PlacedQuota
from wireproto.core.topology import ShardView
from wireproto.errors import ConfigurationError
from wireproto.server.background import either
from wireproto.server.router import Shard
from wireproto.server.serving import ListeningSockets
from wireproto.server.shared_counters import SharedCounters
from wireproto.server.shared_quotas import SharedQuotas
from wireproto.server.state_folder import State
from wireproto.server.statistics import ROOM, ROOM_PER_SHARD, ServerIdentity
from wireproto.server.tls_material import TlsMaterial
from wireproto.server.worker_messages import Descriptors, Message, Order, keys_to_json, quotas_to_json
from wireproto.server.worker_process import WorkerProcess
from wireproto.settings import Settings

QUICK_DEATH: Final = 5.0
"""Seconds: a worker that does not live longer may be one that cannot live."""
LONGEST_PAUSE: Final = 30.0
SPAWN_PAUSE: Final = 1.0
"""Seconds until a process is started again that the system refused: it may lack memory or descriptors."""
KILL_MARGIN: Final = 2.0
"""Seconds after `drain_timeout` in which a worker that drains is to end by itself."""

SEALING_DELAY: Final = 1.0
"""Seconds between a new keyring's opening and its sealing: by then every worker that does not hang has heard of it."""

log = logging.getLogger("wireproto.supervisor")


def core_count() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def pause_before_restart(quick_deaths: int) -> float:
    """Seconds to wait after so many quick deaths in a row. Two may be an accident, and cost no time."""
    return 0.0 if quick_deaths < 3 else min(LONGEST_PAUSE, 2.0 ** (quick_deaths - 3))


class Supervisor:
    """The workers of one server."""

    def __init__(
        self, settings: Settings, tls: TlsMaterial, sockets: ListeningSockets, server: ServerIdentity, count: int
    ) -> None:
        shards = len(settings.nodes) or settings.shards
        self._counters = SharedCounters.create(count, ROOM + ROOM_PER_SHARD * shards)
        self._quotas = SharedQuotas(count)
        self.on_refused: Callable[[str], None] = lambda shard: None
        """Called with the name of a shard whose master a worker finds to be none."""
        self._sockets = sockets
        self._order = Order(
            settings=settings,
            shards=(),
            views=(),
            tls=tls,
            descriptors=Descriptors(
                tls=sockets.tls.fileno(),
                plain=None if sockets.plain is None else sockets.plain.fileno(),
                counters=self._counters.descriptor,
                slots=count,
                capacity=self._counters.capacity,
                quotas=self._quotas.descriptor,
            ),
            server=server,
            slot=0,
        )
        self._state: State
        self._placed: dict[str, PlacedQuota] = {}
        self._keyring = NO_KEYS
        self._sealing: asyncio.TimerHandle | None = None
        """The moment from which on everything is sealed with the newest keys."""
        self._keys: Message = {}
        self._workers: list[WorkerProcess] = []
        self._stopping = asyncio.Event()

    @property
    def pids(self) -> list[int]:
        """The processes of the workers."""
        return [worker.pid for worker in self._workers]

    # -- the start

    @asynccontextmanager
    async def spawned(self) -> AsyncIterator[None]:
        """Start the processes, which are ended with the context. Raises ConfigurationError."""
        try:
            await self._spawn_all()
            yield
        finally:
            for worker in self._workers:
                worker.kill()
            for worker in self._workers:
                await worker.ended()

    async def _spawn_all(self) -> None:
        try:
            for _ in range(self._counters.slots):
                self._workers.append(await self._spawn())
        except OSError as error:
            raise ConfigurationError(f"workers cannot be started: {error.strerror or error}") from error

    async def _spawn(self) -> WorkerProcess:
        return await WorkerProcess.spawn(self._order.descriptors.to_inherit(), lambda shard: self.on_refused(shard))

    async def connect(self, shards: Sequence[Shard], views: Sequence[ShardView]) -> list[str]:
        """Have all workers connect to the nodes; the names of the shards that cannot be reached.

        Raises ConfigurationError.
        """
        self._order = replace(self._order, shards=tuple(shards), views=tuple(views))
        for slot, worker in enumerate(self._workers):
            worker.tell({"order": replace(self._order, slot=slot).to_json()})
        down: set[str] = set()
        for report in await self._all_report("connected"):
            down.update(report["connected"])
        return sorted(down)

    async def begin(self, state: State, keyring: Keyring = NO_KEYS) -> None:
        """Have all workers serve. Raises ConfigurationError."""
        self._keyring = keyring
        self.use_keys(state)
        await self._all_report("ready")

    async def _all_report(self, what: str) -> list[Message]:
        """What every worker reports. Raises ConfigurationError if one does not: a start is whole or not at all."""
        reports = await asyncio.gather(*(worker.hear(what) for worker in self._workers))
        for number, (worker, report) in enumerate(zip(self._workers, reports, strict=True), 1):
            if report is None:
                end = await worker.ended()
                raise ConfigurationError(worker.failure or f"worker {number} {end} before it was ready")
        return [report for report in reports if report is not None]

    # -- while it serves

    async def run(self, shutdown: asyncio.Event) -> None:
        """Replace workers that end until `shutdown` is set, then drain them all."""
        keepers = [asyncio.create_task(self._keep(slot)) for slot in range(self._counters.slots)]
        # A keeper that ends before is a bug; it is raised when the workers have been drained.
        await either(asyncio.wait(keepers, return_when=asyncio.FIRST_COMPLETED), shutdown.wait())
        log.info("draining")
        self._drain()
        late = (await asyncio.wait(keepers, timeout=self._order.settings.drain_timeout + KILL_MARGIN))[1]
        if late:
            log.error("workers that have not drained in time and are killed: %d", len(late))
            for worker in self._workers:
                worker.kill()
        await asyncio.gather(*keepers)

    def update(self, views: Sequence[ShardView]) -> None:
        """Have all workers follow the shards, those to come too."""
        newest = {view.name: view for view in (*self._order.views, *views)}
        self._order = replace(self._order, views=tuple(newest.values()))
        message = {"views": [view.to_json() for view in views]}
        for worker in self._workers:
            worker.tell_latest(message)

    def use_tls(self, tls: TlsMaterial) -> None:
        """Have all workers shake hands with this certificate from now on, those to come too."""
        self._order = replace(self._order, tls=tls)
        self._tell_all({"tls": tls.to_json()})

    def use_keys(self, state: State) -> None:
        """Have all workers let in whom this state knows, and nobody else, those to come too.

        Raises ConfigurationError, and then changes nothing, if too many clients have a quota.
        """
        self._placed = self._quotas.assign(state.records)
        self._state = state
        self._tell_keys()

    def use_keyring(self, keyring: Keyring) -> None:
        """Have all workers open and then also seal with these keys, those to come too.

        Not at once: no worker is to read what another has sealed with a key that it does not know yet.
        """
        if self._sealing is not None:
            self._sealing.cancel()
        self._keyring = self._keyring.opening_also(keyring)
        self._tell_keys()
        self._sealing = asyncio.get_running_loop().call_later(SEALING_DELAY, self._seal_with, keyring)

    def _seal_with(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._tell_keys()

    def _tell_keys(self) -> None:
        self._keys = {**keys_to_json(self._state, self._keyring), "quotas": quotas_to_json(self._placed)}
        self._tell_all({"keys": self._keys})

    def _tell_all(self, message: Message) -> None:
        for worker in self._workers:
            worker.tell(message)

    def _drain(self) -> None:
        """Have all workers drain. Nobody is to come in any more, so no process may keep a listening socket open."""
        self._stopping.set()
        self._sockets.close()
        self._tell_all({"drain": True})

    async def _keep(self, slot: int) -> None:
        """Keep a worker in this slot until all are drained."""
        restarts = quick_deaths = 0
        while True:
            worker = self._workers[slot]
            await worker.listen()
            end = await worker.ended()
            self._counters.retire(slot)
            self._quotas.retire(slot)
            if self._stopping.is_set():
                return
            quick_deaths = quick_deaths + 1 if worker.age < QUICK_DEATH else 0
            pause = pause_before_restart(quick_deaths)
            when = f"in {pause:g} s, as it keeps ending" if pause else "now"
            log.warning("worker %d (process %d) %s; another is started %s", slot + 1, worker.pid, end, when)
            await self._sleep(pause)
            restarts += 1
            await self._replace(slot, restarts)

    async def _replace(self, slot: int, restarts: int) -> None:
        """Start a worker in this slot, unless all are to be drained, and wait until it is ready or has ended."""
        worker: WorkerProcess | None = None
        while worker is None:
            if self._stopping.is_set():
                return
            try:
                worker = await self._spawn()
            except OSError as error:
                log.error("worker %d cannot be started: %s", slot + 1, error.strerror or error)
                await self._sleep(SPAWN_PAUSE)
        self._workers[slot] = worker
        if self._stopping.is_set():
            worker.kill()
            return
        worker.tell({"order": replace(self._order, slot=slot, restarts=restarts).to_json()})
        worker.tell({"keys": self._keys})
        if await worker.hear("connected") is not None and await worker.hear("ready") is not None:
            log.info("worker %d (process %d) is ready", slot + 1, worker.pid)

    async def _sleep(self, seconds: float) -> None:
        """Wait, but not when all are to be drained."""
        if seconds:
            await either(self._stopping.wait(), asyncio.sleep(seconds))
