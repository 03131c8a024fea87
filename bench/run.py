"""Runs scenarios: all contenders in turn, round by round, so that what disturbs the machine disturbs them alike."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from bench.cpu import wait_until_idle
from bench.idle import measure_idle, raise_open_files
from bench.loading import load
from bench.measurement import Measurement
from bench.measuring import Progress, measure
from bench.owners import owners, wait_until_up
from bench.plan import Plan
from bench.programs import missing_programs
from bench.scenarios import OURS, PROXIES, PURE, REDIS, Metric, Scenario
from bench.series import Outcome, Series
from bench.targets import Target, four_nodes, haproxy_twemproxy, redis_tls, wireproto_server

ADMITTED_BESIDE = 100
"""Connections that the server of idle ones admits beside them: somebody must ask for STATS."""
STOPPED_SECONDS = 3.0
"""At least: the server takes one to notice that a node has stopped."""


@dataclass(frozen=True)
class Options:
    """How long and how often. Times in seconds; None leaves what the scenario says."""

    rounds: int = 5
    seconds: float = 5.0
    warm_up: float = 1.0
    processes: int = 1
    connections: int | None = None
    """How many are held in the scenarios of idle ones."""
    progress: Callable[[str], Progress] | None = None
    """Makes the progress display for a run of the given title."""

    def plan(self, scenario: Scenario) -> Plan:
        """The scenario's load for so long."""
        processes = self.processes if scenario.plan.caller == "sockets" else 1
        return replace(scenario.plan, seconds=self.seconds, warm_up=self.warm_up, processes=processes)

    def measure(
        self, title: str, target: Target, plan: Plan, at_window: Callable[[], None] | None = None
    ) -> Measurement:
        """One run with its progress display."""
        return measure(target, plan, self.progress(title) if self.progress else None, at_window)


@contextlib.contextmanager
def contenders() -> Iterator[dict[str, Target]]:
    """Ours and the peers that are installed: the proxies before the same four nodes as ours, and Redis by itself.

    Ours is what Python finds. If that is compiled, the checkout's own source runs beside it.
    """
    missing = missing_programs()
    with contextlib.ExitStack() as stack:
        nodes = stack.enter_context(four_nodes())
        targets = {OURS: stack.enter_context(wireproto_server(nodes=nodes))}
        if targets[OURS].versions["build"] == "compiled":
            targets[PURE] = stack.enter_context(wireproto_server(nodes=nodes, from_checkout=True))
        if not {"haproxy", "nutcracker"} & set(missing):
            targets[PROXIES] = stack.enter_context(haproxy_twemproxy(nodes))
        if "redis-server" not in missing:
            targets[REDIS] = stack.enter_context(redis_tls())
        yield targets


def run_scenario(scenario: Scenario, targets: Mapping[str, Target], options: Options) -> Outcome:
    """Run one scenario with the contenders that it names, as far as they are there."""
    ways: dict[str, Callable[[Scenario, Mapping[str, Target], Options], Outcome]] = {
        "side by side": _side_by_side,
        "half of the peak": _at_half_of_the_peak,
        "stopped node": _with_a_stopped_node,
        "workers": _workers,
        "idle": _idle,
    }
    return ways[scenario.kind](scenario, targets, options)


def _alternate(scenario: Scenario, targets: Mapping[str, Target], plan: Plan, options: Options) -> dict[str, Series]:
    """Every target once in each round, in turning order: none is always the one that comes after another."""
    for target in targets.values():
        load(target, plan.workload)
    series = {name: Series() for name in targets}
    for number in range(options.rounds):
        for name in list(targets)[:: 1 if number % 2 == 0 else -1]:
            title = f"{scenario.name}, {name}, round {number + 1} of {options.rounds}"
            series[name].rounds.append(options.measure(title, targets[name], plan))
            wait_until_idle(targets[name])
    return series


def _named(scenario: Scenario, targets: Mapping[str, Target]) -> dict[str, Target]:
    return {name: targets[name] for name in scenario.contenders if name in targets}


