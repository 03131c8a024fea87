"""The blocking client's `get_or_load`: the steps of `wireproto.core.loading`, performed in the caller's own thread."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from wireproto.client.blocking_flights import Flight, Flights
from wireproto.client.blocking_sender import BlockingSender
from wireproto.core.calls import Calls, Key
from wireproto.core.load_calls import LoadCalls
from wireproto.core.load_steps import (
    ABANDONED,
    Close,
    Fill,
    FillStep,
    FillWithoutLease,
    FindStep,
    Join,
    Joined,
    Landing,
    Load,
    Pause,
)
from wireproto.core.load_terms import LoadTerms
from wireproto.core.loading import filling, finding
from wireproto.core.request_encoding import key_bytes
from wireproto.core.results import Leased
from wireproto.core.steps import perform

V = TypeVar("V")


class BlockingLoads(Generic[V]):
    """What one client loads."""

    def __init__(self, sender: BlockingSender, calls: Calls[V]) -> None:
        self.run = sender.run
        self._calls = calls
        self.flights = Flights()

    def get_or_load(
        self, key: Key, loader: Callable[[], V | None], terms: LoadTerms, timeout: float | None
    ) -> V | None:
        """See `Client.get_or_load`."""
        name = key_bytes(key)
        steps = finding(terms, terms.patience(timeout), time.monotonic, random.random)
        caller = _Caller(self, name, loader, LoadCalls(self._calls, name, terms), terms, timeout)
        return perform(steps, caller.find).result()


class _Caller(Generic[V]):
    """One caller, who wants one value."""

    __slots__ = ("_calls", "_flight", "_key", "_loader", "_loads", "_terms", "_timeout")

    def __init__(
        self,
        loads: BlockingLoads[V],
        key: bytes,
        loader: Callable[[], V | None],
        calls: LoadCalls[V],
        terms: LoadTerms,
        timeout: float | None,
    ) -> None:
        self._loads = loads
        self._key = key
        self._loader = loader
        self._calls = calls
        self._terms = terms
        self._timeout = timeout
        self._flight: Flight | None = None
        """The load that is this caller's, if others may join it."""

    def find(self, step: FindStep) -> Any:
        """Perform one step of `finding`."""
        flights, key = self._loads.flights, self._key
        match step:
            case Join():
                flight = flights.find(key)
                return None if flight is None else Joined(flight, flight.wait(step.seconds))
            case Pause():
                return time.sleep(step.seconds)
            case Fill():
                return self._fly(None if step.found.found else flights.open(key), step.found)
            case FillWithoutLease():
                if step.seconds is None:
                    return self._fly(flights.open(key), None)
                flight, is_new = flights.find_or_open(key, step.vain)
                return self._fly(flight, None) if is_new else flight.wait(step.seconds)
            case _:
                return self._loads.run(self._calls.call(step), self._timeout)

    def _fly(self, flight: Flight | None, found: Leased[Any] | None) -> Landing[Any]:
        """Load the value. Whatever happens, those who have joined are told."""
        self._flight = flight
        landing: Landing[Any] = ABANDONED
        try:
            landing = perform(filling(self._terms, found), self._fill)
        finally:
            if flight is not None:
                self._loads.flights.close(self._key, flight)
                flight.land(landing)
        return landing

    def _fill(self, step: FillStep) -> Any:
        """Perform one step of `filling`."""
        match step:
            case Load():
                return self._loader()
            case Close():
                if self._flight is not None:
                    self._loads.flights.close(self._key, self._flight)
                return None
            case _:
                return self._loads.run(self._calls.call(step), self._timeout)
