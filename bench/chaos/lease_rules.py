"""What must not happen to a lease, also where a master is replaced by a replica that has not all it acknowledged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.chaos.exchanges import Exchange, Kind, Unexplained
from wireproto.core.reply_wire import MISS, OK


def lease_faults(exchanges: Iterable[Exchange], unpromised: Sequence[tuple[float, float]] = ()) -> list[Unexplained]:
    """Leases that two were given, that were used twice, or that were used when they had surely ended.

    What was acknowledged within `unpromised`, pairs of moments, may be lost, and so ends no lease surely.
    """
    by_key: dict[bytes, list[Exchange]] = {}
    for one in exchanges:
        if one.is_sure:
            by_key.setdefault(one.key, []).append(one)
    found = []
    for key, history in by_key.items():
        found += [Unexplained(key, reason, about) for reason, about in _faults_of(history, unpromised)]
    return found


def _faults_of(
    history: Sequence[Exchange], unpromised: Sequence[tuple[float, float]]
) -> list[tuple[str, tuple[Exchange, ...]]]:
    found: list[tuple[str, tuple[Exchange, ...]]] = []
    grants: dict[str | None, Exchange] = {}
    fills: dict[str | None, Exchange] = {}
    endings = [one for one in history if _ends_leases(one) and not _is_within(one.ended, unpromised)]
    for one in history:
        if one.is_granted and grants.setdefault(one.told, one) is not one:
            found.append(("a lease was given twice", (grants[one.told], one)))
        if one.kind is not Kind.FILL or one.outcome != OK:
            continue
        if fills.setdefault(one.named, one) is not one:
            found.append(("a lease was used twice", (fills[one.named], one)))
            continue
        grant = grants.get(one.named)
        if grant is None:
            found.append(("a lease was used that nobody was given", (one,)))
        elif between := [other for other in endings if grant.ended < other.started and other.ended < one.started]:
            found.append(("a lease was used that had ended", (grant, between[0], one)))
    return found


def _ends_leases(one: Exchange) -> bool:
    """Whether a lease that was given before it surely does not hold after it."""
    if one.is_granted:
        return True
    if one.kind is Kind.DELETE:
        return one.outcome in (OK, MISS)
    return one.outcome == OK and one.kind in (Kind.WRITE, Kind.CREATE, Kind.SWAP, Kind.FILL, Kind.GIVE_BACK, Kind.COUNT)


def _is_within(moment: float, spans: Sequence[tuple[float, float]]) -> bool:
    return any(start <= moment <= end for start, end in spans)
