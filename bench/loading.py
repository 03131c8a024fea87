"""Writes the keys of a workload before they are read."""

from __future__ import annotations

import socket

from bench.connection import open_socket
from bench.dialects import DIALECTS
from bench.script import Script, loading_script
from bench.targets import Target
from bench.workload import Workload

BATCH_BYTES = 1024 * 1024


class LoadingError(RuntimeError):
    """A write was not answered as it must be."""


def load(target: Target, workload: Workload) -> None:
    """Write every key. Raises LoadingError when a write is refused."""
    context = target.client_context() if target.tls else None
    dialect = DIALECTS[target.protocol]
    with open_socket(target, context) as connection:
        start, size = 0, 0
        for number in range(workload.keys):
            size += workload.sizes.of_key(number)
            if size >= BATCH_BYTES or number + 1 - start == 1000 or number + 1 == workload.keys:
                _write(connection, loading_script(workload, dialect, range(start, number + 1)))
                start, size = number + 1, 0


def _write(connection: socket.socket, script: Script) -> None:
    connection.sendall(script.requests)
    got = b""
    while script.replies.startswith(got) and len(got) < len(script.replies):
        data = connection.recv(65536)
        if not data:
            break
        got += data
    if got != script.replies:
        raise LoadingError(f"the target does not store the keys; it answers {got[-100:]!r}")
