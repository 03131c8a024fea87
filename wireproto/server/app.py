"""The server put together: state, certificates, nodes, ring, listeners; and taken apart again."""

from __future__ import annotations

import asyncio
import gc
import logging
import shlex
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from wireproto import __version__
from wireproto.core.limits import Limits
from wireproto.core.metrics import Metrics
from wireproto.core.session_context import SessionContext
from wireproto.core.tokens import TokenAuthority
from wireproto.errors import ConfigurationError
from wireproto.server.certificates import CertificateFiles, ensure_development_certificates, server_context
from wireproto.server.connection import ConnectionHub
from wireproto.server.embedded import EmbeddedNodes, find_program
from wireproto.server.listener import Listener, bind
from wireproto.server.node_endpoint import NodeEndpoint
from wireproto.server.router import Router, Shard
from wireproto.server.state_folder import State, load_state
from wireproto.server.surroundings import ProcessSurroundings
from wireproto.settings import Settings

CLOSING_LINGER: Final = 0.25
"""Seconds for which a draining server still answers CLOSING on a connection that is owed nothing."""

CERTIFICATE_CHECK: Final = 3600.0
"""Seconds between two looks at whether the certificate is due for renewal, or has been replaced."""

log = logging.getLogger("wireproto.server")


async def serve(settings: Settings, announce: Callable[[str], None], shutdown: asyncio.Event) -> None:
    """Serve until `shutdown` is set, then drain.

    `announce` is given the lines that a person is to read at the start. Raises ConfigurationError if it cannot start.
    """
    started = time.monotonic()
    files = certificate_files(settings)
    tls = server_context(files, settings.tls_minimum)
    async with AsyncExitStack() as stack:
        tls_socket = stack.enter_context(bind(settings.host, settings.port))
        plain_socket = None
        if settings.plain_port is not None:
            plain_socket = stack.enter_context(bind(settings.host, settings.plain_port))
        shards = await stack.enter_async_context(_shards(settings))
        router = Router(shards, settings)
        await stack.enter_async_context(_running([router.run()], shutdown))
        await _either(router.first_attempts(), shutdown.wait())
        # The last that can fail: a first start makes an API key that nobody sees again, so it must come to be shown.
        state = load_state(
            settings.state_folder, api_key_from_environment=settings.api_key, namespace=settings.namespace
        )
        hub = ConnectionHub(_context(settings, state, router), router, settings)
        await stack.enter_async_context(_running([hub.watch_time()], shutdown))
        listener = Listener(tls_socket, hub, tls)
        lives = [listener.run(), keep_certificate_fresh(settings, files, listener)]
        if plain_socket is not None:
            lives.append(Listener(plain_socket, hub, None).run())
        async with _running(lives, shutdown):
            # What exists by now stays; the collector need not look at it again.
            gc.collect()
            gc.freeze()
            for line in _greeting(settings, state, files, router, tls_socket, plain_socket):
                announce(line)
            announce(f"ready in {time.monotonic() - started:.2f} s")
            await shutdown.wait()
            log.info("draining")
        await hub.drain(CLOSING_LINGER, time.monotonic() + settings.drain_timeout)


def certificate_files(settings: Settings) -> CertificateFiles:
    """The user's certificate, or one made for development."""
    if settings.cert is not None and settings.key is not None:
        return CertificateFiles(None, settings.cert, settings.key)
    return ensure_development_certificates(settings.certs_folder, datetime.now(UTC))


async def keep_certificate_fresh(settings: Settings, files: CertificateFiles, listener: Listener) -> None:
    """Renew a development certificate in time, and load any certificate again when its file has changed.

    Connections that are open keep theirs. What cannot be loaded is logged, and the old one stays.
    """
    loaded = files.cert.stat().st_mtime_ns
    while True:
        await asyncio.sleep(CERTIFICATE_CHECK)
        try:
            certificate_files(settings)
            changed = files.cert.stat().st_mtime_ns
            if changed != loaded:
                listener.tls = server_context(files, settings.tls_minimum)
                loaded = changed
                log.info("certificate %s has been loaded again", files.cert)
        except (ConfigurationError, OSError) as error:
            log.error("the certificate stays as it is: %s", error)


