"""Masters that die, and masters that fall silent and come back: `kill -9`, and SIGSTOP with SIGCONT."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Literal

from bench.chaos import judging
from bench.chaos.entries import MISS, OK
from bench.chaos.findings import Bound, Collected, Finding
from bench.chaos.old_master import role_and_writes, watch_reign
from bench.chaos.running import NODE_TIMEOUT, SYNC_TIMEOUT, ChaosServer, chaos_server, until
from bench.chaos.traffic import USUAL, Pace, Traffic
from bench.progress import tell

SHARDS: Final = 2
REPLICAS: Final = 3
SENTINELS: Final = 3
HURT: Final = "shard-1"
OTHER: Final = "shard-2"
TOPOLOGY: Final = ("--shards", str(SHARDS), "--replicas", str(REPLICAS), "--sentinels", str(SENTINELS))
COMPARED: Final = 0.4
"""The share of the load before the fault that an outage is compared with at most, twice: the first fifth is a start."""
AFTER: Final = 1.0
"""Seconds of load after the first accepted write."""
STOPPED: Final = 4.0
"""Seconds for which a master is stopped."""
FAILOVER: Final = Bound(3.0, is_strict=True)
P99_BEFORE: Final = "p99 of the other shard's keys before, ms"
P99_DURING: Final = "p99 of the other shard's keys during the outage, ms"
P99_RATIO: Final = "the latter to the former"
P99_CONTROL: Final = "the same of two times before the fault"
REIGN: Final = "the old master took itself for one after SIGCONT, s"
OLD_WRITES: Final = "SET that it was given meanwhile"
BUFFERED: Final = "SET that it found in its sockets (answered TIMEOUT)"
EXTRA: Final = "failovers of the shard beyond one a round"
_OTHERS: Final = "failovers of the other shard"
_FAULTS: Final = (judging.LATE, judging.UNANSWERED, judging.WRONG, judging.BUGS, judging.LOST)
_OTHER_ERRORS: Final = "errors for the other shard's keys"
_OTHER_FAULTS: Final = "late, wrong, missing answers and lost writes of the other shard"

Fault = Literal["kill", "stop"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done `rounds` times. `sync` is what each write asks for; None: nothing."""

    fault: Fault
    rounds: int
    sync: int | None = None
    seed: int = 1
    pace: Pace = USUAL
    before: float = 2.5
    """Seconds of load before the fault."""

    @property
    def name(self) -> str:
        """For the table."""
        return self.fault if self.sync is None else f"{self.fault}, sync={self.sync}"

    @property
    def deadline(self) -> float:
        """Seconds within which the server owes an answer: a write with `sync` is executed, and then asked about."""
        return NODE_TIMEOUT if self.sync is None else NODE_TIMEOUT + SYNC_TIMEOUT


async def run(plan: Plan) -> Finding:
    """All rounds, on a server of their own. Raises ChaosError, StartError."""
    collected = Collected()
    with chaos_server(*TOPOLOGY) as server:
        await until(server.is_whole, "the nodes are whole")
        tags = {shard: await asyncio.to_thread(server.hash_tag, shard) for shard in (HURT, OTHER)}
        for number in range(plan.rounds):
            tell(f"{plan.name}: {number + 1} of {plan.rounds}")
            await judging.attempt(collected, server, _round(server, plan, number, tags, collected))
        failovers = await asyncio.to_thread(server.failovers, HURT)
        others = await asyncio.to_thread(server.failovers, OTHER)
        collected.add(EXTRA, failovers - plan.rounds)
        collected.add(_OTHERS, others)
    return _finding(plan, collected)


async def _round(server: ChaosServer, plan: Plan, number: int, tags: dict[str, str], collected: Collected) -> None:
    loads = {
        shard: plan.pace.loads(f"{tag}{plan.name}-{number}", plan.seed * 1000 + number, plan.sync)
        for shard, tag in tags.items()
    }
    async with Traffic(server.url, loads) as traffic:
        await traffic.go_on(plan.before)
        async with _hurt_master(server, plan, traffic, collected) as fault:
            first = await traffic.accepted_write(HURT, fault)
            await traffic.go_on(AFTER)
            _compare(traffic, fault, min(first, plan.before * COMPARED), collected)
        await traffic.stop()
    collected.add(judging.FIRST_WRITE, first)
    unpromised = None if plan.sync == REPLICAS else (fault - judging.REPLICATION, fault + first)
    await judging.judge(collected, traffic, HURT, fault=fault, deadline=plan.deadline, unpromised=unpromised)
    other = Collected()
    await judging.judge(other, traffic, OTHER, fault=fault, deadline=plan.deadline, unpromised=None)
    collected.add(_OTHER_ERRORS, sum(count for code, count in other.outcomes.items() if code not in (OK, MISS)))
    collected.add(_OTHER_FAULTS, sum(other.sum(kind) for kind in _FAULTS))
    collected.examples += other.examples
    await until(server.is_whole, "all nodes are whole again")
    collected.add(judging.WHOLE, time.monotonic() - fault)


