"""Calls on their way to their outcomes: what is still to be sent, what came of the rest, what is worth another try."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import Any, TypeVar

from wireproto.core.calls import Call
from wireproto.core.reply_wire import Reply
from wireproto.core.retry import RetryPolicy, may_retry
from wireproto.errors import Effect, ProtocolError, RequestError

K = TypeVar("K", bound=Hashable)


def copy_of(error: RequestError) -> RequestError:
    """The same error once more: one that is raised in two places would carry the tracebacks of both."""
    copy = type(error)(str(error), retry_after=error.retry_after)
    copy.__cause__ = error.__cause__
    return copy


class Plan:
    """Calls that are sent together.

    A shell sends `requests()`, hands back what came of them with `settle`, and, where there are `failures`, goes on
    until `next_delay` is None. `outcomes` then holds the result or the RequestError of each call. With `in_order`, one
    call may depend on what another of them did, so they are sent again all together or not at all.
    """

    __slots__ = ("_attempts", "_calls", "_in_order", "failures", "outcomes", "todo", "untrusted")

    def __init__(self, calls: Sequence[Call[Any]], *, in_order: bool = False) -> None:
        self._calls = calls
        self._in_order = in_order
        self._attempts = 0
        self.outcomes: list[Any] = [None] * len(calls)
        self.todo = list(range(len(calls)))
        """The calls that `requests` sends, by their place."""
        self.failures = False
        """Whether the last attempt had any."""
        self.untrusted = False
        """Whether a reply did not fit its request: the connection that it came from is to be closed."""

    def requests(self) -> list[bytes]:
        """What is to be sent now."""
        calls = self._calls
        return [calls[index].request for index in self.todo]

    def settle(self, answers: Sequence[Reply | RequestError]) -> None:
        """Take what came of `requests()`, in its order."""
        calls, outcomes = self._calls, self.outcomes
        self.failures = self.untrusted = False
        for index, answer in zip(self.todo, answers, strict=True):
            outcome = calls[index].outcome(answer) if isinstance(answer, Reply) else answer
            outcomes[index] = outcome
            if isinstance(outcome, RequestError):
                self.failures = True
                if isinstance(outcome, ProtocolError):
                    self.untrusted = True

    def fail(self, error: RequestError) -> None:
        """Nothing of `requests()` could be sent."""
        self.failures = True
        for index in self.todo:
            self.outcomes[index] = copy_of(error)

    def next_delay(self, policy: RetryPolicy, now: float, deadline: float, random: float) -> float | None:
        """Seconds until `requests()` is to be sent again, or None when all is settled."""
        self._attempts += 1
        if self._attempts > policy.retries:
            return None
        delays = {}
        for index in self.todo:
            error = self.outcomes[index]
            harmless = self._calls[index].harmless and not self._in_order
            if isinstance(error, RequestError) and may_retry(error, harmless=harmless):
                delay = policy.delay_after(error, self._attempts, random)
                if now + delay < deadline:
                    delays[index] = delay
        if not delays or (self._in_order and len(delays) < len(self.outcomes)):
            return None
        self.todo = list(delays)
        return max(delays.values())

    def result(self) -> Any:
        """The result of a plan of one call. Raises its error."""
        outcome = self.outcomes[0]
        if isinstance(outcome, RequestError):
            raise outcome
        return outcome


class KeyedPlan(Plan):
    """One call for each key; keys do not depend on one another. A key that cannot be sent fails alone."""

    __slots__ = ("_failed", "_keys")

    def __init__(self, keys: Iterable[K], make_call: Callable[[K], Call[Any]]) -> None:
        self._keys: list[Any] = list(dict.fromkeys(keys))
        self._failed: dict[Any, RequestError] = {}
        calls = []
        for key in self._keys:
            try:
                calls.append(make_call(key))
            except RequestError as error:
                self._failed[key] = error
        super().__init__(calls)

    def by_key(self) -> dict[Any, Any]:
        """The outcome of each key: its result or its RequestError. Raises if all failed; see `raise_if_all_failed`."""
        failed, outcomes = self._failed, self.outcomes
        if failed:
            sent = iter(outcomes)
            outcomes = [failed[key] if key in failed else next(sent) for key in self._keys]
        raise_if_all_failed(outcomes)
        return dict(zip(self._keys, outcomes, strict=True))


def raise_if_all_failed(outcomes: Collection[Any]) -> None:
    """Raise if there were calls, and none had a result.

    Of several errors it is the first whose call may have changed something, or else the first.
    """
    errors = list(itertools.takewhile(lambda outcome: isinstance(outcome, RequestError), outcomes))
    if errors and len(errors) == len(outcomes):
        raise copy_of(next((error for error in errors if error.took_effect is not Effect.NO), errors[0]))
