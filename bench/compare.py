"""Two results of this benchmark side by side: what changed, as ratios."""

from __future__ import annotations

from typing import Any

from bench.series import READ_FROM, UNITS
from bench.table import Row, aligned, number

METRICS = {metric: UNITS[metric] for metric in READ_FROM}


def compare(before: dict[str, Any], after: dict[str, Any]) -> str:
    """A table with a row for each metric that both have of the same target in the same scenario.

    Another one has a row for each micro benchmark that both have.
    """
    tables = [aligned(rows, left=left) for rows, left in _tables(before, after) if len(rows) > 1]
    if not tables:
        return "the two results have no scenario and target and no micro benchmark in common"
    return "\n\n".join(["\n".join(_differences(before, after)), *tables]).lstrip("\n")


def _tables(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[list[Row], int]]:
    """The rows of each table, heads first, and how many of its columns are words."""
    return [(_scenario_rows(before, after), 3), (_micro_rows(before, after), 1)]


def _scenario_rows(before: dict[str, Any], after: dict[str, Any]) -> list[Row]:
    rows: list[Row] = [("scenario", "target", "metric", "A", "B", "unit", "B / A")]
    for scenario in before["scenarios"]:
        others = {other["name"]: other["results"] for other in after["scenarios"]}.get(scenario["name"], {})
        for name, result in scenario["results"].items():
            for metric, unit in METRICS.items():
                old = result["medians"].get(metric)
                new = others.get(name, {"medians": {}})["medians"].get(metric)
                if old and new is not None:
                    rows.append((scenario["name"], name, metric, number(old), number(new), unit, f"{new / old:.3f}"))
    return rows


def _micro_rows(before: dict[str, Any], after: dict[str, Any]) -> list[Row]:
    rows: list[Row] = [("benchmark", "A ns, min", "B ns, min", "B / A", "B / A of medians", "A", "B")]
    others = {other["name"]: other for other in after.get("micro", ())}
    for result in before.get("micro", ()):
        other = others.get(result["name"])
        if other is not None:
            old, new = result["ns_per_operation"], other["ns_per_operation"]
            ratios = [f"{new[figure] / old[figure]:.3f}" for figure in ("min", "median")]
            sides = [number(old["min"]), number(new["min"])]
            rows.append((result["name"], *sides, *ratios, result["build"], other["build"]))
    return rows


def _differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What else differs: to compare two machines, or two lengths of a run, may mean nothing."""
    one, other = before["environment"], after["environment"]
    names = [name for name in one if name not in ("time", "load_average") and one[name] != other.get(name)]
    lines = [f"{name}: A {one[name]}, B {other.get(name)}" for name in names]
    if before["options"] != after["options"]:
        lines.append(f"options: A {before['options']}, B {after['options']}")
    return lines