@asynccontextmanager
async def _hurt_master(server: ChaosServer, plan: Plan, traffic: Traffic, collected: Collected) -> AsyncIterator[float]:
    """Kill or stop the master of the day; what is stopped goes on, and is watched, after the block."""
    master = await asyncio.to_thread(server.master, HURT)
    if plan.fault == "kill":
        os.kill(master["pid"], signal.SIGKILL)
        yield time.monotonic()
        return
    with server.at(master) as straight:
        await asyncio.to_thread(role_and_writes, straight)
        _, writes = await asyncio.to_thread(role_and_writes, straight)
        os.kill(master["pid"], signal.SIGSTOP)
        stopped = time.monotonic()
        try:
            yield stopped
            await traffic.go_on(stopped + STOPPED - time.monotonic())
        finally:
            os.kill(master["pid"], signal.SIGCONT)
        reign = await asyncio.to_thread(watch_reign, straight, writes)
    collected.add(REIGN, reign.seconds)
    collected.add(OLD_WRITES, reign.writes)
    collected.add(BUFFERED, reign.buffered)


def _compare(traffic: Traffic, fault: float, span: float, collected: Collected) -> None:
    """The other shard before and during the outage: times of the same length, under the same load."""
    entries = traffic.entries(OTHER)
    earlier, before, during = (
        judging.p99(entries, start, start + span) for start in (fault - 2 * span, fault - span, fault)
    )
    collected.add(P99_BEFORE, before / 1000)
    collected.add(P99_DURING, during / 1000)
    collected.add(P99_RATIO, during / before)
    collected.add(P99_CONTROL, before / earlier)


def _finding(plan: Plan, collected: Collected) -> Finding:
    figures = [collected.figure(judging.FIRST_WRITE, None if plan.sync == REPLICAS else FAILOVER)]
    # A write that one replica has is lost when Sentinel promotes another one, which did not get it before the kill.
    figures += judging.common_figures(collected, may_lose=plan.sync != REPLICAS)
    figures += [
        collected.figure(P99_BEFORE),
        collected.figure(P99_DURING),
        collected.figure(P99_RATIO, Bound(1.5, of="median")),
        collected.figure(P99_CONTROL),
        collected.figure(_OTHER_ERRORS, judging.NONE),
        collected.figure(_OTHER_FAULTS, judging.NONE),
    ]
    if plan.fault == "stop":
        figures += [collected.figure(REIGN), collected.figure(OLD_WRITES, judging.NONE), collected.figure(BUFFERED)]
    figures += [collected.figure(judging.WHOLE), collected.figure(EXTRA), collected.figure(_OTHERS)]
    return Finding(plan.name, _done(plan), figures, [collected.answers(), *_notes(plan), *collected.examples[:20]])


def _done(plan: Plan) -> str:
    what = {"kill": "kill -9 of the master", "stop": f"SIGSTOP of the master for {STOPPED:g} s, then SIGCONT"}[
        plan.fault
    ]
    return f"{plan.rounds} times {what}; {SHARDS} shards, {REPLICAS} replicas each, {SENTINELS} Sentinels"


def _notes(plan: Plan) -> list[str]:
    if plan.sync is None:
        return ["without sync nothing is promised of writes that the master had acknowledged when it died"]
    if plan.sync < REPLICAS:
        return [
            f"sync={plan.sync} is no promise for a kill: Sentinel may promote a replica that has not got the write; it"
            " prefers the one that is the furthest, by what each said last, up to a few seconds before"
        ]
    return [
        "with sync for all replicas nothing is accepted before the one that was killed is back as a replica; until then"
        " writes are executed and answered NOSYNC"
    ]
