"""What one caller has sent on a connection that many share, and what has come of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from wireproto.core.waiting import Batch
from wireproto.errors import DeadlineError, NodeDownError, NodeTimeoutError

_LATE: Final = "no answer in time"


class Exchange:
    """Requests that one caller sends together. `done` is set when all have an answer, or the deadline has passed."""

    __slots__ = (
        "_missing",
        "_refusal",
        "_unclaimed",
        "batches",
        "deadline",
        "done",
        "requests",
        "sent_at",
        "submitted",
    )

    def __init__(self, requests: list[bytes], sent_at: float, deadline: float, done: asyncio.Future[None]) -> None:
        self.requests = requests
        self.batches: list[Batch[Exchange]] = []
        """What the session has of them, in parts for which there was room."""
        self.submitted = 0
        """How many that is; the others wait until there is room."""
        self.sent_at = sent_at
        self.deadline = deadline
        self.done = done
        self._missing = len(requests)
        self._refusal = ""
        self._unclaimed: Callable[[list[Any]], None] | None = None

    def part(self, count: int, size: int) -> list[bytes]:
        """The next requests to submit: at most `count`, and no further one when they have `size` bytes."""
        requests, start = self.requests, self.submitted
        if len(requests) == 1:
            return requests
        stop = start
        while stop < len(requests) and stop - start < count and size > 0:
            size -= len(requests[stop])
            stop += 1
        return requests if stop - start == len(requests) else requests[start:stop]

    def note(self, count: int) -> None:
        """So many more have their answers."""
        self._missing -= count
        if not self._missing:
            if not self.done.done():
                self.done.set_result(None)
            elif self._unclaimed is not None:
                self._unclaimed(self.outcome())

    def leave(self, unclaimed: Callable[[list[Any]], None]) -> None:
        """Nobody waits any more: give the answers to `unclaimed` when all are there."""
        if self._missing:
            self._unclaimed = unclaimed
        else:
            unclaimed(self.outcome())

    def refuse(self, reason: str) -> None:
        """Fail what was not submitted."""
        self._refusal = reason
        self.note(len(self.requests) - self.submitted)

    def outcome(self) -> list[Any]:
        """The answers, with an error where none has come."""
        batches = self.batches
        if not self._missing and len(batches) == 1 and not self._refusal:
            return batches[0].answers
        answers = [answer for batch in batches for answer in batch.answers]
        answers = [NodeTimeoutError(_LATE) if answer is None else answer for answer in answers]
        for _ in range(len(self.requests) - self.submitted):
            error = NodeDownError if self._refusal else DeadlineError
            answers.append(error(f"not sent: {self._refusal or _LATE}"))
        return answers
