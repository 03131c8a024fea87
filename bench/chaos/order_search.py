"""The search for an order of operations that explains their answers, whatever they are operations of.

It is that of Wing and Gong, with Lowe's memory of where it has been (`linearizability` names the papers). What an
operation does to a state is told by a function. Two things keep it short. An operation that may come next and never
changes anything is put in order at once: to have it earlier spoils no order. And one of unknown outcome is put in order
only where it changes something, after the others have been tried, or never.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """An operation that happened between two moments, or, if it has no end, perhaps at some moment or never."""

    @property
    def started(self) -> float:
        """Seconds."""

    @property
    def ended(self) -> float:
        """Infinite: its outcome is unknown."""


T = TypeVar("T", bound=Timed)
S = TypeVar("S", bound=Hashable)


@dataclass(slots=True)
class _Choice(Generic[S]):
    """A place of the search, and what may still be tried from there: which operation comes next, and to what state."""

    others: list[tuple[int, S]]
    done: int
    """The operations that have their place, as bits."""
    state: S
    first: int


class OrderSearch(Generic[T, S]):
    """`apply` gives the state after an operation, or None if it cannot come next in that state. `only_looks` says of an
    operation that it leaves every state as it is.

    `run` gives True if there is an order, False if there is none, None if the budget of steps was used up.
    """

    def __init__(
        self,
        operations: Sequence[T],
        apply: Callable[[S, T], S | None],
        only_looks: Callable[[T], bool],
        initial: S,
    ) -> None:
        self._sure = sorted((one for one in operations if one.ended < math.inf), key=lambda one: one.started)
        self._unknown = sorted((one for one in operations if one.ended == math.inf), key=lambda one: one.started)
        self._apply = apply
        self._looks = [only_looks(one) for one in self._sure]
        self._initial = initial
        self.steps = 0
        self.stuck_at: list[T] = []
        """What could not come next where most had their place, and had to."""

    def run(self, budget: int) -> bool | None:
        """Look for an order, in at most so many steps."""
        seen: set[tuple[int, S]] = set()
        path: list[_Choice[S]] = []
        done, state, first, most = 0, self._initial, 0, -1
        while True:
            while first < len(self._sure) and done >> first & 1:
                first += 1
            if first == len(self._sure):
                return True
            if self.steps >= budget:
                return None
            choices = self._choices(done, state, first)
            if len(choices) > 1:
                if (done, state) in seen:
                    choices = []
                seen.add((done, state))
            elif not choices and done.bit_count() > most:
                most = done.bit_count()
                self.stuck_at = self._next(done, first)
            if choices:
                path.append(_Choice(choices[1:], done, state, first))
                number, after = choices[0]
            else:
                while path and not path[-1].others:
                    path.pop()
                if not path:
                    return False
                last = path[-1]
                done, first = last.done, last.first
                number, after = last.others.pop(0)
            done, state = done | 1 << number, after
            self.steps += 1

    def _choices(self, done: int, state: S, first: int) -> list[tuple[int, S]]:
        """What may come next, the most urgent first. Those of unknown outcome are numbered behind all the others."""
        candidates = self._candidates(done, first)
        limit = min(self._sure[number].ended for number in candidates)
        found = []
        for number in candidates:
            after = self._apply(state, self._sure[number])
            if after is not None and self._looks[number]:
                return [(number, after)]
            if after is not None:
                found.append((number, after))
        found.sort(key=lambda choice: self._sure[choice[0]].ended)
        for place, one in enumerate(self._unknown):
            if one.started > limit:
                break
            number = len(self._sure) + place
            if not done >> number & 1:
                after = self._apply(state, one)
                if after is not None and after != state:
                    found.append((number, after))
        return found

    def _candidates(self, done: int, first: int) -> list[int]:
        """The operations without a place that no other of them surely came before."""
        found, limit = [], math.inf
        for number in range(first, len(self._sure)):
            one = self._sure[number]
            if one.started > limit:
                break
            if not done >> number & 1:
                found.append(number)
                limit = min(limit, one.ended)
        return [number for number in found if self._sure[number].started <= limit]

    def _next(self, done: int, first: int) -> list[T]:
        return [self._sure[number] for number in self._candidates(done, first)]
