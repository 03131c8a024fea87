"""Clients that make the server hold things: replies that they do not read, and values that they do not end.

What all of them make it hold is bound by `max_client_memory`, and a few of them come nowhere near it.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

import psutil

from bench.chaos.findings import Bound, Figure, Finding
from bench.hostile.visits import percentile, visits
from bench.idle import raise_open_files
from bench.targets import Target, read_stats, wireproto_server

NAME: Final = "memory"
MIB: Final = 1024 * 1024
FEW: Final = 10
GROWTH_BY_FEW: Final = 64
READS: Final = 500
VALUES: Final = 8
"""Different values of 1 MiB that are read."""
PART: Final = 900 * 1024
"""Bytes of a value that are sent of the 1 MiB that was announced."""
BUDGET: Final = 1024
"""MiB, what `max_client_memory` is by itself."""
BESIDE: Final = 1.5
"""What the process may take for what it holds: the allocator keeps some, and sums are 5 ms old."""
STALL: Final = 30.0
FRAME: Final = 30.0
"""Seconds after which a server gives up who does not read, and who does not end a frame."""
TOLD_LATE: Final = 2.0
KERNELS_PROGRESS: Final = 60.0
"""Seconds more for many: while the kernel still takes some of their replies in, they are not told from slow readers."""
RECEIVE_BUFFER: Final = 64 * 1024
"""Bytes that the kernel takes in for one of the many, who would else fill the machine outside of the server."""
_LOOK: Final = 0.02


def add_options(parser: argparse.ArgumentParser) -> None:
    """How many."""
    parser.add_argument("--hoarders", type=int, default=2_000, metavar="N", help="that make it hold much (2,000)")


def run(options: argparse.Namespace) -> list[Finding]:
    """Ten that do not read; then many; then many that do not end what they write."""
    many = options.hoarders
    raise_open_files(many)
    return [
        hoard("ten that read nothing", FEW, _ask, "stall_timeout", STALL, GROWTH_BY_FEW),
        hoard(
            *("many that read nothing", many, _ask_with_small_buffer, "stall_timeout", STALL, BUDGET * BESIDE),
            *("--node-timeout", "20s"),
            late=KERNELS_PROGRESS,
        ),
        hoard("many unfinished values", many, _write_a_part, "frame_timeout", FRAME, BUDGET * BESIDE),
    ]


class Memory:
    """How much a server's memory has grown, at its most."""

    def __init__(self, server: Target) -> None:
        self._process = psutil.Process(server.server_processes[0])
        self._before = self._process.memory_info().rss
        self.growth = 0.0
        """MiB."""

    def look(self) -> None:
        """Look again."""
        self.growth = max(self.growth, (self._process.memory_info().rss - self._before) / MIB)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Look all the time meanwhile, in a thread."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(_LOOK):
                self.look()

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def hoard(
    name: str,
    count: int,
    begin: Callable[[Target], socket.socket],
    limit: str,
    seconds: float,
    most: float,
    *flags: str,
    late: float = TOLD_LATE,
) -> Finding:
    """So many clients that `begin` and go no further, until the server has closed them all.

    `limit` is what closes them after so many `seconds` if nothing does before, and `most` the MiB that they may cost.
    """
    with wireproto_server(*flags) as server, contextlib.ExitStack() as stack:
        plain = server.without_tls()
        _load(plain)
        memory = Memory(server)
        with memory.watched():
            clients = [stack.enter_context(contextlib.closing(begin(plain))) for _ in range(count)]
            began = time.monotonic()
            taken = []
            while not _are_gone(plain) and time.monotonic() - began < seconds + late:
                taken += visits(plain, 5)
            lasted = time.monotonic() - began
        assert plain.port is not None
        if not _are_gone(plain):
            lasted = math.inf
        closed = read_stats(plain.port, plain.api_key)["connections"]["closed_by_limit"]
    finding = Finding(f"{NAME}: {name}", f"{len(clients):,} clients; whoever is left is closed after {seconds:g} s")
    gone = closed.get(limit, 0) + closed.get("memory", 0)
    finding.figures = [
        Figure("grows by, MiB", [memory.growth], Bound(most)),
        Figure("all closed after, s", [lasted], Bound(seconds + late)),
        Figure("closed and not counted", [float(count - gone)], Bound(0)),
        Figure("visit of a good client, s", taken),
        Figure("99 % of visits, s", [percentile(taken, 0.99)] if taken else []),
    ]
    finding.notes = [f"closed by limit: {closed}"]
    return finding


def _load(server: Target) -> None:
    """Write the values, and read them once: what it costs to have to do with such values at all is not in question."""
    value = b"v" * MIB
    with _open(server, None) as client:
        for number in range(VALUES):
            client.sendall(b"WRITE 5:big-%d %d:%b\nREAD 5:big-%d\n" % (number, MIB, value, number))
            got = 0
            while got < len(b"OK\nOK 1048576:\n") + MIB:
                got += len(client.recv(1 << 18))


def _are_gone(server: Target) -> bool:
    assert server.port is not None
    return int(read_stats(server.port, server.api_key)["connections"]["open"]) <= 1  # who asks


def _open(server: Target, receive_buffer: int | None) -> socket.socket:
    client = socket.socket()
    if receive_buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(10)
    client.connect((server.host, server.port))
    client.sendall(b"AUTH %d:%b\n" % (len(server.api_key), server.api_key.encode()))
    assert client.recv(4096).startswith(b"OK ")
    return client


def _ask(server: Target, receive_buffer: int | None = None) -> socket.socket:
    client = _open(server, receive_buffer)
    with contextlib.suppress(OSError):
        client.sendall(b"".join(b"READ 5:big-%d\n" % (number % VALUES) for number in range(READS)))
        client.recv(1)  # one after the other, so that the nodes are not overrun, which is another matter
    return client


_ask_with_small_buffer = functools.partial(_ask, receive_buffer=RECEIVE_BUFFER)


def _write_a_part(server: Target) -> socket.socket:
    client = _open(server, None)
    with contextlib.suppress(OSError):  # the server may have closed it: it holds most
        client.sendall(b"WRITE 5:never %d:%b" % (MIB, bytes(PART)))
    return client
