"""No wrong, short, missing or superfluous reply goes unseen, and none makes right ones look wrong."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bench.closed_loop import ClosedLoop
from bench.connection import LoginError
from bench.loading import LoadingError, load
from bench.open_loop import OpenLoop
from bench.plan import Plan
from bench.tally import Tally
from bench.targets import Target
from bench.workload import Workload
from tests.bench.fake_target import Answer, fake_target

WORKLOAD = Workload(keys=50)


def outcome(answer: Answer, plan: Plan, protocol: str = "resp") -> Tally:
    with fake_target(answer, plan.workload, protocol) as target:
        load_type = ClosedLoop if plan.rate is None else OpenLoop
        return load_type(target, plan).run(time.monotonic_ns(), lambda what, replies: None)


def plan(**changes: Any) -> Plan:
    usual: dict[str, Any] = {
        "workload": WORKLOAD,
        "clients": 1,
        "depth": 4,
        "seconds": 0.1,
        "warm_up": 0.0,
        "stall_seconds": 0.2,
    }
    return Plan(**{**usual, **changes})


def test_right_replies_are_no_errors() -> None:
    tally = outcome(lambda number, reply: reply, plan())
    assert tally.errors == {}
    assert tally.requests > 10
    assert sum(tally.latencies.counts.values()) == tally.requests


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (b"$100\r\n" + b"x" * 100 + b"\r\n", "wrong value"),
        (b"$9\r\nxxxxxxxxx\r\n", "wrong length"),
        (b"$0\r\n\r\n", "wrong length"),
        (b"$-1\r\n", "MISS"),
        (b"-BUSY later\r\n", "ERR BUSY"),
    ],
)
def test_a_wrong_reply_counts_once_and_the_next_are_right(wrong: bytes, kind: str) -> None:
    tally = outcome(lambda number, reply: wrong if number in (5, 6, 11) else reply, plan())
    assert tally.errors == {kind: 3}
    assert tally.requests > 20


@pytest.mark.parametrize("rate", [None, 2000.0])
def test_a_reply_in_pieces_is_one_reply(rate: float | None) -> None:
    """Every reply is answered in two halves of different requests' packets."""
    kept: list[bytes] = [b""]

    def answer(number: int, reply: bytes) -> bytes:
        whole = kept.pop() + reply
        kept.append(whole[-60:] if number % 4 != 3 else b"")
        return whole[:-60] if number % 4 != 3 else whole

    assert outcome(answer, plan(rate=rate)).errors == {}


def test_a_missing_reply_is_seen() -> None:
    tally = outcome(lambda number, reply: b"" if number == 15 else reply, plan())
    assert tally.errors == {"no reply": 1}


def test_a_skipped_reply_makes_those_behind_it_wrong() -> None:
    tally = outcome(lambda number, reply: b"" if number == 13 else reply, plan())
    assert tally.errors["wrong value"] == 2
    assert tally.errors["no reply"] == 1


def test_a_superfluous_reply_is_seen() -> None:
    tally = outcome(lambda number, reply: reply * 2 if number == 15 else reply, plan())
    assert sum(tally.errors.values()) >= 1


@pytest.mark.parametrize("rate", [None, 400.0])
def test_requests_that_a_closed_connection_loses_are_counted(rate: float | None) -> None:
    tally = outcome(lambda number, reply: None if number == 14 else reply, plan(rate=rate))
    assert sum(tally.errors.values()) >= 2
    assert all(kind.startswith("connection: ") for kind in tally.errors)


def test_what_is_no_reply_ends_the_connection() -> None:
    tally = outcome(lambda number, reply: b"HTTP/1.1 400 Bad Request\r\n" if number == 4 else reply, plan())
    assert next(iter(tally.errors)).startswith("not a reply")


def test_tagged_replies_are_checked_too() -> None:
    def answer(number: int, reply: bytes) -> bytes:
        tag = b"#%d " % (number % 4)
        if number == 5:
            return tag + b"ERR DOWN :no\n"
        return tag + (reply.replace(b".", b",") if number == 6 else reply)

    tally = outcome(answer, plan(tagged=True), "wireproto")
    assert tally.errors == {"ERR DOWN": 1, "wrong value": 1}
    assert tally.requests > 20


def test_a_run_ends_after_so_many_replies() -> None:
    tally = outcome(lambda number, reply: reply, plan(requests=200, seconds=100.0))
    assert 200 <= tally.requests < 2000


def test_a_target_that_does_not_take_the_login_or_the_keys_is_told_of(ours: Target, redis: Target) -> None:
    with pytest.raises(LoginError):
        load(Target(**{**vars(redis), "api_key": "wrong"}), WORKLOAD)
    with pytest.raises(LoadingError):
        load(Target(**{**vars(redis), "api_key": ""}), WORKLOAD)
