"""Calls on their way to their outcomes: what is still to be sent, what came of the rest, what is worth another try."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable
from typing import Any, Generic, TypeVar

from wireproto.core.reply_wire import ERR, Reply
from wireproto.core.retry import RetryPolicy, may_retry
from wireproto.errors import Effect, ProtocolError, RequestError

T = TypeVar("T")


def copy_of(error: RequestError) -> RequestError:
    """The same error once more: one that is raised in two places would carry the tracebacks of both."""
    copy = type(error)(str(error), retry_after=error.retry_after)
    copy.__cause__ = error.__cause__
    return copy


class Kind(Generic[T]):
    """What the replies to one kind of request mean. `interpret` gets an answer of a `Batch` that is no error.

    `harmless` says that the request changes nothing: it may be sent again even when nobody knows whether it took
    effect. With `verbatim`, a value is its own result, so that nobody needs to be asked what it means.
    """

    __slots__ = ("_interpret", "harmless", "verbatim")

    def __init__(self, interpret: Callable[[Any], T], *, harmless: bool = False, verbatim: bool = False) -> None:
        self._interpret = interpret
        self.harmless = harmless
        self.verbatim = verbatim

    def outcome(self, answer: object) -> T | RequestError:
        """The result, or the error. A reply that does not fit the request is a ProtocolError: the stream is out of
        step."""
        if isinstance(answer, Reply):
            if answer.status == ERR:
                return answer.error()
        elif isinstance(answer, RequestError):
            return answer
        try:
            return self._interpret(answer)
        except RequestError as error:
            return error


class Call(Generic[T]):
    """One request and its kind."""

    __slots__ = ("kind", "request")

    def __init__(self, request: bytes, kind: Kind[T]) -> None:
        self.request = request
        self.kind = kind


class Plan:
    """Requests that are sent together.

    A shell sends `requests()`, hands back what came of them with `settle`, and, where there are `failures`, goes on
    until `next_delay` is None. `outcomes` then holds the result or the RequestError of each call. With `in_order`, one
    call may depend on what another of them did, so they are sent again all together or not at all.
    """

    def __init__(self, requests: list[bytes], kinds: list[Kind[Any]], in_order: bool = False) -> None:
        self._requests = requests
        self._kinds = kinds
        self._in_order = in_order
        self._attempts = 0
        self.outcomes: list[Any] = [None] * len(requests)
        self.todo: list[int] = list(range(len(requests)))
        """The calls that `requests` sends, by their place."""
        self.failures = False
        """Whether the last attempt had any."""
        self.untrusted = False
        """Whether a reply did not fit its request: the connection that it came from is to be closed."""
        self.unclaimed: Callable[[list[Any]], None] | None = None
        """Gets the answers that come when the caller has given up, where the client goes on to read them."""

    def requests(self) -> list[bytes]:
        """What is to be sent now."""
        if len(self.todo) == len(self._requests):
            return self._requests
        return [self._requests[index] for index in self.todo]

    def settle(self, answers: list[Any]) -> None:
        """Take what came of `requests()`, in its order: the answers of a `Batch`."""
        kinds, outcomes, todo = self._kinds, self.outcomes, self.todo
        assert len(answers) == len(todo)
        self.failures = self.untrusted = False
        for place, answer in enumerate(answers):
            index = todo[place]
            kind = kinds[index]
            if kind.verbatim and isinstance(answer, bytes):
                outcomes[index] = answer
                continue
            outcome = kind.outcome(answer)
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
        delays: dict[int, float] = {}
        for index in self.todo:
            error = self.outcomes[index]
            harmless = self._kinds[index].harmless and not self._in_order
            if isinstance(error, RequestError) and may_retry(error, harmless=harmless):
                delay = policy.delay_after(error, self._attempts, random)
                if now + delay < deadline:
                    delays[index] = delay
        if not delays or (self._in_order and len(delays) < len(self.outcomes)):
            return None
        self.todo = list(delays)
        return max(delays.values())

    @classmethod
    def in_a_row(cls, calls: list[Call[Any]]) -> Plan:
        """A plan of calls of which one may depend on another."""
        return cls([call.request for call in calls], [call.kind for call in calls], in_order=True)

    def results(self) -> list[Any]:
        """The result of each call. Raises the error of the first that has one."""
        for outcome in self.outcomes:
            if isinstance(outcome, RequestError):
                raise outcome
        return self.outcomes

    def result(self) -> Any:
        """The result of a plan of one call. Raises its error."""
        outcome = self.outcomes[0]
        if isinstance(outcome, RequestError):
            raise outcome
        return outcome


class KeyedPlan(Plan):
    """One request of the same kind for each key; keys do not depend on one another.

    `encode` gives for each key its request, or the RequestError of a key that cannot be sent: it fails alone.
    """

    def __init__(self, keys: Iterable[Any], encode: Callable[[list[Any]], list[Any]], kind: Kind[Any]) -> None:
        self._keys: list[Any] = list(dict.fromkeys(keys))
        self._failed: dict[Any, RequestError] = {}
        requests: list[bytes] = []
        for place, request in enumerate(encode(self._keys)):
            if isinstance(request, bytes):
                requests.append(request)
            else:
                self._failed[self._keys[place]] = request
        super().__init__(requests, [kind] * len(requests))

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
