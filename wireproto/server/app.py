"""The server put together: certificates, sockets, nodes, state; then it serves by itself, or has workers do it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from wireproto.core.keyring import Keyring
from wireproto.core.tokens import TokenAuthority
from wireproto.server.audit_log import check_audit_log
from wireproto.server.background import either, running
from wireproto.server.certificate_care import (
    certificate_files,
    chosen_context,
    keep_certificate_fresh,
    load_chosen_tls,
)
from wireproto.server.greeting import greeting
from wireproto.server.keyring_file import load_keyring, watched_keyring
from wireproto.server.open_files import check_room, raise_limit
from wireproto.server.router import Shard
from wireproto.server.secrets_watch import SecretsWatch, WatchedSecret
from wireproto.server.serving import ListeningSockets, ServingProcess, Setup, connected
from wireproto.server.shard_sources import shards_of
from wireproto.server.shared_counters import SharedCounters, WorkerSlot
from wireproto.server.shared_quotas import SharedQuotas
from wireproto.server.state_folder import API_KEYS_FILE, SIGNING_KEYS_FILE, State, load_state, read_state
from wireproto.server.statistics import ServerIdentity
from wireproto.server.supervisor import Supervisor, core_count
from wireproto.server.tls_material import TlsMaterial
from wireproto.settings import Settings


async def serve(
    settings: Settings, announce: Callable[[str], None], shutdown: asyncio.Event, hangup: asyncio.Event
) -> None:
    """Serve until `shutdown` is set, then drain. `hangup` has the files of the secrets looked at whenever it is set.

    `announce` is given the lines that a person is to read at the start. Raises ConfigurationError if it cannot start.
    """
    server = ServerIdentity(os.getpid(), time.monotonic())
    check_audit_log(settings.audit_log)
    # Loaded here also for the workers, so that what is wrong with it is told before anything is started.
    tls = load_chosen_tls(settings, certificate_files(settings))
    with closing(ListeningSockets.bind(settings)) as sockets:
        start = _Start(settings, tls, sockets, server, announce, hangup)
        workers = settings.workers or core_count()
        check_room(settings.max_connections, workers, raise_limit())
        if workers == 1:
            slot = WorkerSlot(SharedCounters.create(slots=1, capacity=0), 0)
            quotas = SharedQuotas(workers=1)
            setup = Setup(settings, sockets, chosen_context(settings, tls), slot, quotas.table, server)
            await _serve_alone(start, setup, quotas, shutdown)
        else:
            await _serve_with_workers(start, workers, shutdown)


@dataclass(frozen=True, slots=True)
class _Start:
    """What is there before the nodes are."""

    settings: Settings
    tls: TlsMaterial
    sockets: ListeningSockets
    server: ServerIdentity
    announce: Callable[[str], None]
    hangup: asyncio.Event

    def load_state(self) -> State:
        """The last that can fail: a first start makes an API key that nobody sees again, so it must come to be shown.

        Raises ConfigurationError.
        """
        settings = self.settings
        return load_state(
            settings.state_folder,
            api_key_from_environment=settings.api_key,
            namespace=settings.namespace,
            may_make_api_key=settings.may_use_development_secrets,
        )

    def read_state(self) -> State:
        """What the folder holds by now, where nothing is made any more. Raises ConfigurationError."""
        settings = self.settings
        return read_state(
            settings.state_folder, api_key_from_environment=settings.api_key, namespace=settings.namespace
        )

    def care(
        self,
        state: State,
        keyring: Keyring,
        use_keys: Callable[[State], None],
        use_keyring: Callable[[Keyring], None],
        use_tls: Callable[[TlsMaterial], None],
    ) -> list[Coroutine[None, None, None]]:
        """What is done beside serving, so that the server always has the newest secrets.

        Whatever else is a secret in files and can change is one more `WatchedSecret`.
        """
        settings, files = self.settings, self.tls.files
        pem_files = tuple(path for path in (files.cert, files.key, files.client_ca) if path is not None)
        watched: list[WatchedSecret[Any]] = [
            WatchedSecret(
                "the API keys and signing keys",
                # The folder too: it must be nobody else's.
                tuple(settings.state_folder / name for name in ("", API_KEYS_FILE, SIGNING_KEYS_FILE)),
                self.read_state,
                use_keys,
                replace(state, new_api_key=None),
            ),
            WatchedSecret(
                "the certificate and its key" + (" and the clients' authority" if files.client_ca else ""),
                pem_files,
                lambda: load_chosen_tls(settings, files),
                use_tls,
                self.tls,
            ),
            watched_keyring(settings, keyring, use_keyring),
        ]
        return [keep_certificate_fresh(settings), SecretsWatch(watched, self.hangup).run()]

    def greet(self, state: State, shards: list[Shard], down: list[str], workers: list[int], keyring: Keyring) -> None:
        """Say that it serves."""
        lines = greeting(
            self.settings,
            state=state,
            files=self.tls.files,
            sockets=self.sockets,
            shards=shards,
            down=down,
            workers=workers,
            keyring=keyring,
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
            keyring = load_keyring(settings)
            process = ServingProcess(setup, router, authority, keyring)
            process.use_quotas(quotas.assign(state.records))

            def use_keys(new: State) -> None:
                placed = quotas.assign(new.records)
                authority.update(new.records, new.signing_keys)
                process.use_quotas(placed)

            await process.serve(
                shutdown,
                ready=lambda: start.greet(state, watch.shards, router.down(), workers=[], keyring=keyring),
                beside=start.care(
                    state,
                    keyring,
                    use_keys=use_keys,
                    use_keyring=process.use_keyring,
                    use_tls=lambda new: process.use_certificate(chosen_context(settings, new)),
                ),
            )


async def _serve_with_workers(start: _Start, count: int, shutdown: asyncio.Event) -> None:
    """Have workers serve, and watch over them."""
    settings = start.settings
    supervisor = Supervisor(settings, start.tls, start.sockets, start.server, count)
    # The workers load their modules while the nodes start.
    async with supervisor.spawned(), shards_of(settings) as watch, running([watch.run()], shutdown):
        await either(watch.first_look(), shutdown.wait())
        supervisor.on_refused = watch.refused
        watch.on_views = supervisor.update
        down = await supervisor.connect(watch.shards, watch.views())
        state = start.load_state()
        keyring = load_keyring(settings)
        await supervisor.begin(state, keyring)
        care = start.care(state, keyring, supervisor.use_keys, supervisor.use_keyring, supervisor.use_tls)
        async with running(care, shutdown):
            start.greet(state, watch.shards, down, supervisor.pids, keyring)
            await supervisor.run(shutdown)
