"""Networks that part around the server: it does not reach the master, or none of the Sentinels."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import Final, Literal

from bench.chaos import judging
from bench.chaos.findings import Bound, Collected, Finding
from bench.chaos.namespaces import Network
from bench.chaos.running import NODE_TIMEOUT, ChaosServer, until
from bench.chaos.sentinel_cluster import SHARD, SentinelCluster, sentinel_cluster, server_before, until_whole
from bench.chaos.traffic import USUAL, Pace, Traffic
from bench.progress import tell

BEFORE: Final = 1.0
CUT: Final = 4.0
AFTER: Final = 1.0
"""Seconds of load before the cut, while it lasts, and after the first write accepted then."""
BACK: Final = "first accepted write after healing, s"
AHEAD: Final = "the Sentinels have another master, s after the cut"
FOUND_OUT: Final = "the server has moved, s after healing"
SUCCEEDED: Final = "requests that succeeded while it was cut off"
PROMOTED: Final = "failovers"

Cut = Literal["no master", "no sentinels"]


@dataclass(frozen=True, slots=True)
class Plan:
    """From whom the server is cut off, `rounds` times. Without Sentinels, the master is succeeded meanwhile."""

    cut: Cut
    rounds: int
    seed: int = 1
    pace: Pace = USUAL

    @property
    def name(self) -> str:
        """For the table."""
        return f"server reaches {self.cut}"


async def run(plan: Plan) -> Finding:
    """All rounds, with one cluster. Raises ChaosError, NetworkError, StartError."""
    collected = Collected()
    meanwhile: Counter[str] = Counter()
    with Network() as network, sentinel_cluster(network) as cluster, server_before(cluster) as server:
        await until_whole(server, cluster)
        for number in range(plan.rounds):
            tell(f"{plan.name}: {number + 1} of {plan.rounds}")
            await judging.attempt(collected, server, _round(server, cluster, plan, number, collected, meanwhile))
    return _finding(plan, collected, meanwhile)


async def _round(
    server: ChaosServer,
    cluster: SentinelCluster,
    plan: Plan,
    number: int,
    collected: Collected,
    meanwhile: Counter[str],
) -> None:
    master = await asyncio.to_thread(server.master, SHARD)
    old, network = cluster.host_of(master["address"]), cluster.network
    failovers = await asyncio.to_thread(server.failovers, SHARD)
    known = (master["address"], "")  # without a master there is no address
    far = [old] if plan.cut == "no master" else cluster.sentinels
    loads = plan.pace.loads(f"{plan.name}-{number}", plan.seed * 1000 + number, None)
    async with Traffic(server.url, {SHARD: loads}) as traffic:
        await traffic.go_on(BEFORE)
        await asyncio.to_thread(network.cut_all, network.root, far)
        cut = time.monotonic()
        if plan.cut == "no sentinels":
            await _fail_over(cluster, master["address"])
            collected.add(AHEAD, time.monotonic() - cut)
        await traffic.go_on(max(0.0, cut + CUT - time.monotonic()))
        healing = time.monotonic()
        await asyncio.to_thread(network.heal)
        if plan.cut == "no sentinels":
            collected.add(FOUND_OUT, await until(lambda: server.master(SHARD)["address"] not in known, "it has moved"))
        moved = time.monotonic()
        back = await traffic.accepted_write(SHARD, healing if plan.cut == "no master" else moved)
        await traffic.go_on(AFTER)
        await traffic.stop()
    during = [entry for entry in traffic.entries(SHARD) if cut <= entry.started < healing]
    meanwhile.update(entry.outcome for entry in during)
    collected.add(BACK, back)
    collected.add(SUCCEEDED, sum(entry.succeeded for entry in during))
    # A master that does not know that it has been succeeded acknowledges what the next one never gets.
    unpromised = None if plan.cut == "no master" else (cut - judging.REPLICATION, moved + back)
    await judging.judge(collected, traffic, SHARD, fault=cut, deadline=NODE_TIMEOUT, unpromised=unpromised)
    await until_whole(server, cluster)
    collected.add(PROMOTED, await asyncio.to_thread(server.failovers, SHARD) - failovers)


async def _fail_over(cluster: SentinelCluster, before: str) -> None:
    """Have the Sentinels make another node the master, and wait until they say that it is."""
    leader = cluster.sentinels[0]

    def has_another() -> bool:
        host, port = cluster.ask_sentinel(leader, "GET-MASTER-ADDR-BY-NAME", SHARD)
        return f"{host.decode()}:{port.decode()}" != before

    await asyncio.to_thread(cluster.ask_sentinel, leader, "FAILOVER", SHARD)
    await until(has_another, "the Sentinels have made another node the master")


def _finding(plan: Plan, collected: Collected, meanwhile: Counter[str]) -> Finding:
    common = judging.common_figures(collected, may_lose=plan.cut == "no sentinels")
    words = ", ".join(f"{outcome or 'no end'} {count:,}" for outcome, count in meanwhile.most_common())
    notes = [f"answers while it was cut off: {words}", *collected.examples[:20]]
    if plan.cut == "no master":
        figures = [
            collected.figure(BACK, Bound(NODE_TIMEOUT + judging.SLACK)),
            collected.figure(SUCCEEDED, judging.NONE),
            collected.figure(PROMOTED, judging.NONE),
        ]
        done = f"{plan.rounds} times the server cut off from the master for {CUT:g} s, nobody else"
    else:
        names = (AHEAD, SUCCEEDED, FOUND_OUT, PROMOTED)
        figures = [*(collected.figure(name) for name in names)]
        done = (
            f"{plan.rounds} times the server cut off from all Sentinels while they make another node the master, which"
            f" was healthy; healed after {CUT:g} s"
        )
    return Finding(plan.name, done, [*figures, *common], notes)
