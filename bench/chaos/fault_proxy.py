"""A TCP proxy that does to connections what networks and broken peers do, and changes it at any time.

    with FaultProxy(("127.0.0.1", 6379)) as proxy:
        client.connect(("127.0.0.1", proxy.port))
        proxy.faults = Faults(latency=0.2)
        proxy.to_client = Faults(silence=Silence.HOLD)
        proxy.heal()

    python -m bench.chaos.fault_proxy --listen 127.0.0.1:7000 --to 127.0.0.1:6379 --latency 200ms

It runs in a thread with a loop of its own, so that blocking tests can use it. What a fault is: `faults`.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from bench.chaos.faults import NO_FAULTS, Faults, NewConnections
from bench.chaos.proxied_connection import ProxiedConnection, reset

__all__ = ["Counters", "FaultProxy", "Target"]

Target = tuple[str, int] | Path
"""An address, or the path of a unix socket."""
T = TypeVar("T")
_BACKLOG = 1024


@dataclass(frozen=True)
class Counters:
    """What has gone through a proxy since it began."""

    connections: int = 0
    open: int = 0
    """Of them, now."""
    to_server: int = 0
    """Bytes that were passed on, garbage included."""
    to_client: int = 0


class FaultProxy:
    """Passes connections on to `target`. It listens at once, on a free port unless told, and serves until `close()`.

    Raises OSError when it cannot listen there, or does not find the target's name. A client whose connection to the
    target cannot be made is reset.
    """

    def __init__(self, target: Target, listen: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self._target = _resolved(target)
        self._listening = socket.create_server(listen, backlog=_BACKLOG)
        self._listening.setblocking(False)
        self.port: int = self._listening.getsockname()[1]
        self._to_server = self._to_client = NO_FAULTS
        self._new = NewConnections.PASS
        self._counters = Counters()
        self._open: dict[asyncio.Task[None], ProxiedConnection | None] = {}
        self._sides_to_reset = (True, True)
        self._errors: list[BaseException] = []
        self._loop = asyncio.new_event_loop()
        self._news = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"fault proxy {self.port}", daemon=True)
        self._thread.start()
        self._do(self._listen())

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def to_server(self) -> Faults:
        """The faults of what clients send. Set, they act at once, also on connections that are open."""
        return self._to_server

    @to_server.setter
    def to_server(self, faults: Faults) -> None:
        self._do(self._set(faults, self._to_client, self._new))

    @property
    def to_client(self) -> Faults:
        """The faults of what clients receive."""
        return self._to_client

    @to_client.setter
    def to_client(self, faults: Faults) -> None:
        self._do(self._set(self._to_server, faults, self._new))

    @property
    def faults(self) -> tuple[Faults, Faults]:
        """The faults to the server and to the client. Set to one `Faults`, both directions have it."""
        return self._to_server, self._to_client

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._do(self._set(faults, faults, self._new))

    @property
    def new_connections(self) -> NewConnections:
        """What becomes of clients that connect from now on, and of those that wait in silence."""
        return self._new

    @new_connections.setter
    def new_connections(self, new: NewConnections) -> None:
        self._do(self._set(self._to_server, self._to_client, new))

    def heal(self) -> None:
        """Pass everything on again. What was held back is delivered first, in order."""
        self._do(self._set(NO_FAULTS, NO_FAULTS, NewConnections.PASS))

    def reset(self, *, client: bool = True, server: bool = True) -> None:
        """End all open connections with RST now, on both sides or on one; the other then gets FIN, and up to 1 s."""
        self._do(self._reset(client, server))

    @property
    def counters(self) -> Counters:
        """What has gone through so far."""
        return self._do(self._count())

    def close(self) -> None:
        """Reset what is open and listen no more. Raises what went wrong in the proxy itself, if anything did."""
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._listening.close()
        for error in self._errors:
            raise error

    # --- In the proxy's own thread ------------------------------------------------------------------------------------

    def _do(self, action: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(action, self._loop).result()

    async def _set(self, to_server: Faults, to_client: Faults, new: NewConnections) -> None:
        self._to_server, self._to_client, self._new = to_server, to_client, new
        for connection in self._open.values():
            if connection is not None:
                connection.set_faults(to_server, to_client)
        self._news.set()
        self._news = asyncio.Event()

    async def _reset(self, client: bool, server: bool) -> None:
        tasks = dict(self._open)
        self._sides_to_reset = client, server
        for task, connection in tasks.items():
            if connection is not None:
                both = zip(connection.sockets, (client, server), strict=True)
                connection.reset_when_cancelled = [one for one, is_chosen in both if is_chosen]
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _count(self) -> Counters:
        return replace(self._counters, open=len(self._open))

    async def _stop(self) -> None:
        self._loop.remove_reader(self._listening)
        await self._reset(client=True, server=True)

    async def _listen(self) -> None:
        # Not `sock_accept`: cancelled in the moment when a client comes, it would lose that client's socket.
        self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        try:
            client, _ = self._listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        client.setblocking(False)
        self._counters = replace(self._counters, connections=self._counters.connections + 1)
        task = self._loop.create_task(self._serve(client))
        self._open[task] = None
        task.add_done_callback(partial(self._forget, client))

    def _forget(self, client: socket.socket, task: asyncio.Task[None]) -> None:
        client.close()  # a task that was cancelled before it ran has not
        del self._open[task]
        if not task.cancelled() and (error := task.exception()):
            self._errors.append(error)

    async def _serve(self, client: socket.socket) -> None:
        server = await self._server_for(client)
        task = asyncio.current_task()
        if server is not None and task is not None:
            connection = ProxiedConnection(client, server, self._count_to_server, self._count_to_client)
            connection.set_faults(self._to_server, self._to_client)
            self._open[task] = connection
            await connection.serve()

    async def _server_for(self, client: socket.socket) -> socket.socket | None:
        """A connection to the target, or none if the client had to be reset."""
        server = None
        try:
            while self._new is NewConnections.SILENT:
                await self._news.wait()
            if self._new is NewConnections.PASS:
                family, address = self._target
                server = socket.socket(family)
                server.setblocking(False)
                await self._loop.sock_connect(server, address)
                return server
        except OSError:
            pass
        except asyncio.CancelledError:
            _close(client, server, self._sides_to_reset)
            raise
        _close(client, server, (True, True))
        return None

    def _count_to_server(self, size: int) -> None:
        self._counters = replace(self._counters, to_server=self._counters.to_server + size)

    def _count_to_client(self, size: int) -> None:
        self._counters = replace(self._counters, to_client=self._counters.to_client + size)


def _close(client: socket.socket, server: socket.socket | None, is_reset: tuple[bool, bool]) -> None:
    for one, by_reset in zip((client, server), is_reset, strict=True):
        if one is not None:
            (reset if by_reset else socket.socket.close)(one)


def _resolved(target: Target) -> tuple[socket.AddressFamily, Any]:
    """What to connect to."""
    if isinstance(target, Path):
        return socket.AF_UNIX, str(target)
    family, _, _, _, address = socket.getaddrinfo(*target, type=socket.SOCK_STREAM)[0]
    return family, address


if __name__ == "__main__":
    from bench.chaos.fault_commands import main

    sys.exit(main())
