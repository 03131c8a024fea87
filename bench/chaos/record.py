"""The ledger: every request, every answer and when, and what can be told from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from bench.chaos.entries import OK, Entry
from bench.chaos.history import Operation
from bench.chaos.rules import Fault, LostWrite, lost_writes, wrong_answers
from bench.latencies import Latencies

BUGS = frozenset({"PROTO", "VERB", "ARG", "TYPE", "TOOBIG", "AUTH", "DENIED", "CORRUPT", "INTERNAL"})
"""Codes that no failure of a node or of the network can excuse."""


@dataclass(frozen=True, slots=True)
class Outage:
    """What clients saw around a moment; times of `time.monotonic`, None: there was none."""

    last_success: float | None
    """When the last request before it was answered with OK or MISS."""
    first_write: float | None
    """When the first write that was begun after it was answered with OK."""

    @property
    def seconds(self) -> float | None:
        """Between the two."""
        if self.last_success is None or self.first_write is None:
            return None
        return self.first_write - self.last_success


@dataclass(slots=True)
class Ledger:
    """All requests, in the order in which they were begun. It may be asked while it is being written."""

    entries: list[Entry] = field(default_factory=list)

    def _of(self, keys: Collection[bytes] | None) -> Iterator[Entry]:
        chosen = None if keys is None else frozenset(keys)
        return (entry for entry in self.entries if chosen is None or entry.key in chosen)

    def counts(self) -> Counter[tuple[str, str]]:
        """Requests by verb and outcome: OK, MISS, an error's code, or "" without an end."""
        return Counter((entry.verb, entry.outcome) for entry in self.entries)

    def unanswered(self) -> list[Entry]:
        """Requests to which the server has said nothing: the client gave up, lost the connection, or waits still."""
        return [entry for entry in self.entries if not entry.was_answered]

    def bugs(self) -> list[Entry]:
        """Requests that were answered with an error which no failing node excuses."""
        return [entry for entry in self.entries if entry.outcome in BUGS]

    def wrong_answers(self) -> list[Fault]:
        """Answers that cannot be true; see `faults`. The linearizability check finds these and more, but costs more."""
        return wrong_answers(self.entries)

    def lost_writes(self, final: Mapping[bytes, bytes | None]) -> list[LostWrite]:
        """Acknowledged writes of which the final values of their keys show that they are gone.

        `final`: what was read after the last request was over. Keys that it does not name are not judged.
        """
        return lost_writes(self.entries, final)

    def history(self) -> list[Operation]:
        """What the linearizability checker wants. Requests that surely did nothing are left out."""
        operations = (entry.operation() for entry in self.entries)
        return [operation for operation in operations if operation is not None]

    def latencies(self, keys: Collection[bytes] | None = None) -> dict[str, float]:
        """Percentiles, in microseconds, of requests that were answered with OK or MISS; of some keys only."""
        found = Latencies()
        for entry in self._of(keys):
            if entry.succeeded and entry.ended is not None:
                found.counts[round((entry.ended - entry.started) * 1e6)] += 1
        return found.summary()

    def outage(self, moment: float, keys: Collection[bytes] | None = None) -> Outage:
        """The last success before a moment and the first accepted write begun at it or later, for some keys only."""
        done = [entry for entry in self._of(keys) if entry.succeeded and entry.ended is not None]
        before = [entry.ended for entry in done if entry.ended is not None and entry.ended <= moment]
        after = [
            entry.ended
            for entry in done
            if entry.ended is not None and entry.started >= moment and (entry.verb, entry.outcome) == ("WRITE", OK)
        ]
        return Outage(max(before, default=None), min(after, default=None))

    def late(self, deadline: float, now: float) -> list[tuple[Entry, float]]:
        """Requests that took longer than `deadline` seconds, and by how many; the latest first.

        One without an end counts as if it ended `now`.
        """
        found = []
        for entry in self.entries:
            excess = (now if entry.ended is None else entry.ended) - entry.started - deadline
            if excess > 0:
                found.append((entry, excess))
        return sorted(found, key=lambda one: -one[1])
