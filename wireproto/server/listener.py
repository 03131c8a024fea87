"""Accepting clients: counted as they come, then TLS with a deadline.

All workers accept from the same socket, so that no client waits for one that is busy, hangs or has just died.

`create_server(ssl=...)` shows a connection only after its handshake, so that limits would not bind half-open ones.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import select
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Final, cast

from wireproto.core.reply_lines import error_line
from wireproto.errors import ConfigurationError
from wireproto.server.connection import ClientConnection, ClientTransport
from wireproto.server.connection_hub import ConnectionHub
from wireproto.server.tls_link import TlsLink

BACKLOG: Final = 4096
"""Clients that the kernel keeps until they are accepted; who comes when it is full tries again after 0.2 s or 1 s."""
REFUSALS: Final = 64
"""How many clients over the limit are told so at once; it takes a handshake each. More are closed without a word."""
REFUSED_RETRY_MS: Final = 1000
PAUSE_AFTER_FAILURE: Final = 0.1
HEAD_STARTS: Final = 25
"""How often it is left to a worker that can make room, which may be busy, before a client is refused."""
TOLD_EVERY: Final = 1.0
"""Seconds between two lines in the log about clients that cannot be accepted."""
ACCEPTED_AT_ONCE: Final = 8
"""Clients that are accepted before those who are here have their turn: 1 ms. One at a time, a good client waited behind
a crowd for as many turns as the crowd had members in the queue."""
HEAD_START: Final = 0.002
"""Seconds that a worker leaves a client to those with fewer connections. A client stays with who takes it, so this is
what shares them out; who is nearest to the limit of its core turns late and takes fewer."""

TOO_MANY: Final = error_line("BUSY", "too many connections", REFUSED_RETRY_MS)
READ_BEFORE_CLOSING: Final = 64 * 1024

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
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        """A descriptor that is given up for a client which is to be turned away when there is no other."""
        self._told_at = 0.0
        self._head_starts = 0

    async def run(self) -> None:
        """Accept until cancelled."""
        self._watch()
        try:
            await asyncio.Event().wait()
        finally:
            # Before the socket is closed: other workers have it too, so the kernel would go on to report it.
            self._hub.loop.remove_reader(self._listening)
            self._listening.close()
            if self._spare >= 0:
                os.close(self._spare)
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
        """Somebody is there: accept a few, so that clients who are here already have their turn before the next."""
        for _ in range(ACCEPTED_AT_ONCE):
            if self._leaves_it_to_others():
                self._look_away(HEAD_START, self._accept_what_is_left)
                return
            if not self._accept():
                return

    def _leaves_it_to_others(self) -> bool:
        """Whether another worker should have the next client: it has fewer, or the only ones that can make room."""
        slot = self._hub.slot
        return self._would_refuse_alone() if slot.all_connections() >= self._limit else slot.is_ahead()

    def _would_refuse_alone(self) -> bool:
        slot = self._hub.slot
        return slot.all_connections() >= self._limit and slot.others_can_make_room()

    def _accept_what_is_left(self) -> None:
        """Accept after all, if no other worker has."""
        if self._listening.fileno() < 0:
            return
        if self._would_refuse_alone() and self._somebody_waits() and self._head_starts < HEAD_STARTS:
            self._head_starts += 1
            self._hub.loop.call_later(HEAD_START, self._accept_what_is_left)
            return
        self._head_starts = 0
        self._watch()
        self._accept()

    def _accept(self) -> bool:
        """Accept one client; False if there was none or it could not be."""
        try:
            client, address = self._listening.accept()
        except BlockingIOError:
            return False  # another worker was faster, or that was all
        except OSError as error:
            self._on_failure(error)
            return False
        client.setblocking(False)
        self._metrics.accepted += 1
        peer = f"{address[0]}:{address[1]}"
        # Counted before the limit is looked at, so that two workers cannot both give away the last place.
        self._count_handshake(1)
        if self._hub.slot.all_connections() <= self._limit or self._hub.strangers.evict_oldest():
            connection = ClientConnection(self._hub, peer)
            task = self._hub.loop.create_task(self._welcome(client, address[0], connection))
            self._hub.strangers.arrived(connection, task, monotonic())
            task.add_done_callback(partial(self._on_welcomed, client, connection))
        else:
            self._count_handshake(-1)
            self._metrics.refused += 1
            task = self._hub.loop.create_task(self._refuse(client, peer))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)
        return True

    def _on_failure(self, error: OSError) -> None:
        """Nobody could be accepted, and it would be the same again at once."""
        has_no_descriptor = error.errno in (errno.EMFILE, errno.ENFILE)
        if error.errno == errno.ECONNABORTED or (has_no_descriptor and not self._somebody_waits()):
            return  # a client that gave up; or there was none: the kernel looks for a descriptor first
        now = monotonic()
        if now - self._told_at >= TOLD_EVERY:
            self._told_at = now
            log.error("cannot accept clients: %s", error.strerror)
        if not (has_no_descriptor and (self._hub.strangers.evict_oldest() or self._turn_away())):
            self._look_away(PAUSE_AFTER_FAILURE, self._watch)

    def _somebody_waits(self) -> bool:
        waiting = select.poll()
        waiting.register(self._listening, select.POLLIN)
        return bool(waiting.poll(0))

    def _turn_away(self) -> bool:
        """Close a client that waits, with a word where that needs no handshake; False if that is not possible either.

        Without it the client would wait for as long as its patience lasts.
        """
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
        try:
            client, _ = self._listening.accept()
            self._metrics.accepted += 1
            self._metrics.refused += 1
            with client, suppress(OSError):
                client.setblocking(False)
                if self.tls is None:
                    client.send(TOO_MANY)
                    client.shutdown(socket.SHUT_WR)
                    client.recv(READ_BEFORE_CLOSING)  # what is unread when it is closed resets it
            return True
        except OSError:
            return False
        finally:
            with suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _count_handshake(self, change: int) -> None:
        self._metrics.handshaking += change
        self._hub.count_connections()

    async def _welcome(self, client: socket.socket, address: str, connection: ClientConnection) -> None:
        """Make a connection of it, later if many wrong credentials have come from its address."""
        if await self._is_let_in(client, address):
            await self._connect(client, connection.peer, connection)

    def _on_welcomed(self, client: socket.socket, connection: ClientConnection, welcome: asyncio.Task[None]) -> None:
        """It has become a connection, or never will; perhaps it was given up before it had begun."""
        if welcome.cancelled():
            client.close()
        if connection not in self._hub.open:
            self._hub.strangers.left(connection)

    async def _is_let_in(self, client: socket.socket, address: str) -> bool:
        """Wait as long as its address has to; False if there too many wait, and it is closed."""
        guard = self._hub.guard
        seconds = guard.wait(address, monotonic())
        if not seconds:
            return True
        if not guard.begin_wait(address):
            self._metrics.closed_by_limit["guesses"] += 1
            client.close()
            return False
        try:
            await asyncio.sleep(min(seconds, self._hub.settings.handshake_timeout / 2))
        finally:
            guard.end_wait(address)
        return True

    async def _refuse(self, client: socket.socket, peer: str) -> None:
        """Tell it that there are too many, unless too many are to be told."""
        if self._refusing >= REFUSALS:
            client.close()
            return
        self._refusing += 1
        try:
            async with asyncio.timeout(self._hub.settings.handshake_timeout):
                transport = await self._connect(client, peer, None)
            if transport is not None:
                with suppress(OSError):  # it may have ended TLS in the meantime
                    transport.write(TOO_MANY)
                transport.close()
        except TimeoutError:
            self._metrics.handshake_failures += 1
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
        """Returns when TLS stands. Raises OSError."""
        protocol = cast(asyncio.BaseProtocol, link)
        transport, _ = await self._hub.loop.connect_accepted_socket(lambda: protocol, client)
        try:
            await link.handshaken
        except BaseException:
            transport.abort()
            raise
        return link
