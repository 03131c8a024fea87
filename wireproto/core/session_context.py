"""What the sessions of a process share, and what they ask of the world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from wireproto.core.bundle import ValueSealer
from wireproto.core.limits import Limits
from wireproto.core.metrics import Metrics
from wireproto.core.quotas import Quotas
from wireproto.core.replication_policy import ReplicationPolicy
from wireproto.core.ring import HashRing
from wireproto.core.tokens import TokenAuthority


class Sealers(Protocol):
    """Has the keys that values are sealed with (`sealing`)."""

    def for_namespace(self, namespace: str) -> ValueSealer:
        """Seals and opens the values of a namespace."""


class Surroundings(Protocol):
    """What a session asks of the world; the shell provides it."""

    def wall_clock(self) -> float:
        """Seconds since 1970, for tokens, and for when a value's time is over."""

    def new_id(self) -> str:
        """A fresh random identifier."""

    def stamp(self) -> bytes:
        """A version or a lease that was not given out before (`stamps`)."""

    def describe_shard(self, index: int) -> tuple[Sequence[str], Mapping[str, str]]:
        """A shard's nodes, each in a line of text, the master first; and its state and the like as option values."""

    def stats(self) -> bytes:
        """The answer to STATS, as JSON."""

    def audit(self, event: str, details: Mapping[str, object]) -> None:
        """Write down who came in and who was refused."""

    def wrong_credential(self, peer: str) -> None:
        """Somebody at this address and port sent a credential that is not valid, and never was."""

    def report_bug(self, error: Exception | str) -> str:
        """Log what should not have happened; the id that it is logged under."""


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What all sessions of a process share."""

    limits: Limits
    ring: HashRing
    authority: TokenAuthority
    metrics: Metrics
    surroundings: Surroundings
    policy: ReplicationPolicy
    sealers: Sealers | None = None
    quotas: Quotas | None = None
    """None where nobody has one."""
