"""A good client that comes while others crowd: it connects, logs in, reads, and goes."""

from __future__ import annotations

import contextlib
import math
import socket
import time
from typing import Final

from bench.targets import Target

PATIENCE: Final = 5.0
EVERY: Final = 0.1
"""Seconds from the end of a visit to the next."""


def visit(target: Target) -> float:
    """Seconds from the first packet to the answer of a READ; infinite if there was none."""
    started = time.monotonic()
    context = target.client_context()
    try:
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(socket.create_connection((target.host, target.port), PATIENCE))
            if target.tls:
                connection = stack.enter_context(context.wrap_socket(connection, server_hostname=target.host))
            key = target.api_key.encode()
            connection.sendall(b"AUTH %d:%b\n" % (len(key), key))
            if not _line(connection).startswith(b"OK "):
                return math.inf
            connection.sendall(b"READ 7:nothing\n")
            if _line(connection) != b"MISS\n":
                return math.inf
    except OSError:
        return math.inf
    return time.monotonic() - started


def _line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        data = connection.recv(4096)
        if not data:
            break
        line += data
    return line


def visits(target: Target, count: int, seconds: float = 0.0) -> list[float]:
    """So many visits at least, and for so many seconds, one after the other; seconds that each took."""
    taken: list[float] = []
    until = time.monotonic() + seconds
    while len(taken) < count or time.monotonic() < until:
        taken.append(visit(target))
        time.sleep(EVERY)
    return taken


def percentile(values: list[float], share: float) -> float:
    """The value that this share of all, such as 0.99, does not pass."""
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]
