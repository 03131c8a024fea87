"""What the ledger tells of made-up entries: each kind of fault is found, and nothing else is taken for one."""

from __future__ import annotations

import pytest

from bench.chaos.entries import Entry, Verb, key_named_in, value_of
from bench.chaos.ledger import Ledger
from bench.chaos.linearizability import Operation
from wireproto.errors import Effect

KEY, OTHER = b"ledger:1", b"ledger:2"


def value(sequence: int, key: bytes = KEY, writer: int = 0) -> bytes:
    return value_of(key, writer, sequence)


def write(
    sequence: int, started: float, ended: float | None, outcome: str = "OK", *, text: str = "", writer: int = 0
) -> Entry:
    return Entry(writer, "WRITE", KEY, value(sequence, writer=writer), started, ended, outcome, text)


def read(held: bytes | None, started: float, ended: float, key: bytes = KEY) -> Entry:
    return Entry(1, "READ", key, held, started, ended, "MISS" if held is None else "OK")


def delete(started: float, ended: float, outcome: str = "OK") -> Entry:
    return Entry(0, "DELETE", KEY, None, started, ended, outcome)


@pytest.mark.parametrize("size", [0, 100, 10_000])
def test_values_name_their_key(size: int) -> None:
    made = value_of(b"a|b.", 12, 345, size)
    assert len(made) == max(size, len(b"a|b.|12|345|"))
    assert key_named_in(made) == b"a|b."
    assert made != value_of(b"a|b.", 12, 34, size)


@pytest.mark.parametrize("text", [b"", b"x", b"k|1", b"k|1|2", b"k|x|2|", b"k|1|2|z", b"|||"])
def test_other_bytes_name_none(text: bytes) -> None:
    assert key_named_in(text) is None


FAULTY = {
    "a value of another key": ([write(1, 0, 1), read(value(1, OTHER), 2, 3)], "of another key"),
    "never written": ([write(1, 0, 1), read(value(2), 2, 3)], "never written"),
    "no value of ours": ([write(1, 0, 1), read(b"rubbish", 2, 3)], "never written"),
    "half a value": ([write(1, 0, 1), read(value(1)[:-1], 2, 3)], "never written"),
    "written only later": ([read(value(1), 0, 1), write(1, 2, 3)], "only later"),
    "a refused write": ([write(1, 0, 1, "BUSY"), read(value(1), 2, 3)], "refused with BUSY"),
    "an old value": ([write(1, 0, 1), write(2, 2, 3), read(value(1), 4, 5)], "older"),
    "an old value of another writer": (
        [write(1, 0, 1), write(2, 2, 3, writer=7), read(value(1), 4, 5)],
        "older",
    ),
    "a miss": ([write(1, 0, 1), read(None, 2, 3)], "no value"),
    "a miss after a delete before": ([delete(0, 1), write(1, 2, 3), read(None, 4, 5)], "no value"),
    "a miss before a delete": ([write(1, 0, 1), read(None, 2, 3), delete(4, 5)], "no value"),
    "a miss, though a delete was refused": ([write(1, 0, 1), delete(2, 3, "DOWN"), read(None, 4, 5)], "no value"),
}

