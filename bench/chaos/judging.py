"""What is asked of every round: answers that were late, wrong or missing, and acknowledged writes that are gone."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Final

from bench.chaos.entries import OK, Entry
from bench.chaos.findings import Bound, Collected, Figure
from bench.chaos.record import Ledger
from bench.chaos.rules import wrong_answers
from bench.chaos.running import ChaosError, ChaosServer
from bench.chaos.traffic import Stalls, Traffic
from bench.latencies import Latencies

SLACK: Final = 0.05
"""Seconds that an answer may take beyond the server's own time-outs."""
REPLICATION: Final = 1.0
"""Seconds before a fault in which what the master acknowledged may not have reached a replica."""
_EXAMPLES: Final = 3
_LOG: Final = 4000
"""Characters of it that are shown."""

NONE: Final = Bound(0)
FIRST_WRITE: Final = "first accepted write after the fault, s"
LATE: Final = "answers later than the time-outs and 50 ms"
SLOWEST: Final = "slowest answer, ms"
STALL: Final = "longest pause of the clients' own process, ms"
UNANSWERED: Final = "requests without an answer"
WRONG: Final = "wrong answers"
BUGS: Final = "answers that no fault excuses (PROTO, INTERNAL, …)"
LOST: Final = "acknowledged writes lost"
ACKNOWLEDGED: Final = "acknowledged writes"
UNFINISHED: Final = "rounds that could not be finished"
WHOLE: Final = "all nodes whole again after, s"


def without_promise(entries: Sequence[Entry], since: float, until: float) -> list[Entry]:
    """The same, but writes that were acknowledged between two moments may have happened or not.

    That is all that a master promises that dies before its replicas have what it has acknowledged.
    """
    return [
        replace(entry, outcome="LOST")
        if entry.verb == "WRITE" and entry.outcome == OK and entry.ended is not None and since <= entry.ended <= until
        else entry
        for entry in entries
    ]


def late(ledger: Ledger, deadline: float, stalls: Stalls) -> list[Entry]:
    """Answers that came later than `deadline` seconds, also when the clients' own longest pause is taken off."""
    found = []
    for entry, excess in ledger.late(deadline, float("inf")):
        if entry.ended is None or excess > stalls.within(entry.started, entry.ended):
            found.append(entry)
    return found


def p99(entries: Sequence[Entry], start: float, end: float) -> float:
    """Of the requests begun between two moments that succeeded, in microseconds."""
    found = Latencies()
    for entry in entries:
        if start <= entry.started < end and entry.succeeded and entry.ended is not None:
            found.counts[round((entry.ended - entry.started) * 1e6)] += 1
    return found.summary()["p99"]


async def attempt(collected: Collected, server: ChaosServer, one_round: Coroutine[None, None, None]) -> None:
    """Do a round, or note why it could not be finished."""
    try:
        await one_round
        collected.add(UNFINISHED, 0)
    except ChaosError as error:
        collected.add(UNFINISHED, 1)
        collected.examples.append(f"{error}; the end of the server's log:\n{server.log()[-_LOG:]}")


async def judge(
    collected: Collected,
    traffic: Traffic,
    shard: str,
    *,
    fault: float,
    deadline: float,
    unpromised: tuple[float, float] | None,
) -> None:
    """Note what clients of a shard saw in this round, after they were stopped, and read what they have written.

    What was acknowledged within `unpromised` may be lost without being a wrong answer. Raises ChaosError.
    """
    ledger = traffic.ledger(shard)
    lost = ledger.lost_writes(await traffic.final_values(shard))
    entries = without_promise(ledger.entries, *unpromised) if unpromised else ledger.entries
    wrong = wrong_answers(entries)
    found = {
        LATE: late(ledger, deadline + SLACK, traffic.stalls),
        UNANSWERED: ledger.unanswered(),
        BUGS: ledger.bugs(),
        WRONG: [fault.entry for fault in wrong],
        LOST: [write.entry for write in lost],
    }
    for kind, bad in found.items():
        collected.add(kind, len(bad))
        if kind != LOST or unpromised is None:
            collected.examples += [f"{kind}, {shard}: {entry}" for entry in bad[:_EXAMPLES]]
    collected.examples += [f"{fault.reason}: {fault.entry}" for fault in wrong[:_EXAMPLES]]
    times = [entry.ended - entry.started for entry in ledger.entries if entry.ended is not None]
    collected.add(SLOWEST, 1000 * max(times))
    collected.add(STALL, 1000 * traffic.stalls.longest)
    collected.add(ACKNOWLEDGED, sum(entry.verb == "WRITE" and entry.outcome == OK for entry in ledger.entries))
    collected.outcomes.update(entry.outcome for entry in ledger.entries if entry.started >= fault)


def common_figures(collected: Collected, *, may_lose: bool) -> list[Figure]:
    """What `judge` has noted, with what must hold."""
    return [
        collected.figure(LATE, NONE),
        collected.figure(SLOWEST),
        collected.figure(STALL),
        collected.figure(UNANSWERED, NONE),
        collected.figure(WRONG, NONE),
        collected.figure(BUGS, NONE),
        collected.figure(LOST, None if may_lose else NONE),
        collected.figure(ACKNOWLEDGED),
        collected.figure(UNFINISHED, NONE),
    ]
