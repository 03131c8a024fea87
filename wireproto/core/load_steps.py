"""The steps of loading a value on demand; `loading` says in which order."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Generic, TypeAlias, TypeVar

from wireproto.core.results import Leased

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Landing(Generic[V]):
    """What came of a load."""

    value: V | None = None
    error: Exception | None = None
    is_current: bool = True
    """False if the key was changed meanwhile, or the load was abandoned: whoever has joined it asks again."""
    trace: TracebackType | None = field(default=None, compare=False, repr=False)
    """Where the error came from. Each of those who raise it would add its own, for all to see and to keep."""

    def result(self) -> V | None:
        """The value. Raises what the loader has raised, or a WireprotoError that the caller must see."""
        if self.error is not None:
            raise self.error.with_traceback(self.trace)
        return self.value


ABANDONED: Final[Landing[Any]] = Landing(is_current=False)


@dataclass(frozen=True, slots=True)
class Joined:
    """A load of this process that was waited for, and what came of it; None: nothing in that time."""

    flight: object
    landing: Landing[Any] | None


# -- what those do who want the value


@dataclass(slots=True)
class Join:
    """Wait for the load of the key that is under way in this process, for `seconds` at most.

    Answer: `Joined`, or None if there is no load that others may join.
    """

    seconds: float


@dataclass(slots=True)
class Read:
    """READ with a lease. Answer: `Leased`."""

    early: float | None


@dataclass(slots=True)
class Remove:
    """DELETE. Answer: whether there was a key."""


@dataclass(slots=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(slots=True)
class Fill:
    """Load the value, with the lease. Others may join, unless there is an old value for them. Answer: `Landing`."""

    found: Leased[Any]


@dataclass(slots=True)
class FillWithoutLease:
    """Load the value without a lease; others may join.

    If another load than `vain` is under way, and `seconds` are given, wait so long for that one instead. Answer:
    `Landing`, or None: nothing in that time.
    """

    vain: object | None
    seconds: float | None


FindStep: TypeAlias = Join | Read | Remove | Pause | Fill | FillWithoutLease

# -- what the one does who loads it


@dataclass(slots=True)
class Load:
    """Call the loader. Answer: what it returns."""


@dataclass(slots=True)
class Close:
    """From here on nobody may join."""


@dataclass(slots=True)
class Store:
    """WRITE the value, with the lease. Answer: whether it was stored."""

    value: Any
    lease: str


@dataclass(slots=True)
class StoreAbsence:
    """WRITE, with the lease, that there is nothing. Answer: whether it was stored."""

    lease: str


@dataclass(slots=True)
class GiveBack:
    """DELETE with the lease. Answer: whether it held."""

    lease: str


FillStep: TypeAlias = Load | Close | Store | StoreAbsence | GiveBack | Remove
CacheStep: TypeAlias = Read | Remove | Store | StoreAbsence | GiveBack
"""The steps that are one request to the server."""
