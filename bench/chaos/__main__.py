"""Hurt the nodes of a server, and hold it to what it promises: `python -m bench.chaos`.

Exits 1 when something did not hold, 2 when it could not be tried.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from bench.chaos import conditional_faults, consistency, isolations, kills, lease_failovers, partitions
from bench.chaos.conditional_load import Crowd
from bench.chaos.findings import Finding
from bench.chaos.namespaces import NetworkError, available
from bench.chaos.running import ChaosError
from bench.chaos.table import as_text
from bench.environment import environment
from bench.processes import StartError
from bench.progress import clear
from wireproto.errors import WireprotoError

Experiment = Callable[[argparse.Namespace, int], Awaitable[list[Finding]]]
ISOLATIONS: Final = 5
"""Rounds in which the server is cut off itself, at most."""


async def _kill(options: argparse.Namespace, seed: int) -> list[Finding]:
    return [await kills.run(kills.Plan("kill", options.kills, seed=seed))]


async def _stop(options: argparse.Namespace, seed: int) -> list[Finding]:
    return [await kills.run(kills.Plan("stop", options.kills, seed=seed))]


async def _kill_sync(options: argparse.Namespace, seed: int) -> list[Finding]:
    return [await kills.run(kills.Plan("kill", options.kills, sync, seed + sync)) for sync in (1, kills.REPLICAS)]


async def _partition(options: argparse.Namespace, seed: int) -> list[Finding]:
    # At the same time, in two networks: most of it is waiting for Sentinels, and nothing in it compares times.
    plans = (partitions.Plan(options.partitions, sync, seed) for sync in (None, 1))
    return list(await asyncio.gather(*map(partitions.run, plans)))


async def _isolation(options: argparse.Namespace, seed: int) -> list[Finding]:
    rounds = min(ISOLATIONS, options.partitions)
    cuts: tuple[isolations.Cut, ...] = ("no master", "no sentinels")
    return list(await asyncio.gather(*(isolations.run(isolations.Plan(cut, rounds, seed)) for cut in cuts)))


async def _linearizability(options: argparse.Namespace, seed: int) -> list[Finding]:
    return [await consistency.run(consistency.Plan(options.operations, seed))]


async def _conditions(options: argparse.Namespace, seed: int) -> list[Finding]:
    return [await conditional_faults.run(conditional_faults.Plan(options.kills, Crowd(seed=seed)))]


async def _leases(options: argparse.Namespace, seed: int) -> list[Finding]:
    return [await lease_failovers.run(lease_failovers.Plan(options.kills, seed))]


EXPERIMENTS: Final[dict[str, Experiment]] = {
    "kill": _kill,
    "stop": _stop,
    "kill-sync": _kill_sync,
    "partition": _partition,
    "isolation": _isolation,
    "linearizability": _linearizability,
    "conditions": _conditions,
    "leases": _leases,
}
NEED_NETWORKS: Final = {"partition", "isolation"}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__)
    top.add_argument("names", nargs="*", metavar="EXPERIMENT", help=f"{', '.join(EXPERIMENTS)} (all)")
    top.add_argument("--kills", type=int, default=20, metavar="N", help="nodes to kill, and to stop, each way (20)")
    top.add_argument("--partitions", type=int, default=20, metavar="N", help="cuts each way (20)")
    top.add_argument("--operations", type=int, default=200_000, metavar="N", help="for linearizability (200,000)")
    top.add_argument("--seed", type=int, help="of what clients do; when faults strike, real time decides")
    top.add_argument("--json", type=Path, metavar="FILE", help="write all figures of all rounds")
    return top


async def run(options: argparse.Namespace, seed: int) -> list[Finding]:
    """The experiments one after the other. What cannot be done here is said, and left out unless it was asked for."""
    stopped = asyncio.current_task()
    assert stopped is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.cancel)
    missing = available()
    findings = []
    for name, experiment in EXPERIMENTS.items():
        if name not in (options.names or EXPERIMENTS):
            continue
        if missing and name in NEED_NETWORKS:
            if options.names:
                raise NetworkError(missing)
            print(f"{name} is left out: {missing}")
            continue
        findings += await experiment(options, seed)
    return findings


def main() -> int:
    """Do what the command line says."""
    top = parser()
    options = top.parse_args()
    if unknown := [name for name in options.names if name not in EXPERIMENTS]:
        top.error(f"no experiment is called {', '.join(unknown)}")
    seed = random.randrange(1_000_000) if options.seed is None else options.seed
    try:
        findings = asyncio.run(run(options, seed))
    except asyncio.CancelledError:
        return 130
    except (ChaosError, NetworkError, StartError, WireprotoError) as error:
        clear()
        print(f"chaos: {error}", file=sys.stderr)
        return 2
    clear()
    held = all(finding.held for finding in findings)
    print(f"{as_text(findings)} (seed {seed})")
    if options.json:
        document = {
            "environment": environment(),
            "seed": seed,
            "experiments": [finding.as_dict() for finding in findings],
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
