"""Load a server and hold it to its word: `python -m bench.chaos.ledger`, with the server in WIREPROTO_URL.

Exits 1 when an answer was wrong or missing, or an acknowledged write was lost; 2 when it could not be tried.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import time

from bench.chaos.driving import LedgerClient, Load
from bench.chaos.entries import NO_REPLY, Entry
from bench.chaos.linearizability import check
from bench.chaos.record import Ledger, Outage
from bench.chaos.rules import Fault, LostWrite
from bench.table import aligned, number
from wireproto.errors import RequestError, WireprotoError

__all__ = ["Entry", "Fault", "Ledger", "LedgerClient", "Load", "LostWrite", "Outage"]

SHOWN = 5
"""Faults of a kind that are printed."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m bench.chaos.ledger", description=__doc__)
    top.add_argument("--url", help="wireproto://host:port?ca=path, and the key in WIREPROTO_API_KEY (WIREPROTO_URL)")
    top.add_argument("--seconds", type=float, help="length of the run (10)")
    top.add_argument("--operations", type=int, metavar="N", help="end after so many requests, instead of a time")
    top.add_argument("--clients", type=int, default=16, metavar="N", help="connections (16)")
    top.add_argument("--keys", type=int, default=200, metavar="N", help="different keys (200)")
    top.add_argument("--writes", type=float, default=0.5, metavar="SHARE", help="share of writes (0.5)")
    top.add_argument("--deletes", type=float, default=0.0, metavar="SHARE", help="share of deletes (0)")
    top.add_argument("--many-writers", action="store_true", help="every client writes every key")
    top.add_argument("--sync", type=int, metavar="N", help="writes wait for so many replicas")
    top.add_argument("--timeout", type=float, default=5.0, metavar="SECONDS", help="for each request (5)")
    top.add_argument("--check", action="store_true", help="check the history for linearizability, too")
    return top


def table(ledger: Ledger) -> str:
    """Requests by verb and outcome, and how long those took that succeeded."""
    rows = [("verb", "outcome", "requests")]
    for (verb, outcome), count in sorted(ledger.counts().items()):
        rows.append((verb, "none yet" if outcome == NO_REPLY else outcome, f"{count:,}"))
    percentiles = [(name, number(value)) for name, value in ledger.latencies().items()]
    return aligned(rows, left=2) + "\n\n" + aligned([("latency", "us"), *percentiles])


def complaints(
    ledger: Ledger, final: dict[bytes, bytes | None], keys: list[bytes], *, with_check: bool
) -> dict[str, list[str]]:
    """Everything that was wrong, by its kind."""
    found = {
        "without an answer": [str(entry) for entry in ledger.unanswered()],
        "answered with an error that is a bug": [str(entry) for entry in ledger.bugs()],
        "wrong answers": [f"{fault.reason}: {fault.entry}" for fault in ledger.wrong_answers()],
        "lost writes": [f"{final[lost.entry.key]!r} is what is left: {lost}" for lost in ledger.lost_writes(final)],
        "not readable in the end": [repr(key) for key in keys if key not in final],
    }
    if with_check:
        found["keys that are not linearizable, or undecided"] = [str(one) for one in check(ledger.history())]
    return found


async def run(options: argparse.Namespace) -> int:
    """Load, print, judge; the exit code."""
    load = Load(
        clients=options.clients,
        keys=options.keys,
        write_share=options.writes,
        delete_share=options.deletes,
        many_writers=options.many_writers,
        timeout=options.timeout,
        write_options={} if options.sync is None else {"sync": options.sync},
        prefix=f"ledger-{time.time_ns():x}",
    )
    client = LedgerClient(options.url, load)
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    seconds = options.seconds or (None if options.operations else 10.0)
    started = time.monotonic()
    ledger = await client.run(stop, seconds=seconds, operations=options.operations)
    took = time.monotonic() - started
    final = await client.final_values()
    started = time.monotonic()
    found = complaints(ledger, final, load.names, with_check=options.check)
    judged = time.monotonic() - started
    print(f"{table(ledger)}\n\n{len(ledger.entries):,} requests in {took:.1f} s, judged in {judged:.1f} s")
    for kind, texts in found.items():
        print("\n".join([f"{len(texts)} {kind}", *texts[:SHOWN]]))
    with contextlib.suppress(RequestError):
        await client.clear()
    return 1 if any(found.values()) else 0


def main() -> int:
    """Do what the command line says."""
    try:
        return asyncio.run(run(parser().parse_args()))
    except WireprotoError as error:
        print(f"ledger: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