FAULTLESS = {
    "the value": [write(1, 0, 1), read(value(1), 2, 3)],
    "a miss before the first write": [read(None, 0, 1), write(1, 2, 3)],
    "the old value beside a write": [write(1, 0, 1), write(2, 2, 5), read(value(1), 3, 4)],
    "the new value beside a write": [write(1, 0, 1), write(2, 2, 5), read(value(2), 3, 4)],
    "either of two writers beside each other": [
        write(1, 0, 3),
        write(1, 1, 2, writer=7),
        read(value(1), 4, 5),
    ],
    "a write of unknown outcome, seen": [write(1, 0, 1, "TIMEOUT"), read(value(1), 2, 3)],
    "a write of unknown outcome, seen after a later one": [
        write(1, 0, 1, "LOST"),
        write(2, 2, 3),
        read(value(1), 4, 5),
    ],
    "a write that is not replicated": [write(1, 0, 1), write(2, 2, 3, "NOSYNC"), read(value(2), 4, 5)],
    "a write without an end": [write(1, 0, None, ""), read(value(1), 2, 3)],
    "a miss after a delete": [write(1, 0, 1), delete(2, 3), read(None, 4, 5)],
    "a miss beside a delete": [write(1, 0, 1), delete(2, 5), read(None, 3, 4)],
    "a miss long after a delete of unknown outcome": [delete(0, 1, "TIMEOUT"), write(1, 2, 3), read(None, 4, 5)],
    "a read that failed": [write(1, 0, 1), Entry(1, "READ", KEY, None, 2, 3, "DOWN")],
}


@pytest.mark.parametrize("name", FAULTY)
def test_wrong_answers_are_found(name: str) -> None:
    entries, reason = FAULTY[name]
    (fault,) = Ledger(entries).wrong_answers()
    assert fault.entry.verb == "READ"
    assert reason in fault.reason


@pytest.mark.parametrize("name", FAULTLESS)
def test_right_answers_are_not(name: str) -> None:
    assert Ledger(FAULTLESS[name]).wrong_answers() == []


def lost(entries: list[Entry], final: bytes | None) -> list[tuple[bytes | None, bool]]:
    return [(one.entry.value, one.certain) for one in Ledger(entries).lost_writes({KEY: final})]


def test_acknowledged_writes_that_are_gone_are_lost() -> None:
    entries = [write(1, 0, 1), write(2, 2, 3), write(3, 4, 5)]
    assert lost(entries, value(3)) == []
    assert lost(entries, value(1)) == [(value(2), True), (value(3), True)]
    assert lost(entries[:1], None) == [(value(1), True)]
    assert lost(entries[:1], b"rubbish") == [(value(1), True)]
    assert lost([], None) == []


def test_only_acknowledged_writes_can_be_lost() -> None:
    for outcome in ("NOSYNC", "TIMEOUT", "LOST", "DOWN", ""):
        assert lost([write(1, 0, 1), write(2, 2, 3, outcome)], value(1)) == []


def test_writes_beside_each_other_are_not_lost() -> None:
    assert lost([write(1, 0, 3), write(1, 1, 2, writer=7)], value(1)) == []
    assert lost([write(1, 0, 1), write(1, 2, 3, writer=7)], value(1)) == [(value(1, writer=7), True)]


def test_a_write_that_may_have_happened_late_makes_the_loss_of_others_uncertain() -> None:
    assert lost([write(1, 0, 1, "TIMEOUT"), write(2, 2, 3)], value(1)) == [(value(2), False)]
    assert lost([write(1, 0, None, ""), write(2, 2, 3, writer=7)], value(1)) == []


def test_what_was_deleted_is_not_lost() -> None:
    assert lost([write(1, 0, 1), delete(2, 3)], None) == []
    assert lost([delete(0, 1), write(1, 2, 3)], None) == [(value(1), True)]
    assert lost([write(1, 0, 1), delete(2, 3, "TIMEOUT")], None) == [(value(1), False)]
    assert lost([write(1, 0, 1), delete(2, 3, "DOWN")], None) == [(value(1), True)]


def test_keys_of_which_the_end_is_not_known_are_not_judged() -> None:
    assert Ledger([write(1, 0, 1)]).lost_writes({OTHER: None}) == []


