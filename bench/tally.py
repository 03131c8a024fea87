"""What one process of the load generator measured."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from bench.latencies import Latencies


@dataclass
class Tally:
    """Figures of the window between warm-up and end only, but for the errors."""

    requests: int = 0
    """Replies that came."""
    received: int = 0
    """Bytes of replies."""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """User and system time of the generator's process."""
    errors: Counter[str] = field(default_factory=Counter)
    """Replies that were wrong or did not come, those of the warm-up included: there should be none."""
    side_replies: Counter[str] = field(default_factory=Counter)
    """What the requests for `Plan.side_key` were answered."""
    latencies: Latencies = field(default_factory=Latencies)
    lateness: Latencies = field(default_factory=Latencies)
    """Open loop: how much later than intended requests were sent."""

    def add(self, other: Tally) -> None:
        """Count in another process, which ran at the same time."""
        self.requests += other.requests
        self.received += other.received
        self.seconds = max(self.seconds, other.seconds)
        self.cpu_seconds += other.cpu_seconds
        self.errors.update(other.errors)
        self.side_replies.update(other.side_replies)
        self.latencies.add(other.latencies)
        self.lateness.add(other.lateness)
