"""Nodes that are killed, stopped or forget their scripts, under compare-and-set, counters and leases.

A node without replicas that writes each change to its disk before it answers (`appendfsync always`) loses nothing of
what it has answered. So every key is one register, or one counter, across all faults. What a node that is stopped was
sent is answered TIMEOUT, and done when it goes on. What one that has forgotten the scripts is sent is not done.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import redis

from bench.chaos import judging
from bench.chaos.conditional_load import ConditionalLoad, Crowd, of
from bench.chaos.conditions import check_conditions
from bench.chaos.counts import check_bits, check_counts
from bench.chaos.exchanges import Exchange, Kind, Unexplained
from bench.chaos.findings import Bound, Collected, Finding
from bench.chaos.record import BUGS
from bench.chaos.running import NODE_TIMEOUT, ChaosServer, chaos_server, until
from bench.chaos.tcp_nodes import DURABLE, TcpNode
from bench.chaos.users import BITS, COUNTER, LEASE, REGISTER
from bench.progress import tell
from bench.targets import temporary_folder
from wireproto.core.reply_wire import OK

NODES: Final = 2
WHOLE: Final = "all nodes are served again after, s"
UNEXPLAINED: Final = "keys whose history is not explained, or undecided"
EXCHANGES: Final = "requests"
SWAPS: Final = "swaps done"
GRANTS: Final = "leases given"
FILLS: Final = "values written with a lease"
UNKNOWN: Final = "requests of unknown outcome"

CHECKED: Final = "s to check"


@dataclass(frozen=True, slots=True)
class Plan:
    """Hurt a node so many times: kill it, the next time stop it, then have it forget the scripts, and so on."""

    faults: int
    crowd: Crowd = field(default_factory=Crowd)
    between: float = 1.5
    """Seconds of load before each fault, and after the last node is back."""
    down: float = 0.3
    """Seconds at most for which a node that was killed is gone."""
    stopped: float = NODE_TIMEOUT + 0.3
    """Seconds for which a node is stopped."""

    @property
    def name(self) -> str:
        """For the table."""
        return "conditions"


async def run(plan: Plan) -> Finding:
    """All faults, one after the other. Raises ChaosError, StartError."""
    collected = Collected()
    with temporary_folder() as folder, contextlib.ExitStack() as stack:
        nodes = [TcpNode(folder, *DURABLE) for _ in range(NODES)]
        for node in nodes:
            stack.callback(node.kill)
        urls = ",".join(f"shard-{number}=redis://127.0.0.1:{node.port}" for number, node in enumerate(nodes, 1))
        server = stack.enter_context(chaos_server(nodes=urls))
        await until(server.is_whole, "the nodes are whole")
        load = ConditionalLoad(server.url, plan.crowd)
        async with load:
            await _hurt_in_turn(plan, server, nodes, load, collected)
            await load.go_on(plan.between)
        await load.read_all()
        log = server.log()
    collected.add("errors in the server's log", log.count("Traceback"))
    return _finding(plan, collected, load.exchanges)


async def _hurt_in_turn(
    plan: Plan, server: ChaosServer, nodes: list[TcpNode], load: ConditionalLoad, collected: Collected
) -> None:
    dice = random.Random(plan.crowd.seed)
    for number in range(plan.faults):
        tell(f"{plan.name}: {number + 1} of {plan.faults}")
        await load.go_on(plan.between)
        node = dice.choice(nodes)
        if number % 3 == 0:
            await _kill(node, load, dice.random() * plan.down)
        elif number % 3 == 1:
            await _stop(node, load, plan.stopped)
        else:
            await asyncio.to_thread(_flush_scripts, node)
        collected.add(WHOLE, await until(server.is_whole, "the nodes are whole again"))


async def _kill(node: TcpNode, load: ConditionalLoad, seconds: float) -> None:
    """Kill it, and start it again after some time."""
    node.kill()
    await load.go_on(seconds)
    node.begin()
    await asyncio.to_thread(node.wait_until_listening)


async def _stop(node: TcpNode, load: ConditionalLoad, seconds: float) -> None:
    """Have it silent for some time."""
    os.kill(node.process.pid, signal.SIGSTOP)
    try:
        await load.go_on(seconds)
    finally:
        os.kill(node.process.pid, signal.SIGCONT)


def _flush_scripts(node: TcpNode) -> None:
    with redis.Redis(port=node.port) as straight:
        straight.script_flush()


def _finding(plan: Plan, collected: Collected, exchanges: list[Exchange]) -> Finding:
    started = time.monotonic()
    unexplained: list[Unexplained] = [
        *check_conditions(of(exchanges, REGISTER, LEASE)),
        *check_counts(of(exchanges, COUNTER)),
        *check_bits(of(exchanges, BITS)),
    ]
    collected.add(CHECKED, time.monotonic() - started)
    collected.outcomes = Counter(one.outcome for one in exchanges)
    for name, count in _counted(exchanges).items():
        collected.add(name, count)
    collected.add(UNEXPLAINED, len(unexplained))
    figures = [
        *(collected.figure(name) for name in (EXCHANGES, SWAPS, GRANTS, FILLS)),
        collected.figure(UNKNOWN),
        collected.figure(judging.BUGS, judging.NONE),
        collected.figure(UNEXPLAINED, judging.NONE),
        collected.figure("errors in the server's log", judging.NONE),
        collected.figure(WHOLE, Bound(2.0)),
        collected.figure(CHECKED),
    ]
    crowd = plan.crowd
    done = (
        f"{plan.faults} times kill -9, SIGSTOP for {plan.stopped:g} s or SCRIPT FLUSH of one of {NODES} nodes "
        f"that keep what they have, without replicas; "
        f"{crowd.registers + crowd.leases + crowd.counters} clients that compare and set, lease and count"
    )
    notes = [f"answers: {', '.join(f'{code} {count:,}' for code, count in collected.outcomes.most_common())}"]
    return Finding(plan.name, done, figures, notes + [str(one) for one in unexplained[:3]])


def _counted(exchanges: list[Exchange]) -> dict[str, int]:
    """How much was done."""
    return {
        EXCHANGES: len(exchanges),
        SWAPS: sum(one.kind is Kind.SWAP and one.outcome == OK for one in exchanges),
        GRANTS: sum(one.is_granted for one in exchanges),
        FILLS: sum(one.kind is Kind.FILL and one.outcome == OK for one in exchanges),
        UNKNOWN: sum(one.outcome in ("TIMEOUT", "LOST") for one in exchanges),
        judging.BUGS: sum(one.outcome in BUGS for one in exchanges),
    }
