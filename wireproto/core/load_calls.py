"""What is asked of the server in the steps of loading one key."""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

from wireproto.core.call_plan import Call
from wireproto.core.calls import Calls
from wireproto.core.codec import ABSENT
from wireproto.core.load_steps import CacheStep, GiveBack, Read, Remove, Store, StoreAbsence
from wireproto.core.load_terms import LoadTerms

V = TypeVar("V")

_RAW: Final[Calls[bytes]] = Calls(None)


class LoadCalls(Generic[V]):
    """The calls for one key."""

    __slots__ = ("_calls", "_key", "_terms")

    def __init__(self, calls: Calls[V], key: bytes, terms: LoadTerms) -> None:
        self._calls = calls
        self._key = key
        self._terms = terms

    def call(self, step: CacheStep) -> Call[Any]:
        """The call of one step. Raises ArgumentError, also for a value that the codec cannot encode."""
        calls, key, terms = self._calls, self._key, self._terms
        match step:
            case Read():
                return calls.read_or_lease(key, terms.lease, step.early)
            case Store():
                return calls.write(key, step.value, px=terms.ttl_ms, stale=terms.stale_seconds, lease=step.lease)
            case StoreAbsence():
                return _RAW.write(key, ABSENT, px=terms.missing_ms, lease=step.lease)
            case GiveBack():
                return calls.give_back(key, step.lease)
            case Remove():
                return calls.delete(key)
