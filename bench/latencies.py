"""How long requests took: counted by the microsecond while it is fast that matters, told by an HDR histogram after."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hdrh.histogram import HdrHistogram

LONGEST_US = 3_600_000_000
SIGNIFICANT_DIGITS = 3
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}


@dataclass
class Latencies:
    """Counts of requests by whole microseconds. Adding to a dict costs a tenth of what `HdrHistogram` costs."""

    counts: Counter[int] = field(default_factory=Counter)

    def add(self, other: Latencies) -> None:
        """Count in what another process measured."""
        self.counts.update(other.counts)

    def histogram(self) -> HdrHistogram:
        """The same as a histogram with three significant digits, 1 us to one hour."""
        histogram = HdrHistogram(1, LONGEST_US, SIGNIFICANT_DIGITS)
        for microseconds, count in self.counts.items():
            histogram.record_value(min(max(microseconds, 1), LONGEST_US), count)
        return histogram

    def summary(self) -> dict[str, float]:
        """Microseconds at each of PERCENTILES, and the mean; all 0 when nothing was measured."""
        if not self.counts:
            return dict.fromkeys([*PERCENTILES, "mean"], 0.0)
        histogram = self.histogram()
        figures = {name: float(histogram.get_value_at_percentile(percent)) for name, percent in PERCENTILES.items()}
        total = sum(self.counts.values())
        return {**figures, "mean": sum(value * count for value, count in self.counts.items()) / total}

    def encoded(self) -> str:
        """The histogram in the text form of HdrHistogram's own tools, to be merged and plotted later."""
        text: bytes = self.histogram().encode()
        return text.decode()
