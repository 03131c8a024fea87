"""The results of a run as one JSON document, and the files that are written from it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.environment import environment
from bench.figures import Figure
from bench.html import page
from bench.latencies import PERCENTILES
from bench.measurement import Measurement
from bench.micro.blocks import Result
from bench.scenarios import Metric
from bench.series import Outcome, Series
from bench.targets import REPOSITORY

FORMAT = 1
"""Of the document; a change that old readers would misread raises it."""
RESULTS = REPOSITORY / "bench" / "results"

ALONE: tuple[Metric, ...] = ("connections", "memory")
"""What scenarios without rounds measure: KiB per connection is the memory."""

Document = dict[str, Any]


def suite_document(outcomes: Iterable[Outcome], extra: Iterable[Figure], options: dict[str, Any]) -> Document:
    """What a run of scenarios gave; `extra` are figures that other benchmarks measured in the same run."""
    outcomes = list(outcomes)
    figures = [figure for outcome in outcomes for figure in outcome.figures()]
    return {
        "format": FORMAT,
        "environment": environment(),
        "options": options,
        "scenarios": [outcome.as_dict() for outcome in outcomes],
        "figures": [figure.as_dict() for figure in [*figures, *extra]],
    }


def single_document(measurement: Measurement, description: str) -> Document:
    """A single run in the same form, so that all that reads one reads the other."""
    name = measurement.target.name
    scenario = {
        "name": "run",
        "description": description,
        "notes": [],
        "alone": {},
        "results": {name: Series([measurement]).as_dict()},
    }
    return {"format": FORMAT, "environment": environment(), "options": {}, "scenarios": [scenario], "figures": []}


def micro_document(results: Iterable[Result], options: dict[str, Any]) -> Document:
    """Micro benchmarks, in the same form with nothing else in it."""
    micro = [result.as_dict() for result in results]
    return {
        "format": FORMAT,
        "environment": environment(),
        "options": options,
        "scenarios": [],
        "figures": [],
        "micro": micro,
    }


def read_document(path: Path) -> Document:
    """A document that was written before. Raises ValueError when it is none of this format."""
    document: Document = json.loads(path.read_text())
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"{path}: not a result of this benchmark (format {FORMAT})")
    return document


def write_json(document: Document, path: Path) -> None:
    """One document, indented."""
    path.write_text(json.dumps(document, indent=1) + "\n")


def as_csv(document: Document) -> str:
    """One line for each round of each contender, and one for each scenario without rounds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    cpu = ("server", "nodes", "generator")
    heads = ["scenario", "target", "round", "requests_per_second", "bytes_per_second"]
    heads += (
        [f"{name}_us" for name in PERCENTILES] + [f"{name}_cpu_us_per_request" for name in cpu] + ["errors", *ALONE]
    )
    writer.writerow(heads)
    for scenario in document["scenarios"]:
        if alone := scenario.get("alone"):
            blank = [""] * (len(heads) - 2 - len(ALONE))
            writer.writerow([scenario["name"], "wireproto", *blank, *(alone.get(metric, "") for metric in ALONE)])
        for target, result in scenario["results"].items():
            for number, one in enumerate(result["rounds"], 1):
                row = [scenario["name"], target, number, one["requests_per_second"], one["bytes_per_second"]]
                row += [one["latency_us"][name] for name in PERCENTILES]
                row += [one["cpu_us_per_request"][name] for name in cpu] + [sum(one["errors"].values())]
                writer.writerow(row)
    return text.getvalue()


def write_files(document: Document, folder: Path = RESULTS) -> list[Path]:
    """JSON, CSV and HTML, named by the time of the run; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = document["environment"]["time"][:19].replace(":", "").replace("-", "").replace("T", "-")
    paths = [folder / f"{stamp}.{kind}" for kind in ("json", "csv", "html")]
    write_json(document, paths[0])
    paths[1].write_text(as_csv(document))
    paths[2].write_text(page(document))
    return paths
