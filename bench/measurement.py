"""The result of one run: figures, and what they were measured with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bench.cpu import CpuTimes
from bench.plan import Plan
from bench.tally import Tally
from bench.targets import Target

BUSY = 0.9
"""A generator that uses more of its processes' time than this measures itself."""
LATE_US = 1000.0


@dataclass(frozen=True)
class Measurement:
    """One target under one load."""

    target: Target
    plan: Plan
    tally: Tally = field(repr=False)
    cpu: CpuTimes | None
    """None when the target runs elsewhere."""

    @property
    def requests_per_second(self) -> float:
        """Replies in the window, by its length."""
        return self.tally.requests / self.tally.seconds if self.tally.seconds else 0.0

    @property
    def bytes_per_second(self) -> float:
        """Bytes of replies, without TLS."""
        return self.tally.received / self.tally.seconds if self.tally.seconds else 0.0

    @property
    def server_cpu_us(self) -> float | None:
        """Microseconds of the server's CPU time per request."""
        return self._per_request(None if self.cpu is None else self.cpu.server)

    @property
    def node_cpu_us(self) -> float | None:
        """The same of all nodes together."""
        return self._per_request(None if self.cpu is None else self.cpu.nodes)

    @property
    def generator_cpu_us(self) -> float | None:
        """The same of the load generator."""
        return self._per_request(self.tally.cpu_seconds)

    def _per_request(self, seconds: float | None) -> float | None:
        return None if seconds is None or not self.tally.requests else seconds / self.tally.requests * 1e6

    @property
    def generator_busy(self) -> float:
        """The share of its processes' time that the generator used, 0 to 1."""
        return self.tally.cpu_seconds / self.tally.seconds / self.plan.processes if self.tally.seconds else 0.0

    @property
    def latency(self) -> dict[str, float]:
        """Percentiles in microseconds."""
        return self.tally.latencies.summary()

    @property
    def warnings(self) -> dict[str, str]:
        """Why the figures may not be what they seem, by the kind of trouble."""
        found = {what: f"{count} replies: {what}" for what, count in sorted(self.tally.errors.items())}
        if self.generator_busy > BUSY and self.plan.caller == "sockets":  # a library's own work is what is measured
            found["generator"] = (
                f"the load generator was the bottleneck: it used {self.generator_busy:.0%} of its processes' time; "
                "give it more --processes"
            )
        lateness = self.tally.lateness.summary()["p99"]
        if lateness > LATE_US:
            found["late"] = f"the load generator sent late: p99 {lateness:,.0f} us after the intended moment"
        if self.plan.rate is not None and self.requests_per_second < 0.95 * self.plan.rate:
            found["rate"] = f"only {self.requests_per_second:,.0f} of {self.plan.rate:,.0f} requests/s were answered"
        return found

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "target": {"name": self.target.name, "protocol": self.target.protocol, "tls": self.target.tls},
            "versions": self.target.versions,
            "plan": self.plan.as_dict(),
            "seconds": self.tally.seconds,
            "requests": self.tally.requests,
            "requests_per_second": self.requests_per_second,
            "bytes_per_second": self.bytes_per_second,
            "latency_us": self.latency,
            "lateness_us": self.tally.lateness.summary() if self.plan.rate is not None else None,
            "cpu_us_per_request": {
                "server": self.server_cpu_us,
                "nodes": self.node_cpu_us,
                "generator": self.generator_cpu_us,
            },
            "cpu_cores": {
                "server": None if self.cpu is None else self.cpu.server / max(self.tally.seconds, 1e-9),
                "nodes": None if self.cpu is None else self.cpu.nodes / max(self.tally.seconds, 1e-9),
                "generator": self.generator_busy * self.plan.processes,
            },
            "errors": dict(self.tally.errors),
            "warnings": self.warnings,
            "histogram": self.tally.latencies.encoded(),
        }
