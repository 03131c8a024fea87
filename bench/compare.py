"""Two results of this benchmark side by side: what changed, as ratios."""

from __future__ import annotations

from typing import Any

from bench.table import Row, aligned, number

METRICS = {
    "throughput": "requests/s",
    "bytes": "bytes/s",
    "server CPU": "us/request",
    "client CPU": "us/request",
    "p50": "us",
    "p99": "us",
}


def compare(before: dict[str, Any], after: dict[str, Any]) -> str:
    """A table with a row for each metric that both have of the same target in the same scenario."""
    rows: list[Row] = [("scenario", "target", "metric", "A", "B", "unit", "B / A")]
    for scenario in before["scenarios"]:
        others = {other["name"]: other["results"] for other in after["scenarios"]}.get(scenario["name"], {})
        for name, result in scenario["results"].items():
            for metric, unit in METRICS.items():
                old = result["medians"].get(metric)
                new = others.get(name, {"medians": {}})["medians"].get(metric)
                if old and new is not None:
                    rows.append((scenario["name"], name, metric, number(old), number(new), unit, f"{new / old:.3f}"))
    if len(rows) == 1:
        return "the two results have no scenario and target in common"
    return "\n".join([*_differences(before, after), aligned(rows, left=3)])


def _differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What else differs: to compare two machines, or two lengths of a run, may mean nothing."""
    one, other = before["environment"], after["environment"]
    names = [name for name in one if name not in ("time", "load_average") and one[name] != other.get(name)]
    lines = [f"{name}: A {one[name]}, B {other.get(name)}" for name in names]
    if before["options"] != after["options"]:
        lines.append(f"options: A {before['options']}, B {after['options']}")
    return lines
