"""SIGHUP a hundred times under load: no request fails for it, and what is wrong in the files changes nothing.

Before some of the signals an API key is made or its file spoilt: those that are told must be in force, or not.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.chaos.entries import MISS, OK
from bench.chaos.findings import Bound, Figure, Finding
from bench.chaos.ledger import LedgerClient, Load
from bench.hostile.visits import visits
from bench.progress import tell
from bench.targets import REPOSITORY, Target, wireproto_server

NAME: Final = "reloads"
GOOD: Final = Load(
    clients=16, keys=400, write_share=0.5, delete_share=0.1, pause=0.001, value_size=200, prefix="reload"
)
PAUSE: Final = 0.03
"""Seconds between two signals."""
EVERY: Final = 10
"""Before every so many a key is made, and half as many later the file of keys is spoilt."""
REFUSED: Final = b"stay as they are"
"""What the log says of files that are not taken."""
_LOOK: Final = 0.02
WITHIN: Final = 5.0
"""Seconds in which what an operator has changed is to be in force."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """How often."""
    parser.add_argument("--hangups", type=int, default=100, metavar="N", help="SIGHUPs under load (100)")
    parser.add_argument("--hangup-workers", type=int, default=2, metavar="N", help="processes that serve (2)")


def run(options: argparse.Namespace) -> list[Finding]:
    """One server, and all of them."""
    return [reloads(options.hangups, options.hangup_workers)]


def reloads(count: int, workers: int, load: Load = GOOD) -> Finding:
    """So many signals to a server with so many workers."""
    with wireproto_server("--workers", str(workers)) as target:
        return asyncio.run(_reloads(target, count, load))


async def _reloads(target: Target, count: int, load: Load) -> Finding:
    assert target.log is not None
    client, stop, log = LedgerClient(target.url, load), asyncio.Event(), target.log
    asking = asyncio.create_task(client.run(stop))
    pid, keys = target.server_processes[0], log.parent / "state" / "api-keys.json"
    made, refused = [], 0
    for number in range(count):
        tell(f"reloads: {number + 1} of {count}")
        if number % EVERY == 0:
            made.append(await asyncio.to_thread(_make_key, target, number))
        if number % EVERY == EVERY // 2:
            await asyncio.to_thread(_refuse, pid, keys, log)
            refused += 1
        os.kill(pid, signal.SIGHUP)
        await asyncio.sleep(PAUSE)
    usable = [await _comes_in(replace(target, api_key=key)) for key in made]
    stop.set()
    entries = (await asking).entries
    outcomes = Counter(entry.outcome or "no end" for entry in entries)
    failed = outcomes.total() - outcomes[OK] - outcomes[MISS]
    done = f"{count} SIGHUPs, {len(made)} keys made, {refused} times a spoilt file, {load.clients} clients"
    finding = Finding(NAME, done)
    finding.figures = [
        Figure("requests", [float(len(entries))]),
        Figure("requests that failed", [float(failed)], Bound(0)),
        Figure("wrong answers", [float(len(client.ledger.wrong_answers()))], Bound(0)),
        Figure("new keys that do not come in", [float(usable.count(False))], Bound(0)),
    ]
    finding.notes = [", ".join(f"{number:,} {what}" for what, number in outcomes.most_common())]
    return finding


def _refuse(pid: int, keys: Path, log: Path) -> None:
    """Spoil the keys, wait until the log says that they stay as they are, and mend them. Raises TimeoutError."""
    whole, before = keys.read_bytes(), log.stat().st_size
    keys.write_bytes(whole[: len(whole) // 2])
    os.kill(pid, signal.SIGHUP)
    deadline = time.monotonic() + WITHIN
    while REFUSED not in log.read_bytes()[before:]:
        if time.monotonic() > deadline:
            raise TimeoutError("the log does not say that a spoilt file is refused")
        time.sleep(_LOOK)
    keys.write_bytes(whole)


def _make_key(target: Target, number: int) -> str:
    """A new API key, as operators make it."""
    assert target.log is not None
    folder = target.log.parent / "state"
    command = [sys.executable, "-m", "wireproto.admin.cli", "keys", "create", f"client-{number}"]
    made = subprocess.run([*command, "--state-folder", folder], cwd=REPOSITORY, capture_output=True, check=True)
    return made.stdout.decode().strip()


async def _comes_in(target: Target) -> bool:
    """Whether a client with that key is served, now or soon."""
    taken = await asyncio.to_thread(visits, target, 1)
    return taken[0] < WITHIN
