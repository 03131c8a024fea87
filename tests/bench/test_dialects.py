"""Replies are found in a stream at any cut, and what the dialects expect is what real servers say."""

from __future__ import annotations

import pytest

from bench.closed_loop import ClosedLoop
from bench.dialects import DIALECTS, BrokenReplyError, Reply
from bench.load import SECOND
from bench.plan import Plan
from bench.tally import Tally
from bench.targets import Target
from bench.workload import ValueSizes, Workload

STREAMS = {
    "wireproto": [
        (b"OK 5:a\nb:c\n", "OK"),
        (b"OK 0:\n", "OK"),
        (b"OK 3:abc ttl=50\n", "OK"),
        (b"OK\n", "OK"),
        (b"MISS\n", "MISS"),
        (b"ERR BUSY retry=10 :the queue is full: wait\n", "ERR BUSY"),
    ],
    "resp": [
        (b"$4\r\n\r\n$1\r\n", "OK"),
        (b"$0\r\n\r\n", "OK"),
        (b"+OK\r\n", "OK"),
        (b"$-1\r\n", "MISS"),
        (b":1\r\n", "OK"),
        (b"-ERR max number of clients\r\n", "ERR ERR"),
    ],
}


@pytest.mark.parametrize("name", STREAMS)
def test_replies_are_found_at_any_cut(name: str) -> None:
    dialect = DIALECTS[name]
    for text, status in STREAMS[name]:
        assert dialect.parse(b"??" + text + b"rest", 2) == Reply(2 + len(text), status)
        for cut in range(len(text)):
            assert dialect.parse(text[:cut], 0) is None


@pytest.mark.parametrize(("name", "text"), [("wireproto", b"+OK\r\n"), ("wireproto", b"OK x:\n"), ("resp", b"OK\r\n")])
def test_what_is_no_reply_is_said_to_be_none(name: str, text: bytes) -> None:
    with pytest.raises(BrokenReplyError):
        DIALECTS[name].parse(text, 0)


def short_run(target: Target, plan: Plan) -> Tally:
    import time

    return ClosedLoop(target, plan).run(time.monotonic_ns(), lambda what, replies: None)


MIXED = Workload(read_share=0.5)


@pytest.mark.parametrize("fixture", ["ours", "redis"])
def test_real_servers_say_what_is_expected(fixture: str, request: pytest.FixtureRequest) -> None:
    target = request.getfixturevalue(fixture)
    tally = short_run(target, Plan(MIXED, clients=3, depth=20, seconds=0.3, warm_up=0.05))
    assert tally.errors == {}
    assert tally.requests > 100


@pytest.mark.parametrize("fixture", ["ours", "redis"])
def test_keys_that_are_not_there_are_misses(fixture: str, request: pytest.FixtureRequest) -> None:
    target = request.getfixturevalue(fixture)
    absent = Workload(only=(90_000_000, 90_000_001))
    tally = short_run(target, Plan(absent, clients=1, depth=5, seconds=0.05, warm_up=0))
    assert set(tally.errors) == {"MISS"}
    assert tally.errors["MISS"] >= tally.requests


def test_other_lengths_than_those_stored_are_seen(ours: Target) -> None:
    workload = Workload(sizes=ValueSizes.parse("99"))
    tally = short_run(ours, Plan(workload, clients=1, depth=5, seconds=0.05, warm_up=0))
    assert set(tally.errors) == {"wrong length"}


def test_tagged_requests_are_answered_in_any_order(ours: Target) -> None:
    plan = Plan(clients=2, depth=10, seconds=0.3, warm_up=0.05, tagged=True, side_key=3)
    tally = short_run(ours, plan)
    assert tally.errors == {}
    assert tally.requests > 100
    assert set(tally.side_replies) == {"OK"}


def test_long_values_come_whole(ours: Target) -> None:
    from bench.loading import load

    workload = Workload(keys=4, sizes=ValueSizes.parse("1048576"), read_share=0.5)
    load(ours, workload)
    tally = short_run(ours, Plan(workload, clients=2, seconds=0.3, warm_up=0))
    load(ours, Workload())
    assert tally.errors == {}
    assert tally.requests > 4
    assert SECOND == 10**9
