"""What each kind of request costs the server and the nodes: `python -m bench.kept.requests`.

One connection keeps fifty requests in flight. All kinds take turns, round by round; the least of the rounds counts.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from bench.cpu import CpuTimes, cpu_times
from bench.table import Row, aligned
from bench.targets import Target, wireproto_server

DEPTH = 50
KEYS = [b"key:%08d" % number for number in range(2000)]
VALUE = b"v" * 100
SECONDS = 0.4
"""Of CPU, about, for each kind in each round."""
ROUNDS = 7

Request = Callable[[bytes], bytes]


def _read(options: bytes) -> Request:
    return lambda key: b"READ %d:%b%b\n" % (len(key), key, options)


def _write(options: bytes, prefix: bytes = b"") -> Request:
    return lambda key: b"WRITE %d:%b%b %d:%b%b\n" % (len(prefix + key), prefix, key, len(VALUE), VALUE, options)


KINDS: dict[str, Request] = {
    "READ": _read(b""),
    "READ lease= (chosen: a GET, which hits)": _read(b" lease=5000"),
    "READ lease= early= (by script)": _read(b" lease=5000 early=1"),
    "READ ttl": _read(b" ttl"),
    "READ ver": _read(b" ver"),
    "WRITE ex=": _write(b" ex=600"),
    "WRITE xx": _write(b" xx"),
    "INCR": lambda key: b"INCR %d:n%b\n" % (len(key) + 1, key),
    "INCR ex=": lambda key: b"INCR %d:x%b ex=600\n" % (len(key) + 1, key),
    "TOUCH": lambda key: b"TOUCH %d:%b ex=600\n" % (len(key), key),
}


class Client:
    """A connection that sends packets and counts the lines of the replies."""

    def __init__(self, target: Target) -> None:
        assert target.plain_port is not None
        self._connection = socket.create_connection(("127.0.0.1", target.plain_port))
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = target.api_key.encode()
        self.exchange(b"AUTH %d:%b\n" % (len(key), key), 1)

    def exchange(self, packet: bytes, replies: int) -> None:
        """Send a packet and read so many replies, none of which may be an error."""
        self._connection.sendall(packet)
        while replies:
            data = self._connection.recv(1 << 18)
            assert data
            assert b"ERR" not in data
            replies -= data.count(b"\n")

    def close(self) -> None:
        """End it."""
        self._connection.close()


def packets(request: Request) -> Sequence[bytes]:
    """All keys, fifty in each packet."""
    return [b"".join(map(request, KEYS[start : start + DEPTH])) for start in range(0, len(KEYS), DEPTH)]


def measured(target: Target, client: Client, data: Sequence[bytes], seconds: float) -> CpuTimes:
    """Microseconds of CPU for each request."""
    before, count = cpu_times(target), 0
    used = CpuTimes(0.0, 0.0)
    while used.server + used.nodes < seconds:
        for packet in data:
            client.exchange(packet, DEPTH)
        count += len(KEYS)
        used = cpu_times(target).since(before)
    return CpuTimes(used.server / count * 1e6, used.nodes / count * 1e6)


def main(seconds: float = SECONDS, rounds: int = ROUNDS) -> None:
    """Measure and print."""
    found: dict[str, list[CpuTimes]] = {name: [] for name in KINDS}
    with wireproto_server("--workers", "1") as target:
        client = Client(target)
        for packet in packets(_write(b"")):
            client.exchange(packet, DEPTH)
        prepared = {name: packets(request) for name, request in KINDS.items()}
        for _ in range(rounds):
            for name, data in prepared.items():
                found[name].append(measured(target, client, data, seconds))
        client.close()
    rows: list[Row] = []
    for name, times in found.items():
        rows.append((name, f"{min(time.server for time in times):.2f}", f"{min(time.nodes for time in times):.2f}"))
    print(aligned([("us of CPU for each", "server", "nodes"), *rows]))


if __name__ == "__main__":
    main()
