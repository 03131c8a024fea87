"""What experiments found: figures of their rounds, what must hold of them, and whether it held."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Of = Literal["most", "median"]


@dataclass(frozen=True, slots=True)
class Bound:
    """What must hold: that the most of all rounds, or their median, is `limit` or less (`is_strict`: less)."""

    limit: float
    of: Of = "most"
    is_strict: bool = False

    def holds(self, values: Sequence[float]) -> bool:
        """Whether it does. Nothing is said of no rounds, so then it does not."""
        if not values:
            return False
        value = max(values) if self.of == "most" else statistics.median(values)
        return value < self.limit if self.is_strict else value <= self.limit

    def __str__(self) -> str:
        if not self.limit and self.of == "most":
            return "none"
        sign = "<" if self.is_strict else "≤"
        return f"{'median ' if self.of == 'median' else ''}{sign} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of each round. Without a bound it is told and nothing is promised."""

    name: str
    values: list[float]
    bound: Bound | None = None

    @property
    def held(self) -> bool | None:
        """Whether what must hold did; None where nothing must."""
        return None if self.bound is None else self.bound.holds(self.values)

    def words(self) -> tuple[str, str, str]:
        """Least, median and most."""
        if not self.values:
            return "-", "-", "-"
        chosen = (min(self.values), statistics.median(self.values), max(self.values))
        least, median, most = (shown(value) for value in chosen)
        return least, median, most


def shown(value: float) -> str:
    """A number with three digits, or whole."""
    if math.isinf(value):
        return "never"
    return f"{value:,.0f}" if value == round(value) or value >= 1000 else f"{value:.3g}"


@dataclass(slots=True)
class Finding:
    """One experiment: its name, what was done in each round, the figures, and what else is to be known."""

    name: str
    done: str
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether all that must hold did."""
        return all(figure.held is not False for figure in self.figures)

    def as_dict(self) -> dict[str, Any]:
        """It for JSON; null for what never happened."""
        figures = [
            {
                "name": figure.name,
                "values": [None if math.isinf(value) else round(value, 6) for value in figure.values],
                "must": None if figure.bound is None else str(figure.bound),
                "held": figure.held,
            }
            for figure in self.figures
        ]
        return {"name": self.name, "done": self.done, "figures": figures, "notes": self.notes, "held": self.held}


class Collected:
    """What is gathered round by round: numbers by their name, and how requests were answered."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}
        self.outcomes: Counter[str] = Counter()
        self.examples: list[str] = []
        """Some of what should not have been."""

    def add(self, name: str, value: float) -> None:
        """Note a number of this round."""
        self._values.setdefault(name, []).append(value)

    def figure(self, name: str, bound: Bound | None = None) -> Figure:
        """The numbers of that name."""
        return Figure(name, self._values.get(name, []), bound)

    def sum(self, name: str) -> float:
        """Over all rounds."""
        return sum(self._values.get(name, []))

    def answers(self) -> str:
        """How often each answer was given, as a note."""
        words = (f"{outcome or 'no end'} {count:,}" for outcome, count in self.outcomes.most_common())
        return f"answers after the fault: {', '.join(words)}"
