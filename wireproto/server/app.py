"""The server put together: certificates, sockets, nodes, state; then it serves by itself, or has workers do it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from wireproto.core.tokens import TokenAuthority
from wireproto.server.background import either, running
from wireproto.server.certificate_care import certificate_files, keep_certificate_fresh
from wireproto.server.certificates import CertificateFiles, server_context
from wireproto.server.greeting import greeting
from wireproto.server.router import Shard
from wireproto.server.serving import ListeningSockets, ServingProcess, Setup, connected
from wireproto.server.shard_sources import shards_of
from wireproto.server.shared_counters import SharedCounters, WorkerSlot
from wireproto.server.shared_quotas import SharedQuotas
from wireproto.server.state_folder import State, load_state
from wireproto.server.statistics import ServerIdentity
from wireproto.server.supervisor import Supervisor, core_count
from wireproto.settings import Settings


async def serve(settings: Settings, announce: Callable[[str], None], shutdown: asyncio.Event) -> None:
    """Serve until `shutdown` is set, then drain.

    `announce` is given the lines that a person is to read at the start. Raises ConfigurationError if it cannot start.
    """
    server = ServerIdentity(os.getpid(), time.monotonic())
    files = certificate_files(settings)
    # Loaded here also for the workers, so that what is wrong with it is told before anything is started.
    tls = server_context(files, settings.tls_minimum)
    with closing(ListeningSockets.bind(settings)) as sockets:
        start = _Start(settings, files, sockets, server, announce)
        workers = settings.workers or core_count()
        if workers == 1:
            slot = WorkerSlot(SharedCounters.create(slots=1, capacity=0), 0)
            quotas = SharedQuotas(workers=1)
            await _serve_alone(start, Setup(settings, sockets, tls, slot, quotas.table, server), quotas, shutdown)
        else:
            await _serve_with_workers(start, workers, shutdown)


@dataclass(frozen=True, slots=True)
class _Start:
    """What is there before the nodes are."""

    settings: Settings
    files: CertificateFiles
    sockets: ListeningSockets
    server: ServerIdentity
    announce: Callable[[str], None]

    def load_state(self) -> State:
        """The last that can fail: a first start makes an API key that nobody sees again, so it must come to be shown.

        Raises ConfigurationError.
        """
        settings = self.settings
        return load_state(
            settings.state_folder, api_key_from_environment=settings.api_key, namespace=settings.namespace
        )

    def greet(self, state: State, shards: list[Shard], down: list[str], workers: list[int]) -> None:
        """Say that it serves."""
        lines = greeting(
            self.settings,
            state=state,
            files=self.files,
            sockets=self.sockets,
            shards=shards,
            down=down,
            workers=workers,
        )
        for line in [*lines, f"ready in {time.monotonic() - self.server.started:.2f} s"]:
            self.announce(line)


async def _serve_alone(start: _Start, setup: Setup, quotas: SharedQuotas, shutdown: asyncio.Event) -> None:
    """Serve in this process."""
    settings = start.settings
    async with shards_of(settings) as watch, running([watch.run()], shutdown):
        await either(watch.first_look(), shutdown.wait())
        async with connected(watch.shards, watch.views(), settings, shutdown, watch.refused) as router:
            watch.on_views = router.update
            router.update(watch.views())
            state = start.load_state()
            authority = TokenAuthority(state.records, state.signing_keys, settings.token_lifetime)
            process = ServingProcess(setup, router, authority)
            process.use_quotas(quotas.assign(state.records))
            await process.serve(
                shutdown,
                ready=lambda: start.greet(state, watch.shards, router.down(), workers=[]),
                beside=[keep_certificate_fresh(settings, start.files, process.use_certificate)],
            )


async def _serve_with_workers(start: _Start, count: int, shutdown: asyncio.Event) -> None:
    """Have workers serve, and watch over them."""
    settings = start.settings
    supervisor = Supervisor(settings, start.files, start.sockets, start.server, count)
    # The workers load their modules while the nodes start.
    async with supervisor.spawned(), shards_of(settings) as watch, running([watch.run()], shutdown):
        await either(watch.first_look(), shutdown.wait())
        supervisor.on_refused = watch.refused
        watch.on_views = supervisor.update
        down = await supervisor.connect(watch.shards, watch.views())
        state = start.load_state()
        await supervisor.begin(state)
        care = keep_certificate_fresh(settings, start.files, lambda _: supervisor.reload_certificate())
        async with running([care], shutdown):
            start.greet(state, watch.shards, down, supervisor.pids)
            await supervisor.run(shutdown)
