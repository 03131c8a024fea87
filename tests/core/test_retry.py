"""What may be sent again, and when."""

from __future__ import annotations

import pytest

from wireproto import errors
from wireproto.core.retry import Backoff, RetryPolicy, may_retry
from wireproto.errors import ERROR_CLASSES, BusyError, Effect, NodeDownError, RequestError

ALWAYS = {"LIMIT", "BUSY", "DOWN", "LATE", "CLOSING", "EXPIRED"}
IF_HARMLESS = {"TIMEOUT", "LOST", "INTERNAL"}


@pytest.mark.parametrize("kind", ERROR_CLASSES, ids=lambda kind: kind.code)
def test_what_may_be_sent_again(kind: type[RequestError]) -> None:
    assert may_retry(kind(), harmless=False) is (kind.code in ALWAYS)
    assert may_retry(kind(), harmless=True) is (kind.code in ALWAYS | IF_HARMLESS)


def test_nothing_that_may_have_taken_effect_is_sent_again_unless_harmless() -> None:
    for kind in ERROR_CLASSES:
        assert kind.took_effect is Effect.NO or not may_retry(kind(), harmless=False)
    assert not may_retry(errors.ConflictError(), harmless=False)


def test_an_unconfirmed_write_is_left_to_its_caller_although_it_could_be_sent_again() -> None:
    error = errors.NotReplicatedError()
    assert error.retryable
    assert not may_retry(error, harmless=False)
    assert not may_retry(error, harmless=True)


def test_delays_grow_are_jittered_and_capped() -> None:
    policy = RetryPolicy(base=0.1, cap=1.0)
    assert [policy.delay(failures, 1.0) for failures in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert policy.delay(3, 0.0) == 0.0
    assert policy.delay(3, 0.5) == 0.4
    assert policy.delay(10**6, 1.0) == 1.0


def test_the_server_is_given_the_time_that_it_asks_for() -> None:
    policy = RetryPolicy(base=0.1, cap=1.0)
    for random in (0.0, 0.3, 0.99):
        for retry_after in (0.05, 3.0):
            delay = policy.delay_after(BusyError(retry_after=retry_after), 1, random)
            assert retry_after <= delay <= retry_after * 1.25 + 0.1


def test_backoff_waits_after_failures_and_forgets_them() -> None:
    backoff = Backoff(RetryPolicy(base=0.1, cap=1.0))
    assert backoff.remaining(0.0) == 0.0
    error = NodeDownError("refused")
    backoff.failed(error, 10.0, 10.5, 1.0)
    assert backoff.error is error
    assert backoff.remaining(10.5) == pytest.approx(0.2)
    assert backoff.remaining(10.6) == pytest.approx(0.1)
    assert backoff.remaining(11.0) == 0.0
    backoff.failed(error, 11.0, 11.0, 1.0)
    assert backoff.remaining(11.0) == pytest.approx(0.4)
    backoff.succeeded()
    assert backoff.remaining(11.0) == 0.0
    assert backoff.error is None


def test_attempts_at_the_same_time_count_as_one() -> None:
    backoff = Backoff(RetryPolicy(base=0.1, cap=100.0))
    for _ in range(10):
        backoff.failed(NodeDownError(), 10.0, 10.5, 1.0)
    assert backoff.remaining(10.5) == pytest.approx(0.2)
