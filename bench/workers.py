"""Throughput and CPU with one worker and with more: `python -m bench.workers`.

Starts a server for each number of workers, all with four nodes of their own, and reads values of 100 bytes over 16
authenticated TLS connections in a closed loop, in alternating rounds. Every reply is compared with what was written.
Then the same with PING, which needs neither a node nor much of a generator: on a machine with few cores it is these
that stop the growth of READ. Prints requests per second, how many cores the server's processes (supervisor and workers,
without the nodes) kept busy, their CPU time per request, and how many connections each worker had.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import uvloop

from bench.read_cpu import CONNECTIONS, Reader, load
from tests.live.running import RunningServer, client_context


@dataclass(frozen=True)
class Figure:
    """What one round measured."""

    per_second: float
    cores: float
    cpu_us_each: float
    connections: list[int]


def processes(server: RunningServer) -> list[psutil.Process]:
    """The server's own processes."""
    workers = server.stats()["workers"]
    assert isinstance(workers, list)
    return [psutil.Process(pid) for pid in sorted({server.process.pid, *(worker["pid"] for worker in workers)})]


def cpu_seconds(family: list[psutil.Process]) -> float:
    """User and system time that they have had."""
    times = [process.cpu_times() for process in family]
    return sum(one.user + one.system for one in times)


class Pinger(Reader):
    """Sends PINGs instead."""

    def __init__(self, api_key: str, depth: int, seed: int) -> None:
        super().__init__(api_key, depth, seed)
        self._requests = [b"PING\n" * depth] * 64
        self._expected = [b"OK\n" * depth] * 64


KINDS: Final[dict[str, type[Reader]]] = {"READ": Reader, "PING": Pinger}


async def one_round(server: RunningServer, kind: type[Reader], depth: int, seconds: float) -> Figure:
    """Ask in a closed loop."""
    loop = asyncio.get_running_loop()
    context = client_context(server.ca)
    readers = [kind(server.api_key, depth, seed) for seed in range(CONNECTIONS)]
    for reader in readers:
        await loop.create_connection(
            lambda reader=reader: reader,  # type: ignore[misc]  # bound now
            "127.0.0.1",
            server.port,
            ssl=context,
            server_hostname="localhost",
        )
        await reader.ready
    workers = (await asyncio.to_thread(server.stats))["workers"]
    assert isinstance(workers, list)
    for reader in readers:
        reader.start()
    await asyncio.sleep(seconds / 4)
    family = await asyncio.to_thread(processes, server)
    before, reads_before, started = cpu_seconds(family), sum(reader.reads for reader in readers), time.monotonic()
    await asyncio.sleep(seconds)
    cpu, reads = cpu_seconds(family) - before, sum(reader.reads for reader in readers) - reads_before
    took = time.monotonic() - started
    for reader in readers:
        reader.stopped = True
    await asyncio.sleep(0.1)
    for reader in readers:
        reader.close()
    await asyncio.sleep(0.1)
    return Figure(reads / took, cpu / took, cpu / reads * 1e6, [worker["connections"] for worker in workers])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of workers (1 2)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each kind (5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a round (2)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        servers: dict[int, RunningServer] = {}
        for workers in options.workers:
            place = Path(folder, str(workers))
            place.mkdir()
            servers[workers] = RunningServer(place, "--workers", str(workers))
            stack.callback(servers[workers].stop)
            load(servers[workers])
        found: dict[tuple[str, int, int], list[Figure]] = {
            (kind, depth, workers): [] for kind in KINDS for depth in (1, 50) for workers in servers
        }
        for _ in range(options.rounds):
            for (kind, depth, workers), figures in found.items():
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    figures.append(runner.run(one_round(servers[workers], KINDS[kind], depth, options.seconds)))
    print(f"{CONNECTIONS} connections, TLS, four nodes, 100-byte values, medians of {options.rounds} rounds")
    heads = (
        f"{'':4}  {'in flight':>9}  {'workers':>7}  {'per second':>10}  {'server cores':>12}  {'server CPU each':>15}"
    )
    print(f"{heads}  connections of each")
    for (kind, depth, workers), figures in found.items():
        rate = statistics.median(figure.per_second for figure in figures)
        cores = statistics.median(figure.cores for figure in figures)
        cpu = statistics.median(figure.cpu_us_each for figure in figures)
        spread = " ".join(map(str, figures[-1].connections))
        print(f"{kind}  {depth:>9}  {workers:>7}  {rate:>10,.0f}  {cores:>12.2f}  {cpu:>12.2f} us  {spread}")


if __name__ == "__main__":
    main()
