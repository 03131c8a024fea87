"""What an experiment has found: figures, each beside what it must be."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.table import aligned


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured or counted."""

    experiment: str
    what: str
    value: str
    must: str
    """In words; "" for what is only told."""
    held: bool | None
    """None: nothing is demanded."""


def table(figures: Sequence[Figure]) -> str:
    """A line for each."""
    verdicts = {True: "yes", False: "NO", None: ""}
    rows = [("experiment", "what", "value", "must be", "held")]
    rows += [(found.experiment, found.what, found.value, found.must, verdicts[found.held]) for found in figures]
    return aligned(rows, left=5)


def report(figures: Sequence[Figure]) -> int:
    """Print them; the exit code, 1 if something did not hold."""
    print(table(figures))
    return 1 if any(found.held is False for found in figures) else 0


def seconds(values: Sequence[float]) -> str:
    """Median and most of some times."""
    return f"median {statistics.median(values):.2f} s, most {max(values):.2f} s of {len(values)}"
