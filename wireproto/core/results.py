"""What a read tells besides the value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Value(Generic[V]):
    """A value and its time left in seconds, None if it does not expire."""

    value: V
    ttl: float | None


@dataclass(frozen=True, slots=True)
class Versioned(Value[V]):
    """A value with its time left and its version, for a change only if nobody else has changed it since."""

    version: str


@dataclass(frozen=True, slots=True)
class Leased(Generic[V]):
    """What a read with a lease tells: the value, if there is one, and who is to load it."""

    value: V | None
    found: bool
    """Whether there is a value, be it a stale one. It tells a value that is None from a miss."""
    stale: bool
    """Whether the value's time to live is over."""
    lease: str | None
    """The right to load the value, given to whoever has asked; None if there is nothing to load, or another has it."""
    held: float | None
    """Seconds for which another has that right at the most; None if nobody else has it."""
