"""All nodes die and come back empty while a thousand clients stay connected: `python -m bench.chaos.restarts`.

Attempts to connect are counted by proxies in front of the nodes, which accept also while nothing listens behind them
and then reset the connection: to the server that is a refusal, a moment later.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psutil

from bench.chaos.crowd import MISS, OK, Crowd
from bench.chaos.figures import Figure, report, seconds
from bench.chaos.tcp_nodes import Cluster, proxied_cluster
from bench.cpu import server_processes
from bench.idle import raise_open_files
from bench.loading import load
from bench.owners import owners
from bench.targets import read_stats
from bench.workload import Workload

EXPERIMENT = "restarts"
NODES = 4
MOST_ATTEMPTS = 10
"""Per second, node and worker."""
LONGEST_RETURN = 2.0
SAMPLE = 0.02
MOST_GROWTH = 1.05
SETTLED = 2.0
"""Seconds within which descriptors must be back to where they were."""
WAIT = 20.0


@dataclass(frozen=True)
class _Use:
    """What the server's processes hold."""

    descriptors: int
    threads: int
    memory: int

    @classmethod
    def of(cls, cluster: Cluster) -> _Use:
        """Now."""
        processes = [psutil.Process(pid) for pid in server_processes(cluster.target)]
        return cls(
            sum(process.num_fds() for process in processes),
            sum(process.num_threads() for process in processes),
            sum(process.memory_full_info().uss for process in processes),
        )


@dataclass
class _Found:
    """What became of so many restarts."""

    rates: list[float] = field(default_factory=list)
    """The most attempts in any second, per node and worker."""
    reads: list[float] = field(default_factory=list)
    """Seconds from when the last node listened to a READ that each has answered."""
    ups: list[float] = field(default_factory=list)
    """The same to when STATS shows every node up, in all workers."""


class Restarts:
    """Kills and starts all nodes of a cluster, `down` seconds apart."""

    def __init__(self, cluster: Cluster, workload: Workload, workers: int) -> None:
        self._cluster = cluster
        self._workload = workload
        self._workers = workers
        names = [name for name, _ in owners(cluster.target, workload, range(workload.keys))]
        self._one_of_each = [workload.key(names.index(f"node-{number}")) for number in range(NODES)]

    async def once(self, down: float, found: _Found) -> None:
        """One restart."""
        samples: list[tuple[float, list[int]]] = []
        watching = asyncio.create_task(self._watch_attempts(samples))
        for node in self._cluster.nodes:
            node.process.kill()
        for node in self._cluster.nodes:
            node.kill()
        await asyncio.sleep(down)
        listening = await asyncio.to_thread(self._start_all)
        reads, ups = await asyncio.gather(self._until_read(), asyncio.to_thread(_until, self._all_up))
        found.reads.append(reads - listening)
        found.ups.append(ups - listening)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        found.rates.append(most_in_a_second(samples) / self._workers)

    def _start_all(self) -> float:
        for node in self._cluster.nodes:
            node.begin()
        return max(node.wait_until_listening() for node in self._cluster.nodes)

    async def _watch_attempts(self, samples: list[tuple[float, list[int]]]) -> None:
        while True:
            counts = [proxy.counters.connections for proxy in self._cluster.proxies]
            samples.append((time.monotonic(), counts))
            await asyncio.sleep(SAMPLE)

    async def _until_read(self) -> float:
        """When a READ on each node has succeeded, which finds nothing: the nodes are empty."""
        target = self._cluster.target.without_tls()
        reader, writer = await asyncio.open_connection(target.host, target.port)
        writer.write(b"AUTH %d:%b\n" % (len(target.api_key), target.api_key.encode()))
        await reader.readline()
        deadline = time.monotonic() + WAIT
        for key in self._one_of_each:
            line = b""
            while line != b"MISS\n":
                if time.monotonic() > deadline:
                    raise TimeoutError(f"a READ is still answered {line!r}")
                writer.write(b"READ %d:%b\n" % (len(key), key))
                line = await reader.readline()
                await asyncio.sleep(0.005)
        writer.close()
        return time.monotonic()

    def _all_up(self) -> bool:
        target = self._cluster.target
        assert target.plain_port is not None
        return {node["state"] for node in read_stats(target.plain_port, target.api_key)["nodes"]} == {"up"}


def most_in_a_second(samples: Sequence[tuple[float, Sequence[int]]]) -> int:
    """The most that any counter has grown in any second, from (moment, counters)."""
    most = start = 0
    for moment, counts in samples:
        while samples[start][0] < moment - 1.0:
            start += 1
        most = max(most, *(new - old for new, old in zip(counts, samples[start][1], strict=True)))
    return most


