"""A server whose behaviour is a script of the test's own, in a thread of its own."""

from __future__ import annotations

import asyncio
import itertools
import random
import ssl
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from wireproto.core.limits import Limits
from wireproto.core.request_wire import Frame, RequestParser
from wireproto.core.verbs import Verb

Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """One client, as the script sees it."""

    def __init__(self, server: FakeServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self._reader = reader
        self._writer = writer
        self._parser = RequestParser(Limits())
        self._parser.trusted = True
        self._held = b""

    async def frame(self) -> Frame | None:
        """The next request, or None when the client has gone."""
        while True:
            frame, position = self._parser.read(self._held, 0)
            self._held = self._held[position:]
            if frame is not None:
                assert not frame.error, frame.text
                self.server.heard.append(verb_of(frame))
                return frame
            chunk = await self._reader.read(1 << 18)
            if not chunk:
                return None
            self._held += chunk

    async def request(self) -> Frame:
        """The next request; the script ends when there is none."""
        frame = await self.frame()
        if frame is None:
            raise ConnectionResetError
        return frame

    def send(self, data: bytes) -> None:
        """Write bytes as they are."""
        if not self._writer.is_closing():
            self._writer.write(data)

    def answer(self, frame: Frame, line: bytes) -> None:
        """Answer a request; `line` has no tag and no LF."""
        self.send((b"#%b " % frame.tag if frame.tag else b"") + line + b"\n")

    async def gone(self) -> None:
        """Say nothing until the client goes."""
        while await self._reader.read(1 << 18):
            pass

    def reset(self) -> None:
        """Break the connection."""
        self._writer.transport.abort()


def verb_of(frame: Frame) -> str:
    """The verb of a request, in capitals."""
    assert frame.spec is not None
    return frame.spec.verb.name


class FakeServer:
    """Listens on a free port while it is entered. Each connection runs the script; when that returns, it is closed."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.connections = 0
        self.open = 0
        self.heard: list[str] = []
        """The verbs of all requests."""
        self.faults: list[BaseException] = []
        self._script = script
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        assert not self.faults or error is not None, self.faults

    @property
    def url(self) -> str:
        """For a client without TLS or an API key."""
        return f"wireproto+plain://127.0.0.1:{self.port}"

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls, backlog=1024)

    async def _stop(self) -> None:
        self._stopping = True
        # Whoever asyncio is just accepting is let in first: to close or cancel now would leak a socket.
        while accepting := asyncio.all_tasks() - self._tasks - {asyncio.current_task()}:
            await asyncio.wait(accepting)
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if not self._stopping:
                await self._script(Peer(self, reader, writer))
        except (ConnectionError, asyncio.CancelledError, ssl.SSLError):
            pass
        except BaseException as fault:
            self.faults.append(fault)
        finally:
            self._tasks.discard(task)
            writer.close()
            try:
                await writer.wait_closed()
            except (OSError, asyncio.CancelledError):
                pass
            self.open -= 1


class Cache:
    """A script that serves a dictionary; with a delay, every answer comes after a random time, out of order.

    AUTH takes the API key `key`, and gives tokens that live `token_lifetime` seconds. Leases and values do not end by
    themselves, but stale values can be put in.
    """

    def __init__(self, *, max_delay: float = 0.0, token_lifetime: int = 900, needs_login: bool = False) -> None:
        self.values: dict[bytes, bytes] = {}
        self.stale: dict[bytes, bytes] = {}
        """What is served only with a lease."""
        self.versions: dict[bytes, bytes] = {}
        self.leases: dict[bytes, bytes] = {}
        self.tokens: set[bytes] = set()
        self.needs_login = needs_login
        self._max_delay = max_delay
        self._lifetime = token_lifetime
        self._random = random.Random(7)
        self._stamps = itertools.count(1)

    async def __call__(self, peer: Peer) -> None:
        loop = asyncio.get_running_loop()
        logged_in = not self.needs_login
        while (frame := await peer.frame()) is not None:
            if verb_of(frame) == "AUTH":
                line = self._login(frame.arguments[0])
                logged_in = line.startswith(b"OK")
                peer.answer(frame, line)
                continue
            line = self.answer(frame) if logged_in else b"ERR AUTH :log in first"
            if self._max_delay:
                loop.call_later(self._random.random() * self._max_delay, peer.answer, frame, line)
            else:
                peer.answer(frame, line)

    def _login(self, credential: bytes) -> bytes:
        if credential in self.tokens:
            return b"OK ttl=%d" % self._lifetime
        if credential != b"key":
            return b"ERR AUTH :the credential is not accepted"
        token = b"token.number.%d" % len(self.tokens)
        self.tokens.add(token)
        return b"OK %d:%b ttl=%d" % (len(token), token, self._lifetime)

    def answer(self, frame: Frame) -> bytes:
        """The reply to a request, without tag and LF."""
        assert frame.spec is not None
        verb, options, key = frame.spec.verb, frame.options, (*frame.arguments, b"")[0]
        if verb is Verb.READ:
            return self._read(key, frame)
        if verb is Verb.WRITE:
            if not self._holds(key, frame):
                return b"CONFLICT"
            self._store(key, frame.arguments[1])
            return b"OK ver=%b" % self.versions[key] if "ver" in options else b"OK"
        if verb is Verb.DELETE:
            return self._delete(key, frame)
        if verb is Verb.INCR:
            return self._count(key, options.get("by", 1))
        if verb is Verb.TOUCH:
            return b"OK" if key in self.values else b"MISS"
        if verb is Verb.WHERE:
            return b"OK 7:shard-2 13:master up h:1 22:replica up lag_ms=3 /s role=master state=up"
        if verb is Verb.STATS:
            return b'OK 16:{"version": "0"}'
        return b"OK"

    def _read(self, key: bytes, frame: Frame) -> bytes:
        value, options = self.values.get(key), b""
        if value is None and "lease" in frame.options:
            value = self.stale.get(key)
            options = b"" if value is None else b" stale"
            if key in self.leases:
                options += b" held=%d" % frame.options["lease"]
            else:
                self.leases[key] = self._stamp()
                options += b" lease=%b" % self.leases[key]
        elif value is not None:
            options += b" ttl=1500" if "ttl" in frame.options else b""
            options += b" ver=%b" % self.versions[key] if "ver" in frame.options else b""
        return b"MISS" + options if value is None else b"OK %d:%b%b" % (len(value), value, options)

    def _holds(self, key: bytes, frame: Frame) -> bool:
        for name, token in frame.tokens.items():
            if (self.versions if name == "ver" else self.leases).get(key) != token:
                return False
        return not (
            ("nx" in frame.options and key in self.values) or ("xx" in frame.options and key not in self.values)
        )

    def _store(self, key: bytes, value: bytes) -> None:
        self._forget(key)
        self.values[key] = value
        self.versions[key] = self._stamp()

    def _forget(self, key: bytes) -> bool:
        for table in (self.stale, self.versions, self.leases):
            table.pop(key, None)
        return self.values.pop(key, None) is not None

    def _delete(self, key: bytes, frame: Frame) -> bytes:
        if "lease" in frame.tokens:
            return b"OK" if self.leases.get(key) == frame.tokens["lease"] and self.leases.pop(key) else b"CONFLICT"
        if key in self.values and not self._holds(key, frame):
            return b"CONFLICT"
        return b"OK" if self._forget(key) else b"MISS"

    def _count(self, key: bytes, by: int) -> bytes:
        value = self.values.get(key, b"0")
        if not value.removeprefix(b"-").isdigit():
            return b"ERR TYPE :the value is no counter"
        self._store(key, b"%d" % (int(value) + by))
        return b"OK %d:%b" % (len(self.values[key]), self.values[key])

    def _stamp(self) -> bytes:
        return b"stamp-%d" % next(self._stamps)
