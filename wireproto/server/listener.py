"""Accepting clients: counted as they come, then TLS with a deadline.

`create_server(ssl=...)` shows a connection only after its handshake, so that limits would not bind half-open ones.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from typing import Final

from wireproto.errors import ConfigurationError
from wireproto.server.connection import ClientConnection, ConnectionHub, RefusedConnection

BACKLOG: Final = 1024
REFUSALS: Final = 64
"""How many clients over the limit are told so at once; it takes a handshake each. More are closed without a word."""
TLS_SHUTDOWN_TIMEOUT: Final = 2.0
PAUSE_AFTER_FAILURE: Final = 0.1

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
        try:
            while True:
                await self._accept_one()
        finally:
            self._listening.close()
            for task in self._handshakes:
                task.cancel()

    async def _accept_one(self) -> None:
        loop = self._hub.loop
        try:
            client, address = await loop.sock_accept(self._listening)
        except OSError as error:
            # A client that gave up is nothing; anything else (no descriptors, no memory) would come again at once.
            if error.errno != errno.ECONNABORTED:
                log.error("cannot accept clients: %s", error.strerror)
                await asyncio.sleep(PAUSE_AFTER_FAILURE)
            return
        self._metrics.accepted += 1
        task = loop.create_task(self._welcome(client, f"{address[0]}:{address[1]}"))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _welcome(self, client: socket.socket, peer: str) -> None:
        """Make a connection of it, or refuse it."""
        hub = self._hub
        if self._metrics.open + self._metrics.handshaking < self._limit:
            self._metrics.handshaking += 1
            try:
                await self._connect(client, peer, ClientConnection(hub, peer, is_tls=self.tls is not None))
            finally:
                self._metrics.handshaking -= 1
            return
        self._metrics.refused += 1
        if self._refusing >= REFUSALS:
            client.close()
            return
        self._refusing += 1
        try:
            await self._connect(client, peer, RefusedConnection())
        finally:
            self._refusing -= 1

    async def _connect(self, client: socket.socket, peer: str, protocol: asyncio.BaseProtocol) -> None:
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is None:
                await self._hub.loop.connect_accepted_socket(lambda: protocol, client)
                return
            await self._hub.loop.connect_accepted_socket(
                lambda: protocol,
                client,
                ssl=self.tls,
                ssl_handshake_timeout=self._hub.settings.handshake_timeout,
                ssl_shutdown_timeout=TLS_SHUTDOWN_TIMEOUT,
            )
        except OSError as error:
            self._metrics.handshake_failures += 1
            log.debug("no handshake with %s: %s", peer, error)
            client.close()
        except asyncio.CancelledError:
            client.close()
            raise
