"""One line of the final table: a figure of ours beside a peer's with the target for their ratio, or by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Figure:
    """A comparison. `target` bounds `ratio` (ours / theirs) from below or above, as `better` says; None: no target.

    Without a peer it bounds what was measured itself, in its unit.
    """

    name: str
    """The scenario, and what was measured: `in-flight-50: throughput`."""
    against: str
    """The peer; `-` if there is none."""
    ours: float
    theirs: float | None
    """None without a peer."""
    unit: str
    better: Literal["higher", "lower"]
    target: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours over theirs; infinite where the peer has nothing to divide by; None without a peer."""
        if self.theirs is None:
            return None
        return self.ours / self.theirs if self.theirs else float("inf")

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target."""
        if self.target is None:
            return None
        bounded = self.ours if self.ratio is None else self.ratio
        return bounded >= self.target if self.better == "higher" else bounded <= self.target

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "name": self.name,
            "against": self.against,
            "ours": self.ours,
            "theirs": self.theirs,
            "unit": self.unit,
            "better": self.better,
            "ratio": self.ratio,
            "target": self.target,
            "met": self.met,
        }
