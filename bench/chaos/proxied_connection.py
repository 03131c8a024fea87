"""One client's connection through a fault proxy: two sockets, and a pump for each direction."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable

from bench.chaos.faults import Ending, Faults
from bench.chaos.kernel_queue import unacknowledged
from bench.chaos.pump import ConnectionCut, Pump

_LINGER_TIMEOUT = 1.0
_POLL = 0.001
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends RST."""


class ProxiedConnection:
    """A client's socket and the one to the target, neither of which blocks. Made and used in a running loop."""

    def __init__(
        self,
        client: socket.socket,
        server: socket.socket,
        count_to_server: Callable[[int], None],
        count_to_client: Callable[[int], None],
    ) -> None:
        self.sockets = self.reset_when_cancelled = [client, server]
        for one in self.sockets:
            if one.family != socket.AF_UNIX:
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._to_server = Pump(client, server, count_to_server)
        self._to_client = Pump(server, client, count_to_client)
        self._to_server.opposite, self._to_client.opposite = self._to_client, self._to_server

    def set_faults(self, to_server: Faults, to_client: Faults) -> None:
        """From now on."""
        self._to_server.faults = to_server
        self._to_client.faults = to_client

    async def serve(self) -> None:
        """Pass bytes until both sides have closed or the connection is cut; then both sockets are closed.

        When it is cancelled, the sides that `reset_when_cancelled` names are reset, and the other is closed.
        """
        pumps = [asyncio.create_task(pump.run()) for pump in (self._to_server, self._to_client)]
        try:
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_EXCEPTION)
            ending = next((_how(task) for task in done if task.exception()), Ending.FIN)
            await _end_pumps(pumps)
            if ending is Ending.RESET:
                await asyncio.gather(*map(_wait_until_delivered, self.sockets))
                for one in self.sockets:
                    reset(one)
        except asyncio.CancelledError:
            # First, since the loop still watches the sockets for them.
            await _end_pumps(pumps)
            for one in self.reset_when_cancelled:
                reset(one)
            raise
        finally:
            await _end_pumps(pumps)
            await asyncio.gather(*map(_finish, self.sockets))


def reset(connection: socket.socket) -> None:
    """Close it with RST; a unix socket knows none, and is just closed."""
    if connection.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection.close()


def _how(pump: asyncio.Task[None]) -> Ending:
    error = pump.exception()
    if not isinstance(error, ConnectionCut):
        assert error is not None
        raise error
    return error.ending


async def _end_pumps(pumps: list[asyncio.Task[None]]) -> None:
    for pump in pumps:
        pump.cancel()
    await asyncio.gather(*pumps, return_exceptions=True)


async def _finish(connection: socket.socket) -> None:
    """Close it with FIN, unless it is closed."""
    # Closing with unread bytes would send RST; so read until the peer closes too, but not for long.
    loop = asyncio.get_running_loop()
    with connection, contextlib.suppress(OSError, TimeoutError):
        connection.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(_LINGER_TIMEOUT):
            while await loop.sock_recv(connection, 1 << 16):
                pass


async def _wait_until_delivered(connection: socket.socket) -> None:
    """RST takes along what the peer's kernel has not acknowledged; a cut after n bytes would be one after fewer."""
    for _ in range(int(_LINGER_TIMEOUT / _POLL)):
        if not unacknowledged(connection):
            return
        await asyncio.sleep(_POLL)
