"""Accepting clients: counted as they come, then TLS with a deadline.

All workers accept from the same socket, so that no client waits for one that is busy, hangs or has just died.

`create_server(ssl=...)` shows a connection only after its handshake, so that limits would not bind half-open ones.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast

from wireproto.core.commands import error_line
from wireproto.errors import ConfigurationError
from wireproto.server.connection import ClientConnection, ClientTransport, ConnectionHub
from wireproto.server.tls_link import TlsLink

BACKLOG: Final = 1024
REFUSALS: Final = 64
"""How many clients over the limit are told so at once; it takes a handshake each. More are closed without a word."""
REFUSED_RETRY_MS: Final = 1000
PAUSE_AFTER_FAILURE: Final = 0.1
HEAD_START: Final = 0.002
"""Seconds that a worker leaves a client to those with fewer connections. A client stays with who takes it, so this is
what shares them out; who is nearest to the limit of its core turns late and takes fewer."""

log = logging.getLogger("wireproto.listener")


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ConfigurationError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(BACKLOG)
            listening.setblocking(False)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        hint = "; is a server running there already? --port takes another" if error.errno == errno.EADDRINUSE else ""
        raise ConfigurationError(f"cannot listen on {host} port {port}: {error.strerror or error}{hint}") from None
    return listening


class Listener:
    """Takes the clients of one listening socket. Without `tls` it speaks plain TCP."""

    def __init__(self, listening: socket.socket, hub: ConnectionHub, tls: ssl.SSLContext | None) -> None:
        self._listening = listening
        self._hub = hub
        self.tls = tls
        """What new connections shake hands with; it may be exchanged at any time."""
        self._metrics = hub.context.metrics
        self._limit = hub.settings.max_connections
        self._handshakes: set[asyncio.Task[None]] = set()
        self._refusing = 0

    async def run(self) -> None:
        """Accept until cancelled."""
        self._watch()
        try:
            await asyncio.Event().wait()
        finally:
            # Before the socket is closed: other workers have it too, so the kernel would go on to report it.
            self._hub.loop.remove_reader(self._listening)
            self._listening.close()
            for task in self._handshakes:
                task.cancel()

    def _watch(self) -> None:
        """Accept whoever comes, if nobody has ended this in the meantime."""
        if self._listening.fileno() >= 0:
            self._hub.loop.add_reader(self._listening, self._on_client)

    def _look_away(self, seconds: float, then: Callable[[], None]) -> None:
        self._hub.loop.remove_reader(self._listening)
        self._hub.loop.call_later(seconds, then)

    def _on_client(self) -> None:
        """Somebody is there: accept one, so that clients who are here already have their turn before the next."""
        if self._hub.slot.is_ahead():
            self._look_away(HEAD_START, self._accept_what_is_left)
        else:
            self._accept()

    def _accept_what_is_left(self) -> None:
        """Accept after all, if no other worker has."""
        if self._listening.fileno() >= 0:
            self._watch()
            self._accept()

    def _accept(self) -> None:
        try:
            client, address = self._listening.accept()
        except BlockingIOError:
            return  # another worker was faster
        except OSError as error:
            # A client that gave up is nothing; anything else (no descriptors, no memory) would come again at once.
            if error.errno != errno.ECONNABORTED:
                log.error("cannot accept clients: %s", error.strerror)
                self._look_away(PAUSE_AFTER_FAILURE, self._watch)
            return
        client.setblocking(False)
        self._metrics.accepted += 1
        peer = f"{address[0]}:{address[1]}"
        # Counted before the limit is looked at, so that two workers cannot both give away the last place.
        self._count_handshake(1)
        if self._hub.slot.all_connections() <= self._limit:
            task = self._hub.loop.create_task(self._welcome(client, peer))
        else:
            self._count_handshake(-1)
            self._metrics.refused += 1
            task = self._hub.loop.create_task(self._refuse(client, peer))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    def _count_handshake(self, change: int) -> None:
        self._metrics.handshaking += change
        self._hub.count_connections()

    async def _welcome(self, client: socket.socket, peer: str) -> None:
        """Make a connection of it."""
        try:
            await self._connect(client, peer, ClientConnection(self._hub, peer))
        finally:
            self._count_handshake(-1)

    async def _refuse(self, client: socket.socket, peer: str) -> None:
        """Tell it that there are too many, unless too many are to be told."""
        if self._refusing >= REFUSALS:
            client.close()
            return
        self._refusing += 1
        try:
            transport = await self._connect(client, peer, None)
            if transport is not None:
                with suppress(OSError):  # it may have ended TLS in the meantime
                    transport.write(error_line("BUSY", "too many connections", REFUSED_RETRY_MS))
                transport.close()
        finally:
            self._refusing -= 1

    async def _connect(
        self, client: socket.socket, peer: str, connection: ClientConnection | None
    ) -> ClientTransport | None:
        """The transport of a client that has shaken hands, and `connection` on it; None if it has not."""
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is None:
                protocol = asyncio.Protocol() if connection is None else cast(asyncio.BaseProtocol, connection)
                transport, _ = await self._hub.loop.connect_accepted_socket(lambda: protocol, client)
                return transport
            return await self._shake_hands(client, TlsLink(connection, self.tls, self._hub.loop.create_future()))
        except OSError as error:
            self._metrics.handshake_failures += 1
            log.debug("no handshake with %s: %s", peer, error or type(error).__name__)
            client.close()
            return None
        except asyncio.CancelledError:
            client.close()
            raise

    async def _shake_hands(self, client: socket.socket, link: TlsLink) -> ClientTransport:
        """Returns when TLS stands. Raises OSError, as TimeoutError is too."""
        protocol = cast(asyncio.BaseProtocol, link)
        transport, _ = await self._hub.loop.connect_accepted_socket(lambda: protocol, client)
        try:
            async with asyncio.timeout(self._hub.settings.handshake_timeout):
                await link.handshaken
        except BaseException:
            transport.abort()
            raise
        return link
