"""Calls on their way: what is sent again, and what comes out."""

from __future__ import annotations

import pytest

from wireproto.core.call_plan import KeyedPlan, Plan, raise_if_all_failed
from wireproto.core.calls import Calls
from wireproto.core.reply_wire import ERR, OK, Reply
from wireproto.core.retry import RetryPolicy
from wireproto.errors import (
    ArgumentError,
    BusyError,
    DeniedError,
    LostError,
    NodeDownError,
    NodeTimeoutError,
    RequestError,
)

CALLS: Calls[bytes] = Calls(None)
POLICY = RetryPolicy(retries=2, base=1.0, cap=10.0)
HIT = Reply(b"", OK, (b"v",))
DONE = Reply(b"", OK)


def delay(plan: Plan, now: float = 0.0, deadline: float = 100.0) -> float | None:
    return plan.next_delay(POLICY, now, deadline, 0.5)


def test_a_call_that_succeeds_is_done() -> None:
    plan = Plan((CALLS.read("k"),))
    assert plan.requests() == [b"READ 1:k\n"]
    plan.settle([HIT])
    assert not plan.failures
    assert plan.result() == b"v"


def test_only_the_failed_are_sent_again_and_only_where_that_is_allowed() -> None:
    plan = Plan([CALLS.read("a"), CALLS.write("b", b"v"), CALLS.read("c"), CALLS.write("d", b"v"), CALLS.read("e")])
    plan.settle([LostError(), LostError(), HIT, BusyError(), DeniedError()])
    assert plan.failures
    assert delay(plan) == 1.0
    assert plan.requests() == [b"READ 1:a\n", b"WRITE 1:d 1:v\n"]
    plan.settle([HIT, DONE])
    assert not plan.failures
    assert [type(outcome) for outcome in plan.outcomes] == [bytes, LostError, bytes, bool, DeniedError]


def test_tries_are_counted() -> None:
    plan = Plan((CALLS.read("k"),))
    for expected in (1.0, 2.0, None):
        plan.fail(NodeDownError("refused"))
        assert delay(plan) == expected
    with pytest.raises(NodeDownError, match="refused"):
        plan.result()


def test_nothing_is_sent_again_past_the_deadline() -> None:
    plan = Plan([CALLS.read("a"), CALLS.read("b")])
    plan.settle([BusyError(retry_after=50.0), BusyError(retry_after=1.0)])
    assert delay(plan, now=90.0, deadline=100.0) == pytest.approx(1.5)
    assert plan.requests() == [b"READ 1:b\n"]
    plan.settle([BusyError(retry_after=1.0)])
    assert delay(plan, now=99.5, deadline=100.0) is None


def test_calls_in_order_are_sent_again_all_together_or_not_at_all() -> None:
    calls = [CALLS.write("k", b"1"), CALLS.read("k"), CALLS.write("k", b"2")]
    plan = Plan(calls, in_order=True)
    plan.settle([BusyError(), HIT, DONE])
    assert delay(plan) is None
    plan = Plan(calls, in_order=True)
    plan.settle([BusyError(), LostError(), BusyError()])
    assert delay(plan) is None
    plan = Plan(calls, in_order=True)
    plan.fail(NodeDownError())
    assert delay(plan) is not None
    assert plan.requests() == [call.request for call in calls]


def test_a_reply_that_does_not_fit_is_told_once() -> None:
    plan = Plan((CALLS.delete("k"),))
    plan.settle([HIT])
    assert plan.untrusted
    assert delay(plan) is None


def test_keys_have_their_own_outcomes() -> None:
    plan = KeyedPlan(["a", "", "b", "a"], CALLS.read)
    assert plan.requests() == [b"READ 1:a\n", b"READ 1:b\n"]
    plan.settle([HIT, Reply(b"", ERR)])
    by_key = plan.by_key()
    assert list(by_key) == ["a", "", "b"]
    assert by_key["a"] == b"v"
    assert isinstance(by_key[""], ArgumentError)
    assert isinstance(by_key["b"], RequestError)


def test_all_failed_is_raised_by_what_may_have_taken_effect() -> None:
    raise_if_all_failed([])
    raise_if_all_failed([None, BusyError()])
    with pytest.raises(BusyError):
        raise_if_all_failed([BusyError(), DeniedError()])
    with pytest.raises(NodeTimeoutError):
        raise_if_all_failed([BusyError(), NodeTimeoutError(), LostError()])


def test_errors_are_not_shared_between_calls() -> None:
    plan = Plan([CALLS.read("a"), CALLS.read("b")])
    plan.fail(BusyError("full", retry_after=1.0))
    first, second = plan.outcomes
    assert first is not second
    assert (str(first), first.retry_after) == (str(second), second.retry_after) == ("full", 1.0)