def test_counts_and_requests_without_an_answer() -> None:
    entries = [
        write(1, 0, 1),
        write(2, 2, 3, "TIMEOUT", text="node shard-1 did not answer in time"),
        write(3, 4, 5, "TIMEOUT", text="no answer in time"),
        write(4, 6, 7, "TIMEOUT", text="the server has fallen silent"),
        write(5, 8, 9, "LOST", text="the connection to node shard-1 broke"),
        write(6, 10, 11, "LOST", text="the connection ended before the answer: the connection was closed"),
        write(7, 12, 13, "LATE", text="not sent: no answer in time"),
        write(8, 14, None, ""),
        read(None, 16, 17),
        write(9, 18, 19, "INTERNAL", text="a1b2"),
    ]
    ledger = Ledger(entries)
    assert ledger.counts() == {
        ("WRITE", "OK"): 1,
        ("WRITE", "TIMEOUT"): 3,
        ("WRITE", "LOST"): 2,
        ("WRITE", "LATE"): 1,
        ("WRITE", ""): 1,
        ("WRITE", "INTERNAL"): 1,
        ("READ", "MISS"): 1,
    }
    assert ledger.unanswered() == [entries[2], entries[3], entries[5], entries[7]]
    assert ledger.bugs() == [entries[9]]


def test_latencies_of_what_succeeded() -> None:
    entries = [read(None, 0, 0.001), read(None, 1, 1.003, OTHER), write(1, 2, 9, "TIMEOUT")]
    assert Ledger(entries).latencies()["max"] == pytest.approx(3000, rel=1e-3)
    assert Ledger(entries).latencies([KEY])["max"] == pytest.approx(1000, rel=1e-3)
    assert Ledger(entries).latencies([b"none"])["max"] == 0


def test_the_gap_around_a_moment() -> None:
    entries = [
        write(1, 0, 1),
        read(value(1), 2, 3),
        write(2, 3.5, 4.5),  # under way at that moment: not a sign that it works again
        write(3, 5, 6, "DOWN"),
        read(None, 6, 6.5, OTHER),
        write(4, 7, 8),
        write(5, 9, 10),
    ]
    outage = Ledger(entries).outage(4)
    assert (outage.last_success, outage.first_write, outage.seconds) == (3, 8, 5)
    assert Ledger(entries).outage(4, [OTHER]).seconds is None
    assert Ledger(entries).outage(0.5).last_success is None
    assert Ledger(entries).outage(50).first_write is None


def test_late_answers_and_by_how_much() -> None:
    entries = [write(1, 0, 1), write(2, 2, 5), write(3, 6, 8.5, "DOWN"), write(4, 9, None, "")]
    assert Ledger(entries).late(2, now=20) == [(entries[3], 9), (entries[1], 1), (entries[2], 0.5)]


VERBS: list[Verb] = ["READ", "WRITE", "DELETE"]


def test_the_history_has_what_happened_or_may_have() -> None:
    entries = [
        write(1, 0, 1),
        write(2, 2, 3, "TIMEOUT"),
        write(3, 4, 5, "NOSYNC"),
        write(4, 6, None, ""),
        read(value(1), 7, 8),
        read(None, 7, 8),
        delete(9, 10),
        delete(9, 10, "MISS"),
        delete(9, 10, "LOST"),
        delete(9, 10, "NOSYNC"),
        *[Entry(0, verb, KEY, None, 11, 12, "BUSY") for verb in VERBS],
        Entry(1, "READ", KEY, None, 11, 12, "TIMEOUT"),
    ]
    inf = float("inf")
    assert Ledger(entries).history() == [
        Operation(0, KEY, "write", value(1), 0, 1),
        Operation(0, KEY, "write", value(2), 2, 3, "unknown"),
        Operation(0, KEY, "write", value(3), 4, 5),
        Operation(0, KEY, "write", value(4), 6, inf, "unknown"),
        Operation(1, KEY, "read", value(1), 7, 8),
        Operation(1, KEY, "read", None, 7, 8),
        Operation(0, KEY, "delete", None, 9, 10, "ok", True),
        Operation(0, KEY, "delete", None, 9, 10, "ok", False),
        Operation(0, KEY, "delete", None, 9, 10, "unknown", None),
        Operation(0, KEY, "delete", None, 9, 10, "ok", None),
    ]
    assert entries[3].effect is Effect.MAYBE