def _side_by_side(scenario: Scenario, targets: Mapping[str, Target], options: Options) -> Outcome:
    return Outcome(scenario, _alternate(scenario, _named(scenario, targets), options.plan(scenario), options), OURS)


def _at_half_of_the_peak(scenario: Scenario, targets: Mapping[str, Target], options: Options) -> Outcome:
    """The peak is the peer's, or our own where there is no peer. Requests are sent together as they were at the peak.

    One by one they cost a server ten times what they cost in bursts: half of the one peak is far beyond the other.
    """
    named, closed = _named(scenario, targets), options.plan(scenario)
    name = PROXIES if PROXIES in named else OURS
    load(named[name], closed.workload)
    peak = options.measure(f"{scenario.name}, peak of {name}", named[name], closed).requests_per_second
    plan = replace(closed, rate=float(round(peak / 2)))
    note = f"peak of {name}: {peak:,.0f} requests/s; rate of all: {plan.rate:,.0f} requests/s"
    return Outcome(scenario, _alternate(scenario, named, plan, options), OURS, [note])


def _with_a_stopped_node(scenario: Scenario, targets: Mapping[str, Target], options: Options) -> Outcome:
    """Ours alone, with its own nodes. The node stops when the window opens: what it takes to notice counts too."""
    before, stopped = Series(), Series()
    with wireproto_server() as target:
        plan = replace(options.plan(scenario), seconds=max(options.seconds, STOPPED_SECONDS))
        load(target, plan.workload)
        victim, pid = target.node_names[-1], target.node_processes[-1]
        names = [name for name, _ in owners(target, plan.workload, range(plan.workload.keys))]
        others = tuple(number for number, name in enumerate(names) if name != victim)
        plan = replace(plan, workload=replace(plan.workload, only=others), side_key=names.index(victim))
        for number in range(options.rounds):
            title = f"{scenario.name}, round {number + 1} of {options.rounds}"
            before.rounds.append(options.measure(f"{title}, before", target, plan))
            try:
                stop = functools.partial(os.kill, pid, signal.SIGSTOP)
                stopped.rounds.append(options.measure(f"{title}, stopped", target, plan, stop))
            finally:
                os.kill(pid, signal.SIGCONT)
            assert plan.side_key is not None
            wait_until_up(target, plan.workload, plan.side_key)
    replies: Counter[str] = Counter()
    for measurement in stopped.rounds:
        replies += measurement.tally.side_replies
    told = ", ".join(f"{count} {status}" for status, count in replies.most_common())
    series = {"one node stopped": stopped, "before the stop": before}
    return Outcome(scenario, series, "one node stopped", [f"requests to the stopped node were answered: {told}"])


def _workers(scenario: Scenario, targets: Mapping[str, Target], options: Options) -> Outcome:
    """Ours alone, with one process and with two, over the same nodes."""
    with (
        four_nodes() as nodes,
        wireproto_server("--workers", "1", nodes=nodes) as one,
        wireproto_server("--workers", "2", nodes=nodes) as two,
    ):
        both = {"1 worker": one, "2 workers": two}
        return Outcome(scenario, _alternate(scenario, both, options.plan(scenario), options), "2 workers")


def _idle(scenario: Scenario, targets: Mapping[str, Target], options: Options) -> Outcome:
    """Ours alone. Of fewer connections than the goal speaks of, their number is not judged."""
    wanted = options.connections or scenario.plan.clients
    possible = raise_open_files(wanted)
    with wireproto_server("--max-connections", str(possible + ADMITTED_BESIDE)) as target:
        idle = measure_idle(target, possible)
    notes = [idle.note()]
    if possible < wanted:
        notes.append(f"the limit of open files is too low for {wanted:,}")
    goals = tuple(
        replace(goal, pure=None) if goal.metric == "connections" and wanted < scenario.plan.clients else goal
        for goal in scenario.goals
    )
    measured: dict[Metric, float] = {"connections": idle.connections, "memory": idle.memory_per_connection}
    return Outcome(replace(scenario, goals=goals), {}, OURS, notes, measured)
