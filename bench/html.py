"""One page with everything in it: no script, no style sheet, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from bench.plots import scenario_plot
from bench.table import Row, figure_rows, micro_rows, remarks, result_rows

STYLE = """
body { font: 15px/1.5 sans-serif; margin: 2em auto; max-width: 1150px; padding: 0 1em; color: #1f2328; }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px; }
th, td { border-bottom: 1px solid #d0d7de; padding: 4px 10px; text-align: right; white-space: nowrap; }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left; }
.MET { color: #1a7f37; font-weight: bold; } .MISSED { color: #cf222e; font-weight: bold; }
svg { max-width: 100%; height: auto; }
"""


def page(document: dict[str, Any]) -> str:
    """The document as HTML."""
    parts = ["<!DOCTYPE html>", '<html lang="en"><head><meta charset="utf-8">']
    parts += [f"<title>wireproto benchmark</title><style>{STYLE}</style></head><body>", "<h1>wireproto benchmark</h1>"]
    if document["figures"]:
        parts += ["<h2>Ours beside each peer</h2>", _table(figure_rows(document))]
    heads, *rows = result_rows(document)
    for scenario in document["scenarios"]:
        parts += [f"<h2>{escape(scenario['name'])}</h2>", f"<p>{escape(scenario['description'])}</p>"]
        if scenario["results"]:
            own = [row[1:] for row in rows if row[0] == scenario["name"]]
            parts += [scenario_plot(scenario), _table([heads[1:], *own])]
        said = remarks({**document, "scenarios": [scenario]})
        parts += [f"<p>{escape(remark)}</p>" for remark in said]
    if document.get("micro"):
        parts += ["<h2>Parts of the core</h2>", _table(micro_rows(document))]
    parts += ["<h2>Measured with</h2>", _table([("", ""), *_described(document)]), "</body></html>"]
    return "\n".join(parts) + "\n"


def _table(rows: Sequence[Row]) -> str:
    heads, *rest = rows
    lines = ["<table><tr>" + "".join(f"<th>{escape(word)}</th>" for word in heads) + "</tr>"]
    for row in rest:
        cells = (
            f'<td class="{word}">{word}</td>' if word in ("MET", "MISSED") else f"<td>{escape(word)}</td>"
            for word in row
        )
        lines.append("<tr>" + "".join(cells) + "</tr>")
    return "\n".join([*lines, "</table>"])


def _described(document: dict[str, Any]) -> list[Row]:
    """Machine, versions and options as pairs of words."""
    versions: dict[str, str] = {}
    for scenario in document["scenarios"]:
        for result in scenario["results"].values():
            versions |= result["versions"]
    told = {**document["environment"], "measured programs": versions, "options": document["options"]}
    return [(name.replace("_", " "), _words(value)) for name, value in told.items()]


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)
