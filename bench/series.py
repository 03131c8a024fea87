"""The rounds of one contender in one scenario, and their medians."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from bench.figures import Figure
from bench.latencies import Latencies
from bench.measurement import Measurement
from bench.scenarios import BETTER, Metric, Scenario

UNITS: dict[Metric, str] = {
    "throughput": "requests/s",
    "bytes": "bytes/s",
    "server CPU": "us/request",
    "p99": "us",
}


@dataclass
class Series:
    """One measurement for each round."""

    rounds: list[Measurement] = field(default_factory=list)

    def median(self, metric: Metric) -> float | None:
        """Over the rounds; None when a round could not measure it."""
        values = [_value(measurement, metric) for measurement in self.rounds]
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
            "medians": {metric: self.median(metric) for metric in UNITS},
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


def _value(measurement: Measurement, metric: Metric) -> float | None:
    if metric == "throughput":
        return measurement.requests_per_second
    if metric == "bytes":
        return measurement.bytes_per_second
    if metric == "server CPU":
        return measurement.server_cpu_us
    return measurement.latency["p99"]


@dataclass
class Outcome:
    """What a scenario gave. `ours` names the series that the others are held against."""

    scenario: Scenario
    series: dict[str, Series]
    ours: str
    notes: list[str] = field(default_factory=list)

    def figures(self) -> list[Figure]:
        """One for each goal whose both sides were measured."""
        found = []
        for goal in self.scenario.goals:
            if not {goal.against, self.ours} <= self.series.keys():
                continue
            ours, theirs = (self.series[name].median(goal.metric) for name in (self.ours, goal.against))
            if ours is None or theirs is None:
                continue
            build = self.series[self.ours].rounds[0].target.versions.get("build", "pure")
            name = f"{self.scenario.name}: {goal.metric}"
            unit, better = UNITS[goal.metric], BETTER[goal.metric]
            found.append(Figure(name, goal.against, ours, theirs, unit, better, goal.target(build)))
        return found

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.scenario.name,
            "description": self.scenario.description,
            "notes": self.notes,
            "results": {name: series.as_dict() for name, series in self.series.items()},
        }
