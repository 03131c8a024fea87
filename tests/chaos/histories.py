"""Histories for the checker: a notation for people, a register that makes true ones, a judge that tries all orders."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

from bench.chaos.linearizability import Operation

KEY = b"k"


def write(value: str, started: float, ended: float, *, unknown: bool = False, client: int = 0) -> Operation:
    return Operation(client, KEY, "write", value.encode(), started, ended, "unknown" if unknown else "ok")


def read(value: str | None, started: float, ended: float, *, client: int = 1) -> Operation:
    return Operation(client, KEY, "read", None if value is None else value.encode(), started, ended)


def delete(existed: bool | None, started: float, ended: float, *, unknown: bool = False, client: int = 2) -> Operation:
    return Operation(client, KEY, "delete", None, started, ended, "unknown" if unknown else "ok", existed)


def has_an_order(history: Sequence[Operation], initial: bytes | None = None) -> bool:
    """Every order of every choice of unknown operations is tried: for short histories only."""
    sure = [one for one in history if one.outcome == "ok"]
    perhaps = [one for one in history if one.outcome != "ok" and one.kind != "read"]
    for count in range(len(perhaps) + 1):
        for happened in itertools.combinations(perhaps, count):
            for order in itertools.permutations([*sure, *happened]):
                if _is_in_time(order) and _makes_sense(order, initial):
                    return True
    return False


def _is_in_time(order: Sequence[Operation]) -> bool:
    """Nothing stands behind what was begun only after its answer."""
    return not any(
        later.outcome == "ok" and later.ended < earlier.started
        for place, earlier in enumerate(order)
        for later in order[place + 1 :]
    )


def _makes_sense(order: Sequence[Operation], held: bytes | None) -> bool:
    for one in order:
        if one.kind == "write":
            held = one.value
        elif one.kind == "read":
            if one.value != held:
                return False
        else:
            if one.outcome == "ok" and one.existed is not None and one.existed != (held is not None):
                return False
            held = None
    return True


def atomic_history(
    dice: random.Random, count: int, *, clients: int, kinds: str = "rrwd", unknown: float = 0.1, key: bytes = KEY
) -> list[Operation]:
    """What `clients` see of a real register: each operation happens at one moment between its start and its answer.

    `kinds`: read, write, delete, as often as their letters stand there. Of `unknown` of the operations the client does
    not learn whether they happened; half of them did not, and those that did may happen long after.
    """
    planned = []
    free = [0.0] * clients
    for number in range(count):
        client = dice.randrange(clients)
        started = free[client] + dice.random() * 2
        ended = started + dice.random() * 4
        free[client] = ended
        moment = started + dice.random() * (ended - started)
        is_unknown = dice.random() < unknown
        if is_unknown:
            moment = started + dice.random() * 20 if dice.random() < 0.5 else float("inf")
        planned.append((moment, number, client, dice.choice(kinds), started, ended, is_unknown))
    held: bytes | None = None
    history = []
    for moment, number, client, kind, started, ended, is_unknown in sorted(planned):
        outcome = "unknown" if is_unknown else "ok"
        value = b"v%d" % number
        happens = moment < float("inf")
        if kind == "w":
            history.append(Operation(client, key, "write", value, started, ended, outcome))
            held = value if happens else held
        elif kind == "d":
            existed = None if is_unknown else held is not None
            history.append(Operation(client, key, "delete", None, started, ended, outcome, existed))
            held = None if happens else held
        else:
            history.append(Operation(client, key, "read", held, started, ended, outcome))
    return history


def with_one_other_answer(dice: random.Random, history: Sequence[Operation]) -> list[Operation]:
    """The same, but one read or delete was answered something else. Unchanged where there is nothing to change."""
    changed = list(history)
    places = [place for place, one in enumerate(history) if one.kind != "write" and one.outcome == "ok"]
    if not places:
        return changed
    place = dice.choice(places)
    one = history[place]
    if one.kind == "delete":
        changed[place] = replace(one, existed=not one.existed)
    else:
        values = {other.value for other in history if other.kind == "write"} | {None, b"never"}
        changed[place] = replace(one, value=dice.choice(sorted(values - {one.value}, key=repr)))
    return changed
