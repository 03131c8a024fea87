"""Many writers of the same keys, and whether what they saw is what one register for each key could have shown them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from bench.chaos import judging
from bench.chaos.findings import Collected, Finding
from bench.chaos.kills import TOPOLOGY
from bench.chaos.ledger import LedgerClient, Load
from bench.chaos.linearizability import check
from bench.chaos.running import chaos_server, until
from bench.progress import tell

VIOLATIONS: Final = "keys whose history is not linearizable, or undecided"
OPERATIONS: Final = "operations"
SECONDS: Final = "s of load"
CHECKED: Final = "s to check"
_FAILED: Final = "requests that failed"


@dataclass(frozen=True, slots=True)
class Plan:
    """So many operations on few keys, all of which all clients write, delete and read."""

    operations: int
    seed: int = 1
    clients: int = 32
    keys: int = 100

    @property
    def name(self) -> str:
        """For the table."""
        return "linearizability"


async def run(plan: Plan) -> Finding:
    """Load a server of its own, and judge. Raises ChaosError, StartError."""
    load = Load(
        clients=plan.clients, keys=plan.keys, delete_share=0.05, many_writers=True, seed=plan.seed, timeout=15.0
    )
    collected = Collected()
    tell(plan.name)
    with chaos_server(*TOPOLOGY) as server:
        await until(server.is_whole, "the nodes are whole")
        started = time.monotonic()
        ledger = await LedgerClient(server.url, load).run(operations=plan.operations)
        collected.add(SECONDS, time.monotonic() - started)
    started = time.monotonic()
    violations = check(ledger.history())
    collected.add(CHECKED, time.monotonic() - started)
    collected.add(OPERATIONS, len(ledger.history()))
    collected.add(VIOLATIONS, len(violations))
    collected.add(_FAILED, sum(not entry.succeeded for entry in ledger.entries))
    figures = [
        collected.figure(OPERATIONS),
        collected.figure(VIOLATIONS, judging.NONE),
        collected.figure(_FAILED, judging.NONE),
        collected.figure(SECONDS),
        collected.figure(CHECKED),
    ]
    done = f"{plan.clients} clients that write, delete and read the same {plan.keys} keys; masters are read"
    return Finding(plan.name, done, figures, [str(violation) for violation in violations[:3]])
