"""One line of the final table: a figure of ours beside a peer's, with the target for their ratio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Figure:
    """A comparison. `target` bounds `ratio` (ours / theirs) from below or above, as `better` says; None: no target."""

    name: str
    """The scenario, and what was measured: `in-flight-50: throughput`."""
    against: str
    """The peer."""
    ours: float
    theirs: float
    unit: str
    better: Literal["higher", "lower"]
    target: float | None = None

    @property
    def ratio(self) -> float:
        """Ours over theirs; infinite where the peer has nothing to divide by."""
        return self.ours / self.theirs if self.theirs else float("inf")

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target."""
        if self.target is None:
            return None
        return self.ratio >= self.target if self.better == "higher" else self.ratio <= self.target

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
