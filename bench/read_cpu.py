"""Server CPU per READ over TLS: `python -m bench.read_cpu`.

Starts a server with four nodes, loads 10,000 keys of 100 bytes, and reads them over authenticated TLS connections in a
closed loop, 1 and 50 requests in flight on each, in alternating rounds. Every reply is compared with what was written,
byte by byte. Prints requests per second and the server process's own CPU time per READ (user and system, as psutil
reports it), without the nodes' and the generator's. CPU per request is the steadier figure on a shared machine.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import psutil
import uvloop

from tests.live.running import RunningServer, client_context

KEYS = 10_000
CONNECTIONS = 16


def value_of(number: int) -> bytes:
    """100 bytes that name their key."""
    return b"%0100d" % number


def key_of(number: int) -> bytes:
    """The number-th key."""
    return b"key:%08d" % number


class Reader(asyncio.BufferedProtocol):
    """Sends the same batches of READs again and again, and compares every reply."""

    def __init__(self, api_key: str, depth: int, seed: int) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.reads = 0
        self.stopped = False
        self._depth = depth
        self._login = b"AUTH %d:%b\n" % (len(api_key), api_key.encode())
        self._buffer = memoryview(bytearray(256 * 1024))
        self._heard = b""
        self._transport: asyncio.Transport
        self._turn = 0
        choose = random.Random(seed)
        batches = [[choose.randrange(KEYS) for _ in range(depth)] for _ in range(64)]
        self._requests = [b"".join(b"READ 12:%b\n" % key_of(number) for number in batch) for batch in batches]
        self._expected = [b"".join(b"OK 100:%b\n" % value_of(number) for number in batch) for batch in batches]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._login)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._heard += self._buffer[:nbytes]
        if not self.ready.done():
            if self._heard.endswith(b"\n"):
                assert self._heard.startswith(b"OK "), self._heard
                self._heard = b""
                self.ready.set_result(None)
            return
        expected = self._expected[self._turn % 64]
        if len(self._heard) < len(expected):
            return
        assert self._heard == expected, "a wrong answer"
        self._heard = b""
        self.reads += self._depth
        self._turn += 1
        if not self.stopped:
            self.start()

    def start(self) -> None:
        """Send the next batch."""
        self._transport.write(self._requests[self._turn % 64])

    def close(self) -> None:
        """End the connection."""
        self._transport.close()


@dataclass(frozen=True)
class Figure:
    """What one round measured."""

    reads_per_second: float
    cpu_us_per_read: float


async def one_round(server: RunningServer, depth: int, seconds: float) -> Figure:
    """Read in a closed loop on 16 connections."""
    loop = asyncio.get_running_loop()
    context = client_context(server.ca)
    readers = [Reader(server.api_key, depth, seed) for seed in range(CONNECTIONS)]
    for reader in readers:
        await loop.create_connection(
            lambda reader=reader: reader,  # type: ignore[misc]  # bound now
            "127.0.0.1",
            server.port,
            ssl=context,
            server_hostname="localhost",
        )
        await reader.ready
    for reader in readers:
        reader.start()
    await asyncio.sleep(seconds / 4)
    process = psutil.Process(server.process.pid)
    before, reads_before, started = process.cpu_times(), sum(reader.reads for reader in readers), time.monotonic()
    await asyncio.sleep(seconds)
    after, reads = process.cpu_times(), sum(reader.reads for reader in readers) - reads_before
    took = time.monotonic() - started
    cpu = (after.user - before.user) + (after.system - before.system)
    for reader in readers:
        reader.stopped = True
    await asyncio.sleep(0.1)
    for reader in readers:
        reader.close()
    await asyncio.sleep(0.1)
    return Figure(reads / took, cpu / reads * 1e6)


def load(server: RunningServer) -> None:
    """Write the keys that are read later."""
    with server.tls() as client:
        for start in range(0, KEYS, 1000):
            numbers = range(start, start + 1000)
            client.send(b"".join(b"WRITE 12:%b 100:%b\n" % (key_of(number), value_of(number)) for number in numbers))
            assert client.exactly(3000) == b"OK\n" * 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each kind (5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a round (2)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = RunningServer(Path(folder))
        try:
            load(server)
            figures: dict[int, list[Figure]] = {1: [], 50: []}
            for _ in range(options.rounds):
                for depth, found in figures.items():
                    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                        found.append(runner.run(one_round(server, depth, options.seconds)))
        finally:
            server.stop()
    print(f"{CONNECTIONS} connections, TLS, four nodes, 100-byte values, medians of {options.rounds} rounds")
    print(f"{'in flight':>9}  {'READs/s':>9}  {'server CPU per READ':>20}")
    for depth, found in figures.items():
        rate = statistics.median(figure.reads_per_second for figure in found)
        cpu = statistics.median(figure.cpu_us_per_read for figure in found)
        print(f"{depth:>9}  {rate:>9,.0f}  {cpu:>17.2f} us")


if __name__ == "__main__":
    main()
