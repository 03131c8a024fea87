"""Comings and goings, then all kinds of load and faults at once, for long: nothing may pile up.

First clients connect, shake hands and close. Then, for minutes, good clients read, write and delete and write down
every answer, while others vanish, half-close, send garbage, guess credentials and never read, and nodes are reset, fall
silent, refuse and trickle.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from bench.chaos.entries import OK
from bench.chaos.findings import Bound, Figure, Finding
from bench.chaos.ledger import Ledger, LedgerClient, Load
from bench.chaos.tcp_nodes import Cluster, proxied_cluster
from bench.hostile.observing import MIB, Observer, Standing, settled, standing
from bench.hostile.troubles import NodeTrouble, Troublemaker, come_and_go
from bench.progress import tell
from bench.targets import Target

NAME: Final = "soak"
NODES: Final = 2
THREADS: Final = 4
"""That connect, and that make trouble."""
MOST_GROWTH: Final = 0.05
MOST_WORK: Final = 0.25
"""Seconds for which a loop may stall. What others do to this machine is not counted: then it does not work."""
SETTLED: Final = 12.0
"""Seconds in which a server has let go of everybody who has gone: those who never logged in have 10."""
GOOD: Final = Load(clients=8, keys=400, write_share=0.4, delete_share=0.1, pause=0.01, value_size=200, prefix="soak")
TROUBLE: Final = re.compile(r"never retrieved|never awaited|Traceback|Task was destroyed| ERROR | CRITICAL ")
"""What no line of the log may say; of nodes that are in trouble, it says so as a warning."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """How long."""
    parser.add_argument("--handshakes", type=int, default=100_000, metavar="N", help="of the soak (100,000)")
    parser.add_argument("--soak-minutes", type=float, default=15.0, metavar="M", help="of mixed load and faults (15)")
    parser.add_argument("--soak-workers", type=int, default=2, metavar="N", help="processes that serve (2)")


def run(options: argparse.Namespace) -> list[Finding]:
    """The two parts, on one server."""
    return soak(options.handshakes, options.soak_minutes * 60, options.soak_workers)


def soak(handshakes: int, seconds: float, workers: int) -> list[Finding]:
    """So many handshakes, then mixed load for so many seconds."""
    with proxied_cluster(NODES, "--workers", str(workers)) as cluster:
        return [comings_and_goings(cluster.target, handshakes), mixed(cluster, seconds)]


def comings_and_goings(target: Target, count: int) -> Finding:
    """Clients that connect, shake hands and close."""
    done = 0

    def over(number: int) -> None:
        nonlocal done
        done += number
        tell(f"soak: {done:,} of {count:,} handshakes")

    finding = Finding(f"{NAME}: handshakes", f"{count:,} connections, closed by goodbye, FIN and RST in turn")
    with _held_to_it(finding, target), ThreadPoolExecutor(THREADS) as threads:
        shares = [count // THREADS + (number < count % THREADS) for number in range(THREADS)]
        failures = [threads.submit(come_and_go, target, share, number, over) for number, share in enumerate(shares)]
        failed = sum(each.result() for each in failures)
    finding.figures.append(Figure("connections that failed", [float(failed)], Bound(0)))
    return finding


def mixed(cluster: Cluster, seconds: float) -> Finding:
    """All kinds of load and faults."""
    target = cluster.target
    finding = Finding(f"{NAME}: mixed", f"{seconds / 60:.3g} minutes of good clients, bad clients and bad nodes")
    good = LedgerClient(target.url, GOOD)
    with _held_to_it(finding, target), contextlib.ExitStack() as stack:
        bad = [stack.enter_context(Troublemaker(target, number)) for number in range(THREADS)]
        nodes = stack.enter_context(NodeTrouble(cluster.proxies, 1))
        tell(f"soak: {seconds / 60:.3g} minutes of mixed load")
        asyncio.run(good.run(seconds=seconds))
    troubles = sum((each.done for each in bad), Counter[str]())
    finding.figures += _answers(good.ledger)
    finding.notes += [
        f"good clients: {_words(Counter(entry.outcome for entry in good.ledger.entries))}",
        f"bad clients: {_words(troubles)}",
        f"nodes: {_words(nodes.done)}",
    ]
    return finding


def _answers(ledger: Ledger) -> list[Figure]:
    right = Counter(entry.outcome for entry in ledger.entries)[OK]
    return [
        Figure("good clients' requests answered OK", [float(right)]),
        Figure("wrong answers", [float(len(ledger.wrong_answers()))], Bound(0)),
        Figure("errors that no failing node excuses", [float(len(ledger.bugs()))], Bound(0)),
        Figure("requests without an answer", [float(len(ledger.unanswered()))], Bound(0)),
    ]


def _words(counts: Counter[str]) -> str:
    return ", ".join(f"{number:,} {what}" for what, number in counts.most_common())


@contextlib.contextmanager
def _held_to_it(finding: Finding, target: Target) -> Iterator[None]:
    """Look at the server meanwhile, and add what was seen to the finding."""
    before, log_before = standing(target), len(_log(target))
    with Observer(target) as seen:
        yield
    after = settled(target, before, SETTLED)
    strange = [line for line in _log(target)[log_before:].splitlines() if TROUBLE.search(line)]
    growths = [100 * series.growth() for series in seen.memory.values()]
    finding.figures += [
        Figure("memory of a process at the end, MiB", [each.memory[-1] / MIB for each in seen.memory.values()]),
        Figure("growth after the first fifth, %", growths, Bound(100 * MOST_GROWTH)),
        Figure("longest stall of a loop, ms", [1000 * seen.longest_stall]),
        Figure("the same in an idle process, ms", [1000 * seen.idle_stall]),
        Figure("longest work of a loop in one go, ms", [1000 * seen.longest_work], Bound(1000 * MOST_WORK)),
        *_left_over(before, after),
        Figure("lines of the log that tell of a bug", [float(len(strange))], Bound(0)),
    ]
    finding.notes += [f"in the log: {line[:300]}" for line in strange[:3]]
    finding.notes += [f"memory of process {pid}, MiB: {each.in_tenths()}" for pid, each in seen.memory.items()]
    finding.notes.append(f"{before} before, {after} after; STATS was not answered {seen.missed} times")


def _left_over(before: Standing, after: Standing) -> list[Figure]:
    return [
        Figure("tasks left over", [float(after.tasks - before.tasks)], Bound(0)),
        Figure("descriptors left over", [float(after.descriptors - before.descriptors)], Bound(0)),
    ]


def _log(target: Target) -> str:
    assert target.log is not None
    return target.log.read_text(errors="replace")
