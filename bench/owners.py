"""Which node of a running server owns which key, as its verb WHERE tells."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterable

from bench.targets import Target
from bench.workload import Workload

UP_TIMEOUT = 10.0


def owners(target: Target, workload: Workload, numbers: Iterable[int]) -> list[tuple[str, str]]:
    """For each key number the name of the node, and its state: `up`, `probing` or `down`."""
    assert target.plain_port is not None
    requests = [b"AUTH %d:%b\n" % (len(target.api_key), target.api_key.encode())]
    requests += [b"WHERE %d:%b\n" % (len(key), key) for key in map(workload.key, numbers)]
    with socket.create_connection(("127.0.0.1", target.plain_port), timeout=10) as connection:
        connection.sendall(b"".join(requests))
        with connection.makefile("rb") as replies:
            lines = [replies.readline().decode() for _ in requests]
    found = []
    for line in lines[1:]:
        match = re.match(r"OK \d+:(\S+) .*state=(\w+)", line)
        assert match is not None, line
        found.append((match[1], match[2]))
    return found


def wait_until_up(target: Target, workload: Workload, number: int) -> None:
    """Return when the node that owns a key is used again. Raises TimeoutError after 10 seconds."""
    deadline = time.monotonic() + UP_TIMEOUT
    while owners(target, workload, [number])[0][1] != "up":
        if time.monotonic() > deadline:
            raise TimeoutError("the node is not used again")
        time.sleep(0.05)
