"""One key's history: what clients asked and were answered, and what has to be put in order to explain it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.chaos.register_search import NOW_AND_EVER, Kind, Move, Search


@dataclass(frozen=True, slots=True)
class Operation:
    """What a client asked of a key, what came of it, and when, by one monotonic clock in seconds.

    An operation of unknown outcome may happen at any moment after its start, also after `ended`, or never. Operations
    that surely had no effect are no part of a history.
    """

    client: int
    key: bytes
    kind: Literal["read", "write", "delete"]
    value: bytes | None
    """What was written or read, None: absent. Every value is written once to a key. For a delete always None."""
    started: float
    ended: float
    outcome: Literal["ok", "unknown"] = "ok"
    existed: bool | None = None
    """For a delete: whether there was a key (OK), or not (MISS). None: it happened, but what it found is not known."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A key whose history has no explanation, or, when `undecided`, none that was found within the budget."""

    key: bytes
    reason: str
    operations: tuple[Operation, ...]
    """The part of the history that has no explanation by itself, or where the search got stuck, by time."""
    undecided: bool = False

    def __str__(self) -> str:
        """The operations with their times, in ms since the first of them."""
        verdict = "undecided" if self.undecided else "not linearizable"
        origin = min((operation.started for operation in self.operations), default=0.0)
        lines = [_line(operation, origin) for operation in self.operations]
        return "\n".join([f"key {_shown(self.key)}: {verdict}: {self.reason}", *lines])


class ImpossibleError(Exception):
    """Operations that no order can explain, found without a search."""

    def __init__(self, reason: str, operations: Sequence[Operation]) -> None:
        super().__init__(reason)
        self.operations = operations


def search_of(history: Sequence[Operation], initial: bytes | None) -> Search:
    """The search for an order of one key's operations. Raises ImpossibleError when it is known that there is none."""
    reads: dict[bytes, list[Operation]] = {}
    moves: list[Move] = []
    spare_deletes: list[float] = []
    for operation in history:
        if operation.kind == "read":
            if operation.outcome != "ok":
                continue
            if operation.value is not None:
                reads.setdefault(operation.value, []).append(operation)
                continue
        if operation.kind == "write":
            continue
        if operation.outcome != "ok":
            spare_deletes.append(operation.started)
        else:
            moves.append(Move(_kind_of(operation), operation.started, operation.ended))
    written, spare_writes = _value_moves(history, reads, initial)
    if not any(move.kind is Kind.TAKE for move in moves):
        spare_writes = []
    return Search(moves + written, sorted(spare_writes), sorted(spare_deletes))


def _kind_of(operation: Operation) -> Kind:
    if operation.kind == "read" or operation.existed is False:
        return Kind.ABSENT
    return Kind.TAKE if operation.existed else Kind.ERASE


def _value_moves(
    history: Sequence[Operation], reads: Mapping[bytes, list[Operation]], initial: bytes | None
) -> tuple[list[Move], list[float]]:
    """A move for each value that was surely there, and the starts of writes that perhaps never happened."""
    moves: list[Move] = []
    spare: list[float] = []
    known: set[bytes] = set()
    if initial is not None:
        known.add(initial)
        starts = [read.started for read in reads.get(initial, ())]
        moves.append(Move(Kind.VALUE, max(starts, default=NOW_AND_EVER), NOW_AND_EVER, initial))
    for write in history:
        if write.kind != "write":
            continue
        if write.value is None or write.value in known:
            raise ValueError(f"{write.value!r} was written twice to {write.key!r}, or is no value")
        known.add(write.value)
        readers = reads.get(write.value, ())
        if write.outcome == "ok" or readers:
            moves.append(_value_move(write, readers))
        else:
            spare.append(write.started)
    for value, readers in reads.items():
        if value not in known:
            raise ImpossibleError("a value was read that was never written", readers[:1])
    return moves, spare


def _value_move(write: Operation, readers: Sequence[Operation]) -> Move:
    assert write.value is not None
    starts, ends = write.started, write.ended if write.outcome == "ok" else math.inf
    for read in readers:
        if read.ended < write.started:
            raise ImpossibleError("a value was read before its write was begun", [read, write])
        starts, ends = max(starts, read.started), min(ends, read.ended)
    return Move(Kind.VALUE, starts, ends, write.value)


def by_time(operations: Iterable[Operation]) -> tuple[Operation, ...]:
    """In the order in which they were begun."""
    return tuple(sorted(operations, key=lambda operation: (operation.started, operation.ended)))


def _shown(data: bytes, longest: int = 40) -> str:
    text = data.decode("ascii", "backslashreplace")
    return text if len(text) <= longest else f"{text[:longest]}..."


def _line(operation: Operation, origin: float) -> str:
    """One operation, to be read by people."""
    began, ended = (1000 * (moment - origin) for moment in (operation.started, operation.ended))
    value = "absent" if operation.value is None else _shown(operation.value)
    if operation.kind == "delete":
        found = {True: "there was one", False: "there was none", None: "done"}[operation.existed]
        told = f"delete -> {found if operation.outcome == 'ok' else 'unknown'}"
    elif operation.kind == "read":
        told = f"read -> {value}"
    else:
        told = f"write {value} -> {'ok' if operation.outcome == 'ok' else 'unknown'}"
    return f"  {began:10.3f} .. {ended:10.3f} ms  client {operation.client:<4} {told}"