def run(
    clients: int = 1000, repetitions: int = 5, workers: int = 2, downs: Sequence[float] = (0.3, 3.0)
) -> list[Figure]:
    """So many restarts for each time that the nodes stay down, in seconds."""
    if raise_open_files(2 * clients) < 2 * clients:
        raise OSError(f"the limit of open files is too low for {clients} clients")
    with proxied_cluster(NODES, "--workers", str(workers)) as cluster:
        return asyncio.run(_run(cluster, clients, repetitions, workers, downs))


async def _run(cluster: Cluster, clients: int, repetitions: int, workers: int, downs: Sequence[float]) -> list[Figure]:
    workload = Workload(keys=200)
    await asyncio.to_thread(load, cluster.target, workload)
    restarts, figures = Restarts(cluster, workload, workers), []
    uses: list[_Use] = []
    async with Crowd(cluster.target, workload, clients) as crowd:
        uses.append(_Use.of(cluster))
        for down in downs:
            found = _Found()
            for _ in range(repetitions):
                await asyncio.to_thread(load, cluster.target, workload)
                await restarts.once(down, found)
                await asyncio.to_thread(_settle, cluster, uses[0])
                uses.append(_Use.of(cluster))
            figures += _restart_figures(down, found)
    return figures + _crowd_figures(crowd, clients) + _use_figures(uses)


def _settle(cluster: Cluster, before: _Use) -> None:
    """Wait until the server has closed what it opened for the restart, but not for long."""
    with contextlib.suppress(TimeoutError):
        _until(lambda: _Use.of(cluster).descriptors <= before.descriptors, SETTLED)


def _until(condition: Callable[[], bool], timeout: float = WAIT) -> float:
    """The moment when it was true. Raises TimeoutError."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not happen in time")
        time.sleep(0.02)
    return time.monotonic()


def _restart_figures(down: float, found: _Found) -> list[Figure]:
    rate = f"most {max(found.rates):.1f} of {len(found.rates)} restarts"
    what = f"nodes down for {down:g} s"
    within = f"all < {LONGEST_RETURN:g} s"
    return [
        Figure(
            EXPERIMENT,
            f"{what}: attempts in a second, per node and worker",
            rate,
            f"<= {MOST_ATTEMPTS}",
            max(found.rates) <= MOST_ATTEMPTS,
        ),
        Figure(
            EXPERIMENT,
            f"{what}: every node answers a READ, after it listens",
            seconds(found.reads),
            within,
            max(found.reads) < LONGEST_RETURN,
        ),
        Figure(
            EXPERIMENT,
            f"{what}: STATS shows all up in all workers",
            seconds(found.ups),
            within,
            max(found.ups) < LONGEST_RETURN,
        ),
    ]


def _crowd_figures(crowd: Crowd, clients: int) -> list[Figure]:
    told = ", ".join(f"{count} {answer}" for answer, count in crowd.answers.most_common())
    expected = {OK, MISS, "DOWN", "LOST"}
    return [
        Figure(EXPERIMENT, f"connections dropped, of {clients}", str(crowd.dropped), "0", crowd.dropped == 0),
        Figure(EXPERIMENT, "wrong answers", str(len(crowd.wrong)), "0", not crowd.wrong),
        Figure(EXPERIMENT, "answers", told, "OK, MISS, DOWN, LOST only", set(crowd.answers) <= expected),
    ]


def _use_figures(uses: Sequence[_Use]) -> list[Figure]:
    first, last = uses[0], uses[-1]
    descriptors = f"{first.descriptors} before, {last.descriptors} after {len(uses) - 1}"
    # Behind the first restart, which loads what had never been needed.
    memory = uses[1].memory, statistics.median(use.memory for use in uses[-3:])
    in_mib = f"{memory[0] / 2**20:.1f} MiB after one, {memory[1] / 2**20:.1f} MiB after {len(uses) - 1}"
    is_steady = memory[1] <= memory[0] * MOST_GROWTH
    return [
        Figure(EXPERIMENT, "descriptors", descriptors, "no more", last.descriptors <= first.descriptors),
        Figure(
            EXPERIMENT,
            "threads",
            f"{first.threads} before, {last.threads} after",
            "no more",
            last.threads <= first.threads,
        ),
        Figure(EXPERIMENT, "memory of the server", in_mib, f"<= {MOST_GROWTH} times", is_steady),
    ]


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.chaos.restarts", description=__doc__)
    parser.add_argument("--clients", type=int, default=1000, metavar="N", help="connected clients (1000)")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N", help="restarts of each kind (5)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="of the server (2)")
    given = parser.parse_args(arguments)
    return report(run(given.clients, given.repetitions, given.workers))


if __name__ == "__main__":
    sys.exit(main())
