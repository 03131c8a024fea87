"""How load is put on a target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from bench.workload import Workload


@dataclass(frozen=True)
class Plan:
    """One run. Times are in seconds."""

    workload: Workload = field(default_factory=Workload)
    clients: int = 16
    depth: int = 1
    """Requests that a connection sends together. In closed loop it sends the next when all of them are answered."""
    seconds: float = 5.0
    requests: int | None = None
    """If given, the run ends after so many replies, however long that takes."""
    warm_up: float = 1.0
    """Load before anything is counted."""
    rate: float | None = None
    """Open loop: requests per second, sent when they are due, whatever became of those before."""
    arrivals: Literal["fixed", "poisson"] = "fixed"
    """Open loop: the same time between requests, or one as when many independent clients send."""
    processes: int = 1
    tagged: bool = False
    """Requests carry tags (wireproto, closed loop only), so that replies may come in any order."""
    caller: Literal["sockets", "read", "read_many", "asyncio"] = "sockets"
    """Who asks: the generator's own sockets; or the target's client library, in one process: one blocking caller that
    reads a key, or `depth` keys at once, or `clients` coroutines that read a key each. Libraries ask in closed loop."""
    side_key: int | None = None
    """With tags: the number of a key that each connection also reads now and then, without waiting for the reply."""
    stall_seconds: float = 10.0
    """A connection that waits so long for a reply is given up."""
    first_stream: int = 0
    """Numbers the connections of several processes apart."""

    def shares(self) -> Iterator[Plan]:
        """One plan for each process."""
        for index in range(self.processes):
            clients = self.clients // self.processes + (index < self.clients % self.processes)
            yield replace(
                self,
                clients=clients,
                rate=None if self.rate is None else self.rate * clients / self.clients,
                requests=None if self.requests is None else max(1, self.requests * clients // self.clients),
                processes=1,
                first_stream=self.first_stream + index * self.clients,
            )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        described = asdict(self)
        del described["first_stream"]
        chosen = described["workload"].pop("only")
        described["workload"] |= {"sizes": str(self.workload.sizes), "chosen_keys": chosen and len(chosen)}
        return described