def _context(settings: Settings, state: State, router: Router) -> SessionContext:
    metrics = Metrics()
    return SessionContext(
        limits=Limits(
            max_key=settings.max_key,
            max_value=settings.max_value,
            max_frame_overhead=settings.max_frame_overhead,
            max_frame_before_auth=settings.max_frame_before_auth,
            max_in_flight=settings.max_in_flight,
            max_in_flight_bytes=settings.max_in_flight_bytes,
            max_unread_bytes=settings.max_unread_bytes,
        ),
        ring=router.ring,
        authority=TokenAuthority(state.records, state.signing_key, state.key_id, settings.token_lifetime),
        metrics=metrics,
        surroundings=ProcessSurroundings(router, metrics),
    )


@asynccontextmanager
async def _shards(settings: Settings) -> AsyncIterator[list[Shard]]:
    """The nodes that were named, or nodes started for as long as the server runs."""
    if settings.nodes:
        yield [Shard(node.name, node.weight, NodeEndpoint.from_url(node.url)) for node in settings.nodes]
        return
    embedded = await EmbeddedNodes.start(
        shards=settings.shards,
        replicas=settings.replicas,
        program=find_program(settings.redis_server),
        memory=settings.node_memory,
        eviction=settings.eviction,
    )
    try:
        masters = [node for node in embedded.nodes if node.role == "master"]
        yield [Shard(node.shard, 1.0, NodeEndpoint.from_url(node.url), node.pid) for node in masters]
    finally:
        await embedded.stop()


@asynccontextmanager
async def _running(lives: list[Coroutine[None, None, None]], shutdown: asyncio.Event) -> AsyncIterator[None]:
    """Run coroutines in the background. One that ends by an error is a bug: the server then shuts down."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("a part of the server has ended; shutting down", exc_info=error)
            shutdown.set()

    tasks = [asyncio.create_task(life) for life in lives]
    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _either(*waits: Coroutine[None, None, object]) -> None:
    """Return as soon as one of them has."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _greeting(
    settings: Settings,
    state: State,
    files: CertificateFiles,
    router: Router,
    tls_socket: socket.socket,
    plain_socket: socket.socket | None,
) -> list[str]:
    """What a person wants to know after the start, with lines to paste."""
    host, port = tls_socket.getsockname()[:2]
    shown_host = f"[{host}]" if ":" in host else host
    lines = [f"wireproto {__version__}", f"listening on {shown_host}:{port} (TLS)"]
    if plain_socket is not None:
        lines.append(f"listening on {shown_host}:{plain_socket.getsockname()[1]} (plain TCP, for nc)")
    kind = "named" if settings.nodes else f"started here, {settings.node_memory} each"
    lines.append(f"nodes: {' '.join(router.ring.names)} ({kind})")
    if router.down():
        lines.append(f"nodes that cannot be reached: {' '.join(router.down())}")
    authority = ""
    if files.ca is not None:
        lines.append(f"certificate authority for clients: {files.ca}")
        authority = f" -CAfile {shlex.quote(str(files.ca))}"
    api_key = "your-api-key"
    if state.new_api_key is not None:
        api_key = state.new_api_key
        lines.append(f"API key, shown this once: {api_key}")
    elif settings.api_key is not None:
        lines.append("API key: the one in WIREPROTO_API_KEY")
    else:
        lines.append(f"API key: shown at the first start; its hash is in {settings.state_folder}")
    target = "localhost" if host in ("127.0.0.1", "::1") else shown_host
    return [
        *lines,
        "to try it, paste:",
        f"  openssl s_client -quiet -connect {target}:{port}{authority}",
        f'  auth "{api_key}"',
        '  write "my_key" "my_value" ex=60',
        '  read "my_key"',
        "  quit",
    ]
