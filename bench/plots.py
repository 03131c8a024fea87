"""Plots of a result as SVG text without anything from outside: ours beside each peer."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from bench.latencies import PERCENTILES
from bench.scenarios import OURS, PROXIES, PURE, REDIS

COLOURS = {OURS: "#1f6feb", PURE: "#8dbdff", PROXIES: "#d1810b", REDIS: "#6e7781"}
OTHERS = ("#1f6feb", "#d1810b")
"""Where ours is alone, with another number of workers or the like."""


def scenario_plot(scenario: dict[str, Any]) -> str:
    """Throughput, latency percentiles and CPU per request of one scenario."""
    results: dict[str, Any] = scenario["results"]
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    throughput, latency, cpu = figure.subplots(1, 3)
    names = list(results)
    if scenario["name"].startswith("values"):
        values = [result["medians"]["bytes"] / 1e6 for result in results.values()]
        _bars(throughput, "MB per second", names, values)
    else:
        _bars(throughput, "requests per second", names, [one["medians"]["throughput"] for one in results.values()])
    for name, colour, result in zip(names, _colours(names), results.values(), strict=True):
        values = [result["latency_us"][percentile] for percentile in PERCENTILES]
        latency.plot(list(PERCENTILES), values, marker="o", color=colour, label=name)
    latency.set_yscale("log")
    for axis_part in (latency.yaxis.set_major_formatter, latency.yaxis.set_minor_formatter):
        axis_part(StrMethodFormatter("{x:,.0f}"))
    latency.tick_params(axis="y", which="both", labelsize=8)
    latency.set_title("latency, us", fontsize=10)
    latency.legend(fontsize=8, frameon=False)
    latency.spines[["top", "right"]].set_visible(False)
    _bars(cpu, "server CPU per request, us", names, [one["medians"]["server CPU"] or 0 for one in results.values()])
    return _svg(figure, scenario["name"])


def overview_plot(document: dict[str, Any], wanted: Sequence[str] = ("in-flight-1", "in-flight-50")) -> str:
    """Throughput and CPU per request of a few scenarios in one picture. Raises ValueError when one is missing."""
    found = {scenario["name"]: scenario for scenario in document["scenarios"]}
    if not set(wanted) <= found.keys():
        raise ValueError(f"the result lacks one of the scenarios {', '.join(wanted)}")
    figure = Figure(figsize=(9, 2.4 * len(wanted)), layout="constrained")
    grid = figure.subplots(len(wanted), 2, squeeze=False)
    for name, (left, right) in zip(wanted, grid, strict=True):
        results = found[name]["results"]
        names = list(results)
        _bars(left, f"{name}: READs per second", names, [one["medians"]["throughput"] for one in results.values()])
        cpu = [one["medians"]["server CPU"] or 0 for one in results.values()]
        _bars(right, f"{name}: server CPU per READ, us", names, cpu)
    return _svg(figure, "overview")


def _colours(names: Sequence[str]) -> list[str]:
    return [COLOURS.get(name, OTHERS[number % len(OTHERS)]) for number, name in enumerate(names)]


def _bars(axes: Axes, title: str, names: Sequence[str], values: Sequence[float]) -> None:
    bars = axes.barh(range(len(names)), values, color=_colours(names))
    axes.bar_label(
        bars, [f"{value:,.0f}" if value >= 100 else f"{value:.2f}" for value in values], padding=3, fontsize=8
    )
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.set_title(title, fontsize=10)
    axes.xaxis.set_visible(False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _svg(figure: Figure, name: str) -> str:
    """The picture alone: no declaration that refers to a file elsewhere, no date, no ids that repeat in the next."""
    text = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        figure.savefig(text, format="svg", metadata=nothing)
    svg = text.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    return re.sub(r' id="[\w.]+_\d+"', "", svg)
