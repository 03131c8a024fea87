"""Tables of a result for a terminal."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from bench.latencies import PERCENTILES

Row = Sequence[str]


def aligned(rows: Sequence[Row], left: int = 1) -> str:
    """Rows of words in columns; the first `left` columns are aligned to the left, the rest to the right."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = []
    for row in rows:
        words = [
            word.ljust(width) if index < left else word.rjust(width)
            for index, (word, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(words).rstrip())
    return "\n".join(lines)


def number(value: float | None) -> str:
    """Three significant digits at least, thousands parted."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def figure_rows(document: dict[str, Any]) -> list[Row]:
    """The comparison: one row for each figure, below the heads."""
    rows: list[Row] = [("figure", "against", "ours", "theirs", "unit", "ratio", "target", "")]
    for figure in document["figures"]:
        sign = ">=" if figure["better"] == "higher" else "<="
        target = "" if figure["target"] is None else f"{sign} {figure['target']:g}"
        ratio = "-" if figure["ratio"] is None else f"{figure['ratio']:.2f}"
        verdict = {True: "MET", False: "MISSED", None: ""}[figure["met"]]
        sides = [number(figure["ours"]), number(figure["theirs"])]
        rows.append((figure["name"], figure["against"], *sides, figure["unit"], ratio, target, verdict))
    return rows


def result_rows(document: dict[str, Any]) -> list[Row]:
    """What each contender did: medians over the rounds, latencies of all rounds together."""
    percentiles = [f"{name} us" for name in PERCENTILES]
    rows: list[Row] = [
        ("scenario", "target", "requests/s", "MB/s", *percentiles, "server us", "nodes us", "load us", "busy")
    ]
    for scenario in document["scenarios"]:
        for name, result in scenario["results"].items():
            rows.append((scenario["name"], name, *_result_words(result)))
    return rows


def _result_words(result: dict[str, Any]) -> list[str]:
    rounds = result["rounds"]

    def middle(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return statistics.median(known) if known else None

    words = [number(result["medians"]["throughput"]), number((result["medians"]["bytes"] or 0) / 1e6)]
    words += [number(result["latency_us"][name]) for name in PERCENTILES]
    for who in ("server", "nodes", "generator"):
        words.append(number(middle([one["cpu_us_per_request"][who] for one in rounds])))
    busy = middle([one["cpu_cores"]["generator"] / result["plan"]["processes"] for one in rounds])
    return [*words, f"{busy or 0:.0%}"]


def micro_rows(document: dict[str, Any]) -> list[Row]:
    """Micro benchmarks: nanoseconds of CPU per operation."""
    rows: list[Row] = [("benchmark", "ns, min", "ns, median", "blocks", "operations", "build")]
    for result in document.get("micro", ()):
        figures = [number(result["ns_per_operation"][name]) for name in ("min", "median")]
        rows.append((result["name"], *figures, str(result["blocks"]), number(result["operations"]), result["build"]))
    return rows


def remarks(document: dict[str, Any]) -> list[str]:
    """Notes and warnings, each with what it belongs to."""
    found = []
    for scenario in document["scenarios"]:
        found += [f"{scenario['name']}: {note}" for note in scenario["notes"]]
        for name, result in scenario["results"].items():
            found += [f"WARNING {scenario['name']}, {name}: {warning}" for warning in result["warnings"]]
    return found


def as_text(document: dict[str, Any]) -> str:
    """All of it."""
    parts = []
    if any(scenario["results"] for scenario in document["scenarios"]):
        parts.append(aligned(result_rows(document), left=2))
        parts.append(
            "us: microseconds; server, nodes, load: CPU time of each per request; busy: of the load generator."
        )
    if found := remarks(document):
        parts.append("\n".join(found))
    if document["figures"]:
        parts.append(aligned(figure_rows(document), left=2))
    if document.get("micro"):
        parts.append(aligned(micro_rows(document)))
        parts.append("ns: nanoseconds of CPU per operation; minimum and median of all blocks.")
    return "\n\n".join(parts)
