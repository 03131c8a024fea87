"""The rounds of one contender in one scenario, and their medians."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.figures import Figure
from bench.latencies import Latencies
from bench.measurement import Measurement
from bench.scenarios import BETTER, NO_PEER, PURE, Goal, Metric, Scenario

UNITS: dict[Metric, str] = {
    "throughput": "requests/s",
    "bytes": "bytes/s",
    "server CPU": "us/request",
    "client CPU": "us/request",
    "p50": "us",
    "p99": "us",
    "connections": "held at once",
    "memory": "KiB/connection",
}

READ_FROM: dict[Metric, Callable[[Measurement], float | None]] = {
    "throughput": lambda measured: measured.requests_per_second,
    "bytes": lambda measured: measured.bytes_per_second,
    "server CPU": lambda measured: measured.server_cpu_us,
    "client CPU": lambda measured: measured.generator_cpu_us,
    "p50": lambda measured: measured.latency["p50"],
    "p99": lambda measured: measured.latency["p99"],
}
"""The metrics that every round has."""


@dataclass
class Series:
    """One measurement for each round."""

    rounds: list[Measurement] = field(default_factory=list)

    def median(self, metric: Metric) -> float | None:
        """Over the rounds; None when a round could not measure it."""
        values = [READ_FROM[metric](measurement) for measurement in self.rounds]
        known = [value for value in values if value is not None]
        return statistics.median(known) if known and len(known) == len(values) else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON: medians, the latencies of all rounds together, and each round."""
        merged = Latencies()
        for measurement in self.rounds:
            merged.add(measurement.tally.latencies)
        rounds = [measurement.as_dict() for measurement in self.rounds]
        common = {name: rounds[0][name] for name in ("target", "versions", "plan")}
        for described in rounds:
            for name in [*common, "histogram"]:
                del described[name]
        return {
            **common,
            "medians": {metric: self.median(metric) for metric in READ_FROM},
            "latency_us": merged.summary(),
            "histogram": merged.encoded(),
            "warnings": self._warnings(),
            "rounds": rounds,
        }

    def _warnings(self) -> list[str]:
        """One of each kind, and in how many rounds it came."""
        texts: dict[str, list[str]] = {}
        for measurement in self.rounds:
            for kind, text in measurement.warnings.items():
                texts.setdefault(kind, []).append(text)
        return [f"{found[0]} (in {len(found)} of {len(self.rounds)} rounds)" for found in texts.values()]


@dataclass
class Outcome:
    """What a scenario gave. `ours` names the series that the others are held against."""

    scenario: Scenario
    series: dict[str, Series]
    ours: str
    notes: list[str] = field(default_factory=list)
    alone: dict[Metric, float] = field(default_factory=dict)
    """Figures of ours that no peer and no rounds belong to."""

    def figures(self) -> list[Figure]:
        """One for each goal whose both sides were measured, and then the same for our other build."""
        found = [figure for goal in self.scenario.goals if (figure := self._figure(goal, self.ours, ""))]
        found += [figure for goal in self.scenario.goals if (figure := self._figure(goal, PURE, " (pure)"))]
        return found

    def _figure(self, goal: Goal, who: str, note: str) -> Figure | None:
        name, unit, better = f"{self.scenario.name}: {goal.metric}{note}", UNITS[goal.metric], BETTER[goal.metric]
        if goal.against == NO_PEER:
            if who != self.ours or goal.metric not in self.alone:
                return None
            return Figure(name, NO_PEER, self.alone[goal.metric], None, unit, better, goal.pure)
        if not {goal.against, who} <= self.series.keys():
            return None
        ours, theirs = (self.series[name].median(goal.metric) for name in (who, goal.against))
        if ours is None or theirs is None:
            return None
        build = self.series[who].rounds[0].target.versions.get("build", "pure")
        return Figure(name, goal.against, ours, theirs, unit, better, goal.target(build))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.scenario.name,
            "description": self.scenario.description,
            "notes": self.notes,
            "alone": self.alone,
            "results": {name: series.as_dict() for name, series in self.series.items()},
        }
