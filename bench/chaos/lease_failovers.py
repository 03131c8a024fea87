"""Masters that die while leases are held: nobody writes twice with one lease, or with one that had surely ended."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass
from typing import Final

from bench.chaos import judging
from bench.chaos.conditional_load import ConditionalLoad, Crowd
from bench.chaos.exchanges import Exchange, Kind
from bench.chaos.findings import Collected, Finding
from bench.chaos.kills import FAILOVER
from bench.chaos.lease_rules import lease_faults
from bench.chaos.record import BUGS
from bench.chaos.running import ChaosServer, chaos_server, until
from bench.progress import tell
from wireproto.core.reply_wire import OK

REPLICAS: Final = 2
TOPOLOGY: Final = ("--shards", "1", "--replicas", str(REPLICAS), "--sentinels", "3")
SHARD: Final = "shard-1"
FIRST_FILL: Final = "first value written with a lease after the fault, s"
FAULTS: Final = "leases given or used twice, or used when they had ended"
GRANTS: Final = "leases given"
FILLS: Final = "values written with a lease"
CONFLICTS: Final = "leases that did not hold any more"
BEFORE: Final = 1.5
AFTER: Final = 1.0
"""Seconds of load."""
_RECOVERY: Final = 20.0
_LOOK: Final = 0.02


@dataclass(frozen=True, slots=True)
class Plan:
    """Kill the master so many times."""

    kills: int
    seed: int = 1
    clients: int = 12

    @property
    def name(self) -> str:
        """For the table."""
        return "leases"


async def run(plan: Plan) -> Finding:
    """All rounds, on a server of their own. Raises ChaosError, StartError."""
    collected = Collected()
    with chaos_server(*TOPOLOGY) as server:
        await until(server.is_whole, "the nodes are whole")
        for number in range(plan.kills):
            tell(f"{plan.name}: {number + 1} of {plan.kills}")
            await judging.attempt(collected, server, _round(server, plan, number, collected))
    figures = [
        collected.figure(FIRST_FILL, FAILOVER),
        collected.figure(FAULTS, judging.NONE),
        collected.figure(judging.BUGS, judging.NONE),
        collected.figure(judging.UNFINISHED, judging.NONE),
        *(collected.figure(name) for name in (GRANTS, FILLS, CONFLICTS)),
    ]
    done = f"{plan.kills} times kill -9 of a master with {REPLICAS} replicas; {plan.clients} clients take leases"
    return Finding(plan.name, done, figures, [collected.answers(), *collected.examples[:5]])


async def _round(server: ChaosServer, plan: Plan, number: int, collected: Collected) -> None:
    crowd = Crowd(registers=0, leases=plan.clients, counters=0, prefix=b"%d-" % number, seed=plan.seed * 1000 + number)
    load = ConditionalLoad(server.url, crowd)
    async with load:
        await load.go_on(BEFORE)
        master = await asyncio.to_thread(server.master, SHARD)
        os.kill(master["pid"], signal.SIGKILL)
        fault = time.monotonic()
        first = await _first_fill(load, fault)
        await load.go_on(AFTER)
    collected.add(FIRST_FILL, first)
    _judge(load.exchanges, fault, first, collected)
    await until(server.is_whole, "all nodes are whole again")


async def _first_fill(load: ConditionalLoad, moment: float) -> float:
    """Wait until something is written with a lease that was asked for after a moment; the seconds from there on."""
    seen = 0
    taken: set[str | None] = set()
    while time.monotonic() < moment + _RECOVERY:
        for one in load.exchanges[seen:]:
            if one.started < moment or not one.is_sure:
                continue
            if one.is_granted:
                taken.add(one.told)
            elif one.kind is Kind.FILL and one.outcome == OK and one.named in taken:
                return one.ended - moment
        await load.go_on(_LOOK)
        while seen < len(load.exchanges) and load.exchanges[seen].ended < moment:
            seen += 1
    return math.inf


def _judge(exchanges: list[Exchange], fault: float, first: float, collected: Collected) -> None:
    faults = lease_faults(exchanges, [(fault - judging.REPLICATION, fault + first)])
    fills = [one for one in exchanges if one.kind is Kind.FILL]
    collected.add(FAULTS, len(faults))
    collected.add(GRANTS, sum(one.is_granted for one in exchanges))
    collected.add(FILLS, sum(one.outcome == OK for one in fills))
    collected.add(CONFLICTS, sum(one.outcome == "CONFLICT" for one in fills))
    collected.add(judging.BUGS, sum(one.outcome in BUGS for one in exchanges))
    collected.outcomes += Counter(one.outcome for one in exchanges if one.started >= fault)
    collected.examples += [str(one) for one in faults]
