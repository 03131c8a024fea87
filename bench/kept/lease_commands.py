"""What asking for a value, and for a lease if there is none, costs a node: `python -m bench.kept.lease_commands`.

Every key is there. One connection keeps fifty commands in flight; both ways take turns, and the least of the rounds
counts.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

import hiredis
import psutil

from bench.table import Row, aligned
from bench.targets import four_nodes

DEPTH = 50
KEYS = [b"default:key:%08d" % number for number in range(2000)]
VALUE = b"v" * 100
REPLY = len(b"$100\r\n\r\n") + len(VALUE)
VACANCY = b"\xffV" + b"l" * 30
SECONDS = 0.4
"""Of the node's CPU, about, for each way in each round."""
ROUNDS = 7

WAYS: dict[str, tuple[bytes, ...]] = {
    "GET, and a script after a miss (chosen)": (),
    "SET NX GET PX, with a vacancy": (VACANCY, b"NX", b"GET", b"PX", b"5000"),
}
"""By what stands behind the key; a GET if it is nothing."""


class Node:
    """A connection to a node, and the node's process."""

    def __init__(self, path: Path, password: str, process: int) -> None:
        self._process = psutil.Process(process)
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(str(path))
        self.exchange([pack(b"AUTH", password.encode())], len(b"+OK\r\n"))

    def exchange(self, commands: Sequence[bytes], expected: int) -> None:
        """Send commands and read so many bytes of replies."""
        self._connection.sendall(b"".join(commands))
        while expected > 0:
            expected -= len(self._connection.recv(1 << 18))
        assert not expected

    def cpu(self) -> float:
        """Seconds of CPU since it began."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def pack(*words: bytes) -> bytes:
    """A command in RESP."""
    command: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # any length
    return command


def measured(node: Node, packets: Sequence[Sequence[bytes]], seconds: float) -> float:
    """Microseconds of the node's CPU for each command."""
    before, count, used = node.cpu(), 0, 0.0
    while used < seconds:
        for packet in packets:
            node.exchange(packet, REPLY * DEPTH)
        count += len(KEYS)
        used = node.cpu() - before
    return used / count * 1e6


def main(seconds: float = SECONDS, rounds: int = ROUNDS) -> None:
    """Measure and print."""
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    with four_nodes(1) as nodes:
        ((name, path),) = nodes.sockets.items()
        node = Node(path, nodes.password, nodes.processes[name])
        node.exchange([pack(b"SET", key, VALUE) for key in KEYS], len(b"+OK\r\n") * len(KEYS))
        for _ in range(rounds):
            for name, words in WAYS.items():
                commands = [pack(b"SET", key, *words) if words else pack(b"GET", key) for key in KEYS]
                packets = [commands[start : start + DEPTH] for start in range(0, len(KEYS), DEPTH)]
                found[name].append(measured(node, packets, seconds))
        node.close()
    rows: list[Row] = [(name, f"{min(times) * 1000:,.0f}") for name, times in found.items()]
    print(aligned([("a hit", "ns of the node's CPU"), *rows]))


if __name__ == "__main__":
    main()
