"""Networks that part: the master is cut off from its replicas and the Sentinels, and the server reaches all of them."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from typing import Final

from bench.chaos import judging
from bench.chaos.findings import Bound, Collected, Finding
from bench.chaos.namespaces import Host, Network
from bench.chaos.old_master import WriteWatch
from bench.chaos.running import NODE_TIMEOUT, SYNC_TIMEOUT, ChaosServer
from bench.chaos.sentinel_cluster import REPLICAS, SENTINELS, SHARD, SentinelCluster, sentinel_cluster, server_before
from bench.chaos.sentinel_cluster import until_whole as until_all_are_whole
from bench.chaos.traffic import USUAL, Pace, Traffic
from bench.progress import tell

BEFORE: Final = 1.5
"""Seconds of load before the cut."""
AFTER: Final = 1.0
"""Seconds of load after the first write that the new master accepted."""
OLD_ALONE: Final = "after the cut, the old master was written to for, s"
MOVED: Final = "first write accepted by the new master, s after the cut"
GAP: Final = "between the two, s"
RETURNED: Final = "the old master was written to again (1) after the move"
EXTRA: Final = "failovers beyond one a round"
DEMOTED: Final = "the old master took itself for one after healing, s"
HEALED: Final = "all nodes whole again after healing, s"

_DEMOTION: Final = 60.0
_LOOK: Final = 0.05
_MOVE: Final = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done `rounds` times. `sync` is what each write asks for; None: nothing."""

    rounds: int
    sync: int | None = None
    seed: int = 1
    pace: Pace = USUAL

    @property
    def name(self) -> str:
        """For the table."""
        return "partition" if self.sync is None else f"partition, sync={self.sync}"

    @property
    def deadline(self) -> float:
        """Seconds within which the server owes an answer: a write with `sync` is executed, and then asked about."""
        return NODE_TIMEOUT if self.sync is None else NODE_TIMEOUT + SYNC_TIMEOUT


async def run(plan: Plan) -> Finding:
    """All rounds, with one cluster. Raises ChaosError, NetworkError, StartError."""
    collected = Collected()
    with Network() as network, sentinel_cluster(network) as cluster, server_before(cluster) as server:
        await until_all_are_whole(server, cluster)
        for number in range(plan.rounds):
            tell(f"{plan.name}: {number + 1} of {plan.rounds}")
            await judging.attempt(collected, server, _round(server, cluster, plan, number, collected))
        collected.add(EXTRA, await asyncio.to_thread(server.failovers, SHARD) - plan.rounds)
    return _finding(plan, collected)


async def _round(server: ChaosServer, cluster: SentinelCluster, plan: Plan, number: int, collected: Collected) -> None:
    master = await asyncio.to_thread(server.master, SHARD)
    old = cluster.host_of(master["address"])
    loads = plan.pace.loads(f"{plan.name}-{number}", plan.seed * 1000 + number, plan.sync)
    async with Traffic(server.url, {SHARD: loads}) as traffic:
        await traffic.go_on(BEFORE)
        with cluster.at(old) as straight, WriteWatch(straight) as watch:
            cut = await _cut_off(cluster, old)
            moved = await _new_master(server, traffic, old, cut)
            await traffic.go_on(AFTER)
            alone = watch.last_growth
            first = await traffic.accepted_write(SHARD, alone)
            await asyncio.to_thread(cluster.network.heal)
            healed = time.monotonic()
            # It is a master until a Sentinel has made it a replica, and reached again: it must not be written to.
            while watch.is_master and time.monotonic() < healed + _DEMOTION:
                await traffic.go_on(_LOOK)
            collected.add(RETURNED, int(watch.last_growth > alone))
            demoted = time.monotonic() - healed
            await traffic.go_on(AFTER)
        await traffic.stop()
    collected.add(OLD_ALONE, alone - cut)
    collected.add(MOVED, alone + first - cut)
    collected.add(GAP, first)
    collected.add(DEMOTED, demoted)
    if math.isinf(moved):
        collected.examples.append(f"the server has not moved; its log:\n{server.log()[-2000:]}")
    unpromised = None if plan.sync else (cut - judging.REPLICATION, alone + first)
    await judging.judge(collected, traffic, SHARD, fault=cut, deadline=plan.deadline, unpromised=unpromised)
    await until_all_are_whole(server, cluster)
    collected.add(HEALED, time.monotonic() - healed)


async def _cut_off(cluster: SentinelCluster, old: Host) -> float:
    """Part the master from all nodes and Sentinels; the moment before."""
    cut = time.monotonic()
    await asyncio.to_thread(cluster.network.cut_all, old, cluster.others(old))
    return cut


async def _new_master(server: ChaosServer, traffic: Traffic, old: Host, cut: float) -> float:
    """Wait until the server has another master; seconds since the cut, infinite when it has none in time."""
    while time.monotonic() < cut + _MOVE:
        address = (await asyncio.to_thread(server.master, SHARD))["address"]
        if address and not address.startswith(f"{old.address}:"):
            return time.monotonic() - cut
        await traffic.go_on(_LOOK)
    return math.inf


def _finding(plan: Plan, collected: Collected) -> Finding:
    figures = [
        collected.figure(OLD_ALONE),
        collected.figure(MOVED, Bound(_MOVE)),
        collected.figure(GAP),
        collected.figure(DEMOTED),
        collected.figure(RETURNED, judging.NONE),
        *judging.common_figures(collected, may_lose=plan.sync is None),
        collected.figure(HEALED),
        collected.figure(EXTRA),
    ]
    done = (
        f"{plan.rounds} times the master cut off from {REPLICAS} replicas and {SENTINELS} plain Sentinels,"
        " not from the server; healed when the server writes to another"
    )
    return Finding(plan.name, done, figures, [collected.answers(), *collected.examples[:20]])
