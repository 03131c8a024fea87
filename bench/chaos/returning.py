"""One client that asks a bad node again and again: after how many failures it is set aside, how soon it is back."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping

from bench.chaos.faults import Faults, NewConnections, Silence
from bench.chaos.figures import Figure, seconds
from bench.chaos.tcp_nodes import Cluster
from bench.workload import Workload
from wireproto import Client
from wireproto.errors import RequestError

MOST_FAILURES = 5
LONGEST_RETURN = 1.0
"""Seconds."""
WAIT = 15.0
PAUSE = 0.005
"""Seconds between two requests of a client that is told DOWN, which it is at once."""
FAILED = ("TIMEOUT", "LOST")
OK = "OK"


class OneClient:
    """Asks one after the other, and never again by itself."""

    def __init__(self, cluster: Cluster, key: int) -> None:
        self._client = Client(cluster.target.without_tls().url, timeout=10.0, retries=0, pool_size=1)
        self._key = Workload().key(key)

    def __enter__(self) -> OneClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self) -> str:
        """What a READ is answered: OK, or an error's code."""
        try:
            self._client.read(self._key)
        except RequestError as error:
            return error.code
        return OK

    def ask_until(self, wanted: str) -> tuple[float, Counter[str]]:
        """How many seconds until it is answered so, and what else it was answered. Raises TimeoutError."""
        began, others = time.monotonic(), Counter[str]()
        while (answer := self.ask()) != wanted:
            others[answer] += 1
            if time.monotonic() - began > WAIT:
                raise TimeoutError(f"never {wanted}, but {dict(others)}")
            time.sleep(PAUSE)
        return time.monotonic() - began, others

    def failures_in_a_row(self, length: float) -> int:
        """The most TIMEOUT and LOST one after the other, asking for so many seconds."""
        most = row = 0
        end = time.monotonic() + length
        while time.monotonic() < end:
            row = row + 1 if self.ask() in FAILED else 0
            most = max(most, row)
            time.sleep(PAUSE)
        return most


def aside_figures(
    experiment: str, cluster: Cluster, bad: int, key: int, faults: Mapping[str, Faults], length: float = 6.0
) -> list[Figure]:
    """How many failures in a row one client sees, in so many seconds of each fault."""
    figures = []
    proxy = cluster.proxies[bad]
    with OneClient(cluster, key) as client:
        for name, fault in faults.items():
            client.ask_until(OK)
            proxy.to_client = fault
            try:
                most = client.failures_in_a_row(length)
            finally:
                proxy.heal()
            what = f"{name}: failures in a row that a client sees"
            figures.append(Figure(experiment, what, str(most), f"<= {MOST_FAILURES}", most <= MOST_FAILURES))
        client.ask_until(OK)
    return figures


def _begin_fault(cluster: Cluster, bad: int, kind: str) -> Callable[[], None]:
    """Have the node fail in one of the ways of `KINDS`; what ends it."""
    proxy, process = cluster.proxies[bad], cluster.nodes[bad].process.pid
    if kind == STOPPED:
        os.kill(process, signal.SIGSTOP)
        return lambda: os.kill(process, signal.SIGCONT)
    if kind == LOSES:
        proxy.faults = Faults(silence=Silence.DROP)
    elif kind == HOLDS:
        proxy.faults = Faults(silence=Silence.HOLD)
    else:
        proxy.new_connections = NewConnections.RESET if kind == REFUSED else NewConnections.SILENT
        proxy.reset()
    return proxy.heal


STOPPED = "process stopped"
HOLDS = "silent, what was sent comes later"
LOSES = "silent, what was sent is lost"
REFUSED = "connections refused"
SILENT = "connections not greeted"
KINDS = (STOPPED, HOLDS, LOSES, REFUSED, SILENT)


LONG_ENOUGH = 1.5, 3.0
"""Seconds that a fault lasts once it is noticed: for pauses to grow to their longest, and end at any point of one."""


def return_times(
    cluster: Cluster, bad: int, key: int, kind: str, repetitions: int, waits: tuple[float, float] = LONG_ENOUGH
) -> list[float]:
    """Seconds from the end of a fault to the first READ that succeeds, for faults that last so long."""
    times = []
    dice = random.Random(kind)
    with OneClient(cluster, key) as client:
        for _ in range(repetitions):
            client.ask_until(OK)
            heal = _begin_fault(cluster, bad, kind)
            try:
                client.ask_until("DOWN")
                time.sleep(dice.uniform(*waits))
            finally:
                heal()
            times.append(client.ask_until(OK)[0])
    return times


def return_figures(experiment: str, cluster: Cluster, bad: int, key: int, repetitions: int) -> list[Figure]:
    """The same for all kinds of faults."""
    figures = []
    for kind in KINDS:
        times = return_times(cluster, bad, key, kind, repetitions)
        held = max(times) <= LONGEST_RETURN
        figures.append(
            Figure(experiment, f"{kind}: back after", seconds(times), f"all <= {LONGEST_RETURN:.0f} s", held)
        )
    return figures
