"""What a process that serves clients does, be it the whole server or one of its workers."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from wireproto.core.keyring import NO_KEYS, Keyring
from wireproto.core.limits import Limits
from wireproto.core.metrics import Metrics
from wireproto.core.quota_table import PlacedQuota, QuotaTable
from wireproto.core.quotas import Quotas
from wireproto.core.replication_policy import ReplicationPolicy
from wireproto.core.session_context import SessionContext
from wireproto.core.tokens import TokenAuthority
from wireproto.core.topology import ShardView
from wireproto.errors import ConfigurationError
from wireproto.server.address_guard import AddressGuard
from wireproto.server.audit_log import AuditLog
from wireproto.server.background import either, running
from wireproto.server.connection_hub import ConnectionHub
from wireproto.server.listener import Listener, bind
from wireproto.server.loop_watch import LoopWatch
from wireproto.server.process_sealer import process_sealer
from wireproto.server.router import Router, Shard
from wireproto.server.shared_counters import Phase, WorkerSlot
from wireproto.server.statistics import ServerIdentity, Statistics
from wireproto.server.surroundings import ProcessSurroundings
from wireproto.settings import Settings
from wireproto.settings.kinds import is_loopback

CLOSING_LINGER: Final = 0.25
"""Seconds for which a draining server still answers CLOSING on a connection that is owed nothing."""

log = logging.getLogger("wireproto.server")


@dataclass(frozen=True, slots=True)
class ListeningSockets:
    """Where clients come in."""

    tls: socket.socket
    plain: socket.socket | None

    @classmethod
    def bind(cls, settings: Settings) -> ListeningSockets:
        """Listen where the settings say. Raises ConfigurationError."""
        tls = bind(settings.host, settings.port)
        try:
            # What is allowed for this machine alone was allowed by a name, and a name may lead anywhere.
            if is_loopback(settings.host) and not is_loopback(tls.getsockname()[0]):
                raise ConfigurationError(f"host {settings.host} leads to {tls.getsockname()[0]}, which is not loopback")
            plain = None if settings.plain_port is None else bind(settings.host, settings.plain_port)
        except BaseException:
            tls.close()
            raise
        return cls(tls, plain)

    def close(self) -> None:
        """Stop listening. To do it again does nothing."""
        self.tls.close()
        if self.plain is not None:
            self.plain.close()


@dataclass(frozen=True, slots=True)
class Setup:
    """What a serving process is given: from its own start, or from its supervisor."""

    settings: Settings
    sockets: ListeningSockets
    tls: ssl.SSLContext
    slot: WorkerSlot
    quotas: QuotaTable
    server: ServerIdentity
    restarts: int = 0
    """How often the worker in this slot has been replaced."""


@asynccontextmanager
async def connected(
    shards: Sequence[Shard],
    views: Sequence[ShardView],
    settings: Settings,
    shutdown: asyncio.Event,
    on_refused: Callable[[str], None],
) -> AsyncIterator[Router]:
    """A router with every master tried once, unless a shutdown comes first. Raises ConfigurationError."""
    router = Router(shards, views, settings, on_refused)
    async with running([router.run()], shutdown):
        await either(router.first_attempts(), shutdown.wait())
        yield router


class ServingProcess:
    """Accepts clients and answers them. Raises ConfigurationError if the audit log cannot be written."""

    def __init__(self, setup: Setup, router: Router, authority: TokenAuthority, keyring: Keyring = NO_KEYS) -> None:
        settings = setup.settings
        metrics = Metrics()
        self.drain_timeout = settings.drain_timeout
        """Seconds for open requests once it shuts down."""
        self._slot = setup.slot
        self._quotas = Quotas(setup.quotas)
        self._sealer = process_sealer(keyring)
        worker = None if setup.slot.is_alone else setup.slot.index + 1
        self._audit_log = AuditLog(settings.audit_log, worker, asyncio.get_running_loop().call_later)
        self._loop_watch = LoopWatch()
        self._statistics = Statistics(metrics, router, setup.slot, setup.server, setup.restarts, self._loop_watch)
        guard = AddressGuard()
        context = SessionContext(
            limits=_limits(settings),
            ring=router.ring,
            authority=authority,
            metrics=metrics,
            surroundings=ProcessSurroundings(router, self._statistics, self._audit_log, guard),
            policy=_policy(settings),
            quotas=self._quotas,
            sealers=self._sealer,
        )
        self._hub = ConnectionHub(context, router, settings, setup.slot, guard)
        self._tls_listener = Listener(setup.sockets.tls, self._hub, setup.tls)
        self._listeners = [self._tls_listener]
        if setup.sockets.plain is not None:
            self._listeners.append(Listener(setup.sockets.plain, self._hub, None))

    def use_certificate(self, tls: ssl.SSLContext) -> None:
        """Shake hands with it from now on. Connections that are open keep theirs."""
        self._tls_listener.tls = tls

    def use_keyring(self, keyring: Keyring) -> None:
        """Seal and open values with these keys from now on."""
        if keyring != self._sealer.keyring:
            self._sealer.update(keyring)

    def use_quotas(self, quotas: Mapping[str, PlacedQuota]) -> None:
        """Hold clients to these from now on, also on connections that are open. The others have none."""
        self._quotas.update(quotas)
        for connection in self._hub.open:
            connection.session.follow_quota()

    async def serve(
        self, shutdown: asyncio.Event, ready: Callable[[], None], beside: Sequence[Coroutine[None, None, None]] = ()
    ) -> None:
        """Serve until `shutdown` is set, then drain.

        Calls `ready` when clients are accepted, and runs `beside` for as long as they are.
        """
        lives = [self._hub.watch_time(), self._hub.watch_handshakes(), self._loop_watch.run()]
        if not self._slot.is_alone:
            lives.append(self._statistics.keep_publishing())
        async with running(lives, shutdown):
            async with running([*(listener.run() for listener in self._listeners), *beside], shutdown):
                # What exists by now stays; the collector need not look at it again.
                gc.collect()
                gc.freeze()
                # The record first: the slot may still hold that of a worker which has ended.
                self._statistics.publish()
                self._slot.enter(Phase.SERVING)
                ready()
                await shutdown.wait()
                log.info("draining")
                self._slot.enter(Phase.DRAINING)
            await self._hub.drain(CLOSING_LINGER, time.monotonic() + self.drain_timeout)
        self._statistics.publish()
        self._audit_log.close()


def _policy(settings: Settings) -> ReplicationPolicy:
    return ReplicationPolicy(
        reads_replicas=settings.reads == "replica",
        max_lag=settings.max_replica_lag,
        longest_answer=settings.node_timeout + settings.failover_grace,
        sync=settings.sync,
        namespace_sync=dict(settings.namespace_sync),
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_key=settings.max_key,
        max_value=settings.max_value,
        max_frame_overhead=settings.max_frame_overhead,
        max_frame_before_auth=settings.max_frame_before_auth,
        max_in_flight=settings.max_in_flight,
        max_in_flight_bytes=settings.max_in_flight_bytes,
        max_unread_bytes=settings.max_unread_bytes,
    )
