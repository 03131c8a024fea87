"""Calls on their way: what is sent again, and what comes out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from wireproto.core.call_plan import Call, KeyedPlan, Plan, raise_if_all_failed
from wireproto.core.calls import Calls
from wireproto.core.codec import Codec
from wireproto.core.reply_meaning import WRITING
from wireproto.core.reply_wire import ERR, MISS, OK, Reply
from wireproto.core.retry import RetryPolicy
from wireproto.errors import (
    ArgumentError,
    BusyError,
    CorruptError,
    DeniedError,
    LostError,
    NodeDownError,
    NodeTimeoutError,
    NotReplicatedError,
    RequestError,
)

CALLS: Calls[bytes] = Calls(None)
POLICY = RetryPolicy(retries=2, base=1.0, cap=10.0)
HIT = b"v"
DONE = Reply(b"", OK)


def plan_of(*calls: Call[Any], in_order: bool = False) -> Plan:
    return Plan([call.request for call in calls], [call.kind for call in calls], in_order)


def keyed(keys: Iterable[Any]) -> KeyedPlan:
    return KeyedPlan(keys, CALLS.read_requests, CALLS.reading)


def delay(plan: Plan, now: float = 0.0, deadline: float = 100.0) -> float | None:
    return plan.next_delay(POLICY, now, deadline, 0.5)


def test_a_call_that_succeeds_is_done() -> None:
    plan = plan_of(CALLS.read("k"))
    assert plan.requests() == [b"READ 1:k\n"]
    plan.settle([HIT])
    assert not plan.failures
    assert plan.result() == b"v"


def test_only_the_failed_are_sent_again_and_only_where_that_is_allowed() -> None:
    plan = plan_of(CALLS.read("a"), CALLS.write("b", b"v"), CALLS.read("c"), CALLS.write("d", b"v"), CALLS.read("e"))
    plan.settle([LostError(), LostError(), HIT, BusyError(), DeniedError()])
    assert plan.failures
    assert delay(plan) == 1.0
    assert plan.requests() == [b"READ 1:a\n", b"WRITE 1:d 1:v\n"]
    plan.settle([HIT, DONE])
    assert not plan.failures
    assert [type(outcome) for outcome in plan.outcomes] == [bytes, LostError, bytes, bool, DeniedError]


def test_tries_are_counted() -> None:
    plan = plan_of(CALLS.read("k"))
    for expected in (1.0, 2.0, None):
        plan.fail(NodeDownError("refused"))
        assert delay(plan) == expected
    with pytest.raises(NodeDownError, match="refused"):
        plan.result()


def test_nothing_is_sent_again_past_the_deadline() -> None:
    plan = plan_of(CALLS.read("a"), CALLS.read("b"))
    plan.settle([BusyError(retry_after=50.0), BusyError(retry_after=1.0)])
    assert delay(plan, now=90.0, deadline=100.0) == pytest.approx(1.5)
    assert plan.requests() == [b"READ 1:b\n"]
    plan.settle([BusyError(retry_after=1.0)])
    assert delay(plan, now=99.5, deadline=100.0) is None


def test_calls_in_order_are_sent_again_all_together_or_not_at_all() -> None:
    calls = [CALLS.write("k", b"1"), CALLS.read("k"), CALLS.write("k", b"2")]
    plan = plan_of(*calls, in_order=True)
    plan.settle([BusyError(), HIT, DONE])
    assert delay(plan) is None
    plan = plan_of(*calls, in_order=True)
    plan.settle([BusyError(), LostError(), BusyError()])
    assert delay(plan) is None
    plan = plan_of(*calls, in_order=True)
    plan.fail(NodeDownError())
    assert delay(plan) is not None
    assert plan.requests() == [call.request for call in calls]


@pytest.mark.parametrize("in_order", [True, False])
def test_what_is_written_but_not_confirmed_is_not_written_again(in_order: bool) -> None:
    plan = plan_of(CALLS.write("k", b"v", nx=True, sync=1), CALLS.delete("l", sync=1), in_order=in_order)
    plan.settle([NotReplicatedError("0 of 1 replicas", retry_after=0.1), NotReplicatedError()])
    assert delay(plan) is None
    with pytest.raises(NotReplicatedError, match="0 of 1"):
        plan.result()
    plan = plan_of(CALLS.write("k", b"v", sync=1), CALLS.write("l", b"v", sync=1), in_order=in_order)
    plan.settle([NotReplicatedError(), BusyError()])
    assert (delay(plan) is None) == in_order
    assert plan.requests()[-1] == b"WRITE 1:l 1:v sync=1\n"
    assert len(plan.requests()) == (2 if in_order else 1)


def test_a_reply_that_does_not_fit_is_told_once() -> None:
    plan = plan_of(CALLS.delete("k"))
    plan.settle([HIT])
    assert plan.untrusted
    assert delay(plan) is None


def test_keys_have_their_own_outcomes() -> None:
    plan = keyed(["a", "", "b", "a"])
    assert plan.requests() == [b"READ 1:a\n", b"READ 1:b\n"]
    plan.settle([HIT, Reply(b"", ERR)])
    by_key = plan.by_key()
    assert list(by_key) == ["a", "", "b"]
    assert by_key["a"] == b"v"
    assert isinstance(by_key[""], ArgumentError)
    assert isinstance(by_key["b"], RequestError)


def test_writes_of_many_keys_fail_alone() -> None:
    values: dict[Any, Any] = {"a": b"1", "b": "no bytes", "": b"3", 5: b"4", b"c": bytearray(b"5")}
    plan = KeyedPlan(values, CALLS.write_requests(values, ex=60, nx=True), WRITING)
    assert plan.requests() == [b"WRITE 1:a 1:1 ex=60 nx\n", b"WRITE 1:c 1:5 ex=60 nx\n"]
    plan.settle([DONE, BusyError()])
    assert [type(outcome) for outcome in plan.by_key().values()] == [bool, *[ArgumentError] * 3, BusyError]


def test_values_that_are_decoded_one_by_one() -> None:
    calls: Calls[str] = Calls(Codec.text())
    plan = KeyedPlan("abcd", calls.read_requests, calls.reading)
    plan.settle([b"v", Reply(b"", MISS), b"\xff", Reply(b"", OK, (b"w",))])
    a, b, c, d = plan.by_key().values()
    assert (a, b, d) == ("v", None, "w")
    assert isinstance(c, CorruptError)
    assert plan.failures
    assert not plan.untrusted


def test_all_failed_is_raised_by_what_may_have_taken_effect() -> None:
    raise_if_all_failed([])
    raise_if_all_failed([None, BusyError()])
    with pytest.raises(BusyError):
        raise_if_all_failed([BusyError(), DeniedError()])
    with pytest.raises(NodeTimeoutError):
        raise_if_all_failed([BusyError(), NodeTimeoutError(), LostError()])


def test_errors_are_not_shared_between_calls() -> None:
    plan = plan_of(CALLS.read("a"), CALLS.read("b"))
    plan.fail(BusyError("full", retry_after=1.0))
    first, second = plan.outcomes
    assert first is not second
    assert (str(first), first.retry_after) == (str(second), second.retry_after) == ("full", 1.0)
