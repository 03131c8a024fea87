"""Clients that never come to the point, many at once, in a process of their own.

Whoever is closed comes again, so that there are always as many.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Final, Literal

from bench.idle import CONNECTIONS_PER_SOURCE, raise_open_files
from bench.targets import Target

Kind = Literal["silent", "hello", "login"]
"""A TCP connection and no byte; a ClientHello, one byte a second; the handshake, and then AUTH, one byte a second."""
OPENERS: Final = 4
"""Threads that connect; a client's handshake takes about as long as the server's."""
MOST_OPENING: Final = 64
EVERY: Final = 1.0
"""Seconds between two bytes of one client."""
TIMEOUT: Final = 5.0
SOURCES: Final = 8
"""Addresses that they come from, 127.0.0.2 and those behind it, as ports of one are soon used up."""
SLOW_LOGIN: Final = b"AUTH 64:" + b"x" * 64


@dataclass(slots=True)
class Report:
    """What the crowd has seen."""

    opened: int = 0
    failed: int = 0
    """Attempts that ended before the client had come to where it wanted to be slow."""
    most: int = 0
    """Open at once."""
    ages: list[float] = field(default_factory=list)
    """Seconds that each was open until the server closed it."""


class _Member:
    """One client."""

    __slots__ = ("connection", "due", "opened", "rest")

    def __init__(self, connection: socket.socket, opened: float, rest: bytes) -> None:
        self.connection = connection
        self.opened = opened
        self.due = opened
        self.rest = iter(rest)


class _Crowd:
    """All of them, in the child process."""

    def __init__(self, target: Target, kind: Kind, count: int) -> None:
        self._target = target
        self._kind = kind
        self._count = count
        self._context = target.client_context()
        self._numbers = itertools.count()
        self._members: dict[int, _Member] = {}
        self._slow: deque[_Member] = deque()
        self._poll = select.epoll()
        self._opening: set[Future[_Member]] = set()
        self.report = Report()

    def run(self, pipe: Connection) -> None:
        """Crowd until the pipe has something to say; tell it when all have come for the first time."""
        told = False
        with ThreadPoolExecutor(OPENERS) as openers:
            while not pipe.poll():
                self._open(openers)
                self._look()
                self._trickle()
                if not told and len(self._members) >= self._count:
                    told = True
                    pipe.send(time.monotonic())
        for done in self._opening:
            with contextlib.suppress(OSError):
                done.result().connection.close()
        for member in self._members.values():
            member.connection.close()
        self._poll.close()

    def _open(self, openers: ThreadPoolExecutor) -> None:
        for done in [each for each in self._opening if each.done()]:
            self._opening.discard(done)
            try:
                member = done.result()
            except OSError:
                self.report.failed += 1
                continue
            self.report.opened += 1
            self._members[member.connection.fileno()] = member
            self._slow.append(member)
            self._poll.register(member.connection, select.EPOLLIN)
        self.report.most = max(self.report.most, len(self._members))
        missing = self._count - len(self._members) - len(self._opening)
        for _ in range(min(missing, MOST_OPENING - len(self._opening))):
            self._opening.add(openers.submit(self._connect))

    def _connect(self) -> _Member:
        number = next(self._numbers)
        source = (f"127.0.0.{2 + number // CONNECTIONS_PER_SOURCE % SOURCES}", 0)
        connection = socket.create_connection(("127.0.0.1", self._target.port), TIMEOUT, source)
        opened = time.monotonic()
        try:
            rest = b""
            if self._kind == "hello":
                rest = client_hello(self._context)[:-1]
            elif self._kind == "login":
                connection = self._context.wrap_socket(connection, server_hostname=self._target.host)
                opened = time.monotonic()
                rest = SLOW_LOGIN[:-1]
            connection.setblocking(False)
        except BaseException:
            connection.close()
            raise
        return _Member(connection, opened, rest)

    def _look(self) -> None:
        for descriptor, _ in self._poll.poll(0.005, 1000):
            member = self._members[descriptor]
            try:
                if member.connection.recv(4096):
                    continue
            except (BlockingIOError, ssl.SSLWantReadError):
                continue  # TLS itself has said something
            except OSError:
                pass
            self.report.ages.append(time.monotonic() - member.opened)
            self._poll.unregister(descriptor)
            del self._members[descriptor]
            member.connection.close()

    def _trickle(self) -> None:
        now = time.monotonic()
        while self._slow and self._slow[0].due <= now:
            member = self._slow.popleft()
            if member.connection.fileno() < 0:
                continue
            member.due += EVERY
            byte = next(member.rest, None)
            if byte is not None:
                with contextlib.suppress(OSError):  # it is closed, which will be seen
                    member.connection.send(bytes((byte,)))
                self._slow.append(member)


def client_hello(context: ssl.SSLContext) -> bytes:
    """What a client's handshake begins with."""
    outgoing = ssl.MemoryBIO()
    handshake = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        handshake.do_handshake()
    return outgoing.read()


def _run(pipe: Connection, target: Target, kind: Kind, count: int) -> None:
    raise_open_files(count)
    crowd = _Crowd(target, kind, count)
    crowd.run(pipe)
    with contextlib.suppress(BrokenPipeError):
        pipe.send(crowd.report)


class CrowdProcess:
    """The crowd, seen from outside."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._began = 0.0
        self._report: Report | None = None

    def wait_until_all_are_there(self, within: float) -> bool:
        """Whether so many as it is to have were open at once, after at most so many seconds."""
        if not self._pipe.poll(within):
            return False
        self._began = self._pipe.recv()
        return True

    def end(self) -> Report:
        """Have it leave; what it has seen. Raises RuntimeError if it has ended already."""
        try:
            self._pipe.send("end")
            told = self._pipe.recv()
            while not isinstance(told, Report):  # that all have come, after all
                told = self._pipe.recv()
        except (EOFError, OSError):
            raise RuntimeError("the process of the crowd ended") from None
        return told


@contextlib.contextmanager
def crowd(target: Target, kind: Kind, count: int) -> Iterator[CrowdProcess]:
    """So many clients of this kind, for as long as the block lasts."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    child = context.Process(target=_run, args=(theirs, target, kind, count), daemon=True)
    child.start()
    theirs.close()
    try:
        yield CrowdProcess(ours)
    finally:
        with contextlib.suppress(OSError):
            ours.send("end")
        ours.close()
        child.join(TIMEOUT)
        child.kill()
        child.join()
