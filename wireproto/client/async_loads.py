"""The asyncio client's `get_or_load`: the steps of `wireproto.core.loading`.

The caller's coroutine performs those of `finding`; those of `filling` are performed in a task, so that the load goes on
for the others if the caller is cancelled. The task has a copy of the caller's context variables.
"""

# ruff: noqa: ASYNC109 - `timeout` is the call's own, over all its attempts; it needs no task and no timer.

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from wireproto.client.async_flights import Flight, Flights
from wireproto.client.async_sender import AsyncSender
from wireproto.core.call_plan import Plan
from wireproto.core.calls import Calls, Key
from wireproto.core.load_calls import LoadCalls
from wireproto.core.load_steps import (
    ABANDONED,
    CacheStep,
    Close,
    Fill,
    FillStep,
    FillWithoutLease,
    FindStep,
    GiveBack,
    Join,
    Joined,
    Landing,
    Load,
    Pause,
    Read,
)
from wireproto.core.load_terms import LoadTerms
from wireproto.core.loading import filling, finding
from wireproto.core.request_encoding import key_bytes
from wireproto.core.results import Leased
from wireproto.core.steps import perform_async
from wireproto.errors import WireprotoError

V = TypeVar("V")
Loader = Callable[[], V | Awaitable[V | None] | None]


class AsyncLoads(Generic[V]):
    """What one client loads."""

    def __init__(self, sender: AsyncSender, calls: Calls[V]) -> None:
        self.execute = sender.execute
        self._calls = calls
        self.flights = Flights()

    async def get_or_load(self, key: Key, loader: Loader[V], terms: LoadTerms, timeout: float | None) -> V | None:
        """See `AsyncClient.get_or_load`."""
        name = key_bytes(key)
        clock = asyncio.get_running_loop().time
        steps = finding(terms, terms.patience(timeout), clock, random.random)
        caller = _Caller(self, name, loader, LoadCalls(self._calls, name, terms), terms, timeout)
        landing = await perform_async(steps, caller.find)
        return landing.result()


class _Caller(Generic[V]):
    """One caller, who wants one value."""

    __slots__ = ("_calls", "_key", "_loader", "_loads", "_terms", "_timeout")

    def __init__(
        self,
        loads: AsyncLoads[V],
        key: bytes,
        loader: Loader[V],
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

    async def find(self, step: FindStep) -> Any:
        """Perform one step of `finding`."""
        flights, key = self._loads.flights, self._key
        match step:
            case Join():
                flight = flights.find(key)
                return None if flight is None else Joined(flight, await flight.wait(step.seconds))
            case Pause():
                return await asyncio.sleep(step.seconds)
            case Fill():
                return await self._fly(step.found, is_joinable=not step.found.found)
            case FillWithoutLease():
                flight = None if step.seconds is None else flights.find(key)
                if flight is None or flight is step.vain:
                    return await self._fly(None, is_joinable=True)
                return await flight.wait(step.seconds)
            case _:
                return await self._ask(step)

    async def _fly(self, found: Leased[Any] | None, *, is_joinable: bool) -> Landing[Any]:
        """Load the value in a task, and wait for it as all do."""
        flight = self._loads.flights.open(self._key, is_joinable, lambda flight: self._load(flight, found))
        landing = await flight.wait(None)
        if landing is None or landing is ABANDONED:
            # Nobody has cancelled this caller: the loader has, itself.
            raise asyncio.CancelledError
        return landing

    async def _load(self, flight: Flight, found: Leased[Any] | None) -> Landing[Any]:
        async def fill(step: FillStep) -> Any:
            match step:
                case Load():
                    made = self._loader()
                    return await made if isinstance(made, Awaitable) else made
                case Close():
                    return self._loads.flights.close(self._key, flight)
                case _:
                    return await self._ask(step)

        try:
            return await perform_async(filling(self._terms, found), fill)
        finally:
            self._loads.flights.close(self._key, flight)

    async def _ask(self, step: CacheStep) -> Any:
        """The answer of the server. Raises WireprotoError."""
        call = self._calls.call(step)
        plan = Plan([call.request], [call.kind])
        if isinstance(step, Read):
            plan.unclaimed = self._return_lease
        await self._loads.execute(plan, self._timeout)
        return plan.result()

    def _return_lease(self, answers: list[Any]) -> None:
        """A lease has come for a caller who was cancelled, or whose time was over: the others need not wait for it."""
        kind = self._calls.call(Read(None)).kind
        for answer in answers:
            leased = kind.outcome(answer)
            if isinstance(leased, Leased) and leased.lease is not None:
                self._loads.flights.keep(self._give_back(leased.lease))

    async def _give_back(self, lease: str) -> None:
        try:
            await self._ask(GiveBack(lease))
        except WireprotoError:
            pass  # it ends with its time
