"""SIGTERM under load: what is under way is answered, and the server ends by itself, soon.

Clients go on asking until nobody listens any more. They may be told that the server is closing, or find it gone; what
they have sent must have its answer.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
from collections import Counter
from typing import Final

import psutil

from bench.chaos.findings import Bound, Collected, Finding
from bench.chaos.ledger import LedgerClient, Load
from bench.progress import tell
from bench.targets import Target, wireproto_server

NAME: Final = "endings"
GOOD: Final = Load(
    clients=16, keys=400, write_share=0.5, delete_share=0.1, value_size=200, timeout=5.0, prefix="ending"
)
LOADED: Final = 1.5
"""Seconds of load before the signal."""
MOST_SECONDS: Final = 10.0
EXPECTED: Final = frozenset({"OK", "MISS", "CLOSING", "DOWN", "LOST"})
_LOOK: Final = 0.02


def add_options(parser: argparse.ArgumentParser) -> None:
    """How often."""
    parser.add_argument("--endings", type=int, default=10, metavar="N", help="servers that get SIGTERM under load (10)")
    parser.add_argument("--ending-workers", type=int, default=2, metavar="N", help="processes that serve (2)")


def run(options: argparse.Namespace) -> list[Finding]:
    """One server after the other."""
    return [endings(options.endings, options.ending_workers)]


def endings(rounds: int, workers: int, load: Load = GOOD) -> Finding:
    """So many servers with so many workers."""
    seen = Collected()
    for number in range(rounds):
        tell(f"endings: {number + 1} of {rounds}")
        with wireproto_server("--workers", str(workers)) as target:
            asyncio.run(_ending(target, seen, load))
    done = f"SIGTERM to a server with {workers} workers and {load.clients} clients that ask at once again"
    finding = Finding(NAME, done)
    finding.figures = [
        seen.figure("seconds from the signal to the end", Bound(MOST_SECONDS)),
        seen.figure("exit code", Bound(0)),
        seen.figure("requests sent in the second before"),
        seen.figure("requests that got an answer behind the signal"),
        seen.figure("requests without an answer", Bound(0)),
        seen.figure("acknowledged before the end, and wrong", Bound(0)),
    ]
    finding.notes = [seen.answers(), *seen.examples[:3]]
    return finding


async def _ending(target: Target, seen: Collected, load: Load) -> None:
    client, stop = LedgerClient(target.url, load), asyncio.Event()
    asking = asyncio.create_task(client.run(stop))
    await asyncio.sleep(LOADED)
    server = psutil.Process(target.server_processes[0])
    moment = time.monotonic()
    os.kill(server.pid, signal.SIGTERM)
    code = await asyncio.to_thread(server.wait, 2 * MOST_SECONDS)
    seen.add("seconds from the signal to the end", time.monotonic() - moment)
    seen.add("exit code", float("inf") if code is None else abs(code))
    await asyncio.sleep(_LOOK)
    stop.set()
    entries = (await asking).entries
    unanswered = [entry for entry in entries if not entry.was_answered]
    after = [entry for entry in entries if entry.ended is not None and entry.ended >= moment]
    seen.outcomes += Counter(entry.outcome for entry in after)
    seen.examples += [str(entry) for entry in unanswered]
    seen.examples += [str(entry) for entry in after if entry.outcome not in EXPECTED]
    seen.add("requests sent in the second before", sum(moment - 1 <= entry.started < moment for entry in entries))
    in_flight = [entry for entry in after if entry.started < moment and entry.was_answered]
    seen.add("requests that got an answer behind the signal", len(in_flight))
    seen.add("requests without an answer", len(unanswered))
    seen.add("acknowledged before the end, and wrong", len(client.ledger.wrong_answers()))
