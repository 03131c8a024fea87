"""The short part of a history that shows why it has no explanation: found by leaving out whatever may be left out.

Some operations may be left out of any linearizable history, and it stays linearizable: reads, deletes that found
nothing, everything that was begun after some moment (what was under way then has an unknown outcome), and, when no
delete has to have found a key, whole values. So what is left over and still has no explanation is a reason by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from bench.chaos.history import ImpossibleError, Operation, Violation, by_time, search_of
from bench.chaos.register_search import Kind, Move, Search

EXPLAINED: Final = 10
"""Violations that are made short; of further ones only the place is told where the search got stuck."""
STEPS: Final = 50_000
"""Steps of all searches that shorten one violation."""
SHORT: Final = 12
"""Operations that are shown at most."""


class Explainer:
    """Makes violations readable. `budget`: steps for one search over a whole history."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._left = EXPLAINED

    def explain(self, key: bytes, history: Sequence[Operation], initial: bytes | None, search: Search) -> Violation:
        """The violation of a history in which `search` has found no order."""
        self._left -= 1
        if self._left < 0:
            stuck = [operation for move in search.stuck_at for operation in _edges(move, history)]
            reason = "these could not all be put in order with what came before"
            return Violation(key, reason, by_time(dict.fromkeys(stuck))[:SHORT])
        values = [operation for operation in history if operation.kind != "delete" and operation.value is not None]
        if (pair := self._pair(values, initial)) is not None:
            reason = "each of these values was there before the other, by the times of these operations"
            return Violation(key, reason, by_time(pair))
        whole = {_identity(one): one for one in history}
        part = [whole[_identity(one)] for one in _Part(initial, STEPS).shortened(history)]
        shown = by_time(part)[-SHORT:]
        more = "" if len(shown) == len(part) else f", after {len(part) - len(shown)} others that are not shown"
        return Violation(key, f"no order explains these{more}", shown)

    def _pair(self, values: Sequence[Operation], initial: bytes | None) -> list[Operation] | None:
        """Of a history without deletes: two values, each of which was there before the other. None: there are none.

        The search over values alone has no choice. So where it is stuck, the two moves that end first stand in each
        other's way.
        """
        search = search_of(values, initial)
        if search.run(len(values) + self._budget) is not False:
            return None
        return list(dict.fromkeys(one for move in search.stuck_at[:2] for one in _edges(move, values)))


def _edges(move: Move, history: Iterable[Operation]) -> list[Operation]:
    """The operations of a move that tell when it was: its write, the first answer, the last start."""
    if move.kind is not Kind.VALUE:
        return [one for one in history if one.started == move.starts and one.ended == move.ends]
    own = [one for one in history if one.value == move.value]
    writes = [one for one in own if one.kind == "write"]
    sure = [one for one in own if one.outcome == "ok"]
    return [*writes, min(sure, key=lambda one: one.ended), max(sure, key=lambda one: one.started)] if sure else writes


def _identity(operation: Operation) -> tuple[object, ...]:
    """What stays the same when less is said of an outcome than is known."""
    return operation.client, operation.kind, operation.value, operation.started, operation.ended


class _Part:
    """Leaves out operations of a history as long as it stays without explanation."""

    def __init__(self, initial: bytes | None, budget: int) -> None:
        self._initial = initial
        self._steps = budget

    def shortened(self, history: Sequence[Operation]) -> list[Operation]:
        part = self._begun_in_time(list(history))
        part = self._without(part, lambda one: one.kind == "read" or one.existed is False)
        weaker = [replace(one, existed=None) if one.existed else one for one in part]
        if self._is_impossible(weaker):
            part = self._without(weaker, lambda one: one.kind == "write")
        return part

    def _begun_in_time(self, history: list[Operation]) -> list[Operation]:
        """The shortest beginning of the history that has no explanation."""
        moments = sorted({one.ended for one in history if one.outcome == "ok"})
        low, high = 0, len(moments) - 1
        while low < high:
            middle = (low + high) // 2
            if self._is_impossible(_until(history, moments[middle])):
                high = middle
            else:
                low = middle + 1
        part = _until(history, moments[high])
        return part if self._is_impossible(part) else history

    def _without(self, part: list[Operation], may_go: Callable[[Operation], bool]) -> list[Operation]:
        """Leave out as many of the operations that may go as can be, in ever smaller groups.

        A write goes with the reads of its value.
        """
        size = len(part)
        while size:
            candidates = [one for one in part if may_go(one)]
            for begin in range(0, len(candidates), size):
                gone = set(candidates[begin : begin + size])
                values = {one.value for one in gone if one.kind == "write"}
                rest = [one for one in part if one not in gone and (one.value is None or one.value not in values)]
                if self._is_impossible(rest):
                    part = rest
            size = min(size, len(candidates)) // 2
        return part

    def _is_impossible(self, part: Sequence[Operation]) -> bool:
        try:
            search = search_of(part, self._initial)
        except ImpossibleError:
            return True
        verdict = search.run(max(0, self._steps))
        self._steps -= search.steps
        return verdict is False


def _until(history: Sequence[Operation], moment: float) -> list[Operation]:
    """What was begun by then; what had no answer by then has an unknown outcome."""
    begun = (one for one in history if one.started <= moment)
    return [one if one.ended <= moment else replace(one, outcome="unknown") for one in begun]
