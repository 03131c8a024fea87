"""Is what clients saw of each key what one register could have shown them? A linearizability checker.

A history is linearizable (Herlihy and Wing, "Linearizability: a correctness condition for concurrent objects", 1990) if
every operation can be given a moment between its start and its answer at which it happened, so that one after the other
they make sense. The search for such an order is that of Wing and Gong ("Testing and verifying concurrent objects",
1993), with Lowe's memory of the pairs (operations put in order, state) that led nowhere ("Testing for linearizability",
2017). Keys are independent of each other, so each is checked by itself (Herlihy and Wing's locality). Since every value
is written once, a value's operations are put in order as one (Gibbons and Korach, "Testing shared memories", 1997),
which leaves nothing to search without deletes, and little with them; see `register_search`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from bench.chaos.explaining import Explainer
from bench.chaos.history import ImpossibleError, Operation, Violation, by_time, search_of

__all__ = ["BUDGET", "Operation", "Violation", "check"]

BUDGET: Final = 200_000
"""Steps of the search for one key, besides one for each operation: so many take a key that is easy to order."""


def check(
    operations: Iterable[Operation],
    *,
    initial: Mapping[bytes, bytes] | None = None,
    budget: int = BUDGET,
) -> list[Violation]:
    """The keys whose histories are not linearizable, or undecided after `budget` steps of the search
    and one for each operation.

    `initial`: the values that keys had at the beginning; the others were absent. Raises ValueError when a value was
    written twice to a key, or a written value is None.
    """
    by_key: dict[bytes, list[Operation]] = {}
    for operation in operations:
        by_key.setdefault(operation.key, []).append(operation)
    explainer = Explainer(budget)
    found = []
    for key, history in by_key.items():
        value = (initial or {}).get(key)
        try:
            search = search_of(history, value)
        except ImpossibleError as impossible:
            found.append(Violation(key, str(impossible), by_time(impossible.operations)))
            continue
        verdict = search.run(len(history) + budget)
        if verdict is None:
            found.append(Violation(key, f"no verdict after {search.steps:,} steps", (), undecided=True))
        elif not verdict:
            found.append(explainer.explain(key, history, value, search))
    return found
