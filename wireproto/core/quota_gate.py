"""What stands between one connection and its client's quota: what may pass, and the answer to what may not.

A connection whose client has no quota has no gate. A read of one that has is `begin`, then `take_plain` and `refuses`,
then `end`. What is refused costs the client neither requests nor bytes, nor does the answer that says so: else a client
that asks too much would get nothing at all.
"""

from __future__ import annotations

import re
from typing import Final

from wireproto.core.answers import Answers
from wireproto.core.dispatch import Dispatch
from wireproto.core.limits import Limits
from wireproto.core.quotas import Meter
from wireproto.core.reply_lines import error_line
from wireproto.core.request_wire import Frame
from wireproto.core.session_context import SessionContext
from wireproto.core.verbs import Verb

CONNECTION_RETRY_MS: Final = 1000
AS_MANY_AS_IT_LIKES: Final = 1 << 30
REFUSALS_AT_ONCE: Final = 64
"""After so many the session looks whether its turn is over."""

_HEAD: Final = re.compile(rb"(?:#([A-Za-z0-9_-]{1,16}) )?(READ|GET|DELETE|DEL|WRITE|SET) ([1-9][0-9]{0,3}):")
_VALUE_HEAD: Final = re.compile(rb" (0|[1-9][0-9]{0,8}):")
_VERBS: Final = {
    b"READ": "READ",
    b"GET": "READ",
    b"DELETE": "DELETE",
    b"DEL": "DELETE",
    b"WRITE": "WRITE",
    b"SET": "WRITE",
}
_LF: Final = 10
_ANSWERED_AT_LENGTH: Final = frozenset({Verb.PING, Verb.HELP})


class QuotaGate:
    """The gate of one connection. Times are seconds of a monotonic clock."""

    __slots__ = (
        "_answers",
        "_client",
        "_context",
        "_free",
        "_is_counted",
        "_kind",
        "_left",
        "_level",
        "_meter",
        "_now",
        "_reported_at",
        "_taken",
        "refused",
    )

    def __init__(self, context: SessionContext, answers: Answers, client: str, meter: Meter) -> None:
        self._context = context
        self._answers = answers
        self._client = client
        self._meter = meter
        self._is_counted = False
        self._now = 0.0
        self._reported_at = -1.0
        self._left = 0
        """How many requests may still pass in this read."""
        self._kind = "requests"
        """Which kind there is too little of, once nothing is left, and how much there was at the beginning."""
        self._level = 0.0
        self._taken = 0
        self.refused = 0
        """How many requests the last `take_plain` refused."""
        self._free = 0
        """Bytes that are not charged: of what is refused, and of answers to it that are on their way."""

    # -- the connection

    def enter(self, now: float) -> bytes:
        """Count the connection; the refusal if its client has as many as it may.

        It is counted first: two workers cannot both give away the last place.
        """
        self.join()
        if self._meter.has_too_many:
            self.leave()
            self._now = now
            return self._refusal("connections", CONNECTION_RETRY_MS)
        self.begin(now)
        return b""

    def join(self) -> None:
        """Count the connection, as it is there already."""
        self._meter.count_in()
        self._is_counted = True

    def leave(self) -> None:
        """The connection is gone. To do it again does nothing."""
        if self._is_counted:
            self._is_counted = False
            self._meter.count_out()

    # -- a read of it

    def begin(self, now: float) -> None:
        """Look at what there is for a read."""
        self._now = now
        self._taken = 0
        self._left = AS_MANY_AS_IT_LIKES
        requests, size = self._meter.requests, self._meter.bytes
        if requests is not None:
            self._kind, self._level = "requests", requests.level(now)
            self._left = max(0, int(self._level))
        if size is not None and (level := size.level(now)) <= 0:
            self._kind, self._level = "bytes", level
            self._left = 0

    def take_plain(self, dispatch: Dispatch, data: bytes, position: int, room: int) -> int:
        """Let pass what `Dispatch.take_plain` takes and the quota has left, and refuse what is beyond."""
        self.refused = 0
        if self._left > 0:
            before = self._answers.in_flight
            position = dispatch.take_plain(data, position, min(room, self._left), self._now)
            self._take(self._answers.in_flight - before)
            if self._left > 0:
                return position
        return self._refuse_plain(data, position)

    def _refuse_plain(self, data: bytes, position: int) -> int:
        """Refuse some plain requests; the position behind them. The full parser takes three times as long."""
        while self.refused < REFUSALS_AT_ONCE:
            found = _HEAD.match(data, position)
            if found is None:
                break
            end = _end_of(data, found, self._context.limits)
            if not end:
                break
            self._refuse(_VERBS[found[2]], found[1] or b"", end - position)
            self.refused += 1
            position = end
        return position

    def refuses(self, frame: Frame, size: int) -> bool:
        """Whether any other request, of so many bytes, is beyond the quota, in which case it is answered here.

        What may be said before AUTH is not counted, nor is what is no request. But its bytes are: once these are used
        up, PING and HELP are refused too, or a flood of them would put the client in debt for hours.
        """
        spec = frame.spec
        if frame.error or spec is None:
            return False
        if spec.before_auth and not (spec.verb in _ANSWERED_AT_LENGTH and self._left <= 0 and self._kind == "bytes"):
            return False
        if self._left > 0:
            self._take(1)
            return False
        self._refuse(spec.verb.name, frame.tag, size)
        return True

    def _refuse(self, verb: str, tag: bytes, size: int) -> None:
        meter = self._meter
        if self._kind == "bytes" and meter.bytes is not None:
            retry_ms = meter.bytes.retry_ms(self._level, self._now)
        else:
            assert meter.requests is not None
            retry_ms = meter.requests.retry_ms(self._level - self._taken, self._now)
        line = self._refusal(self._kind, retry_ms)
        self._context.metrics.outcomes[verb, "LIMIT"] += 1
        self._answers.answer(tag, line)
        self._free += size + len(line) + (len(tag) + 2 if tag else 0)

    def _take(self, count: int) -> None:
        self._left -= count
        self._taken += count

    def end(self, consumed: int) -> None:
        """Charge what has passed in this read, and its bytes."""
        requests, size = self._meter.requests, self._meter.bytes
        if requests is not None and self._taken:
            requests.take(self._taken)
        if size is not None:
            size.take(self._charged(consumed))

    def sent(self, count: int, now: float) -> None:
        """Charge the bytes of answers that leave."""
        size = self._meter.bytes
        if size is not None:
            size.level(now)
            size.take(self._charged(count))

    def _charged(self, count: int) -> int:
        free = min(self._free, count)
        self._free -= free
        return count - free

    def _refusal(self, kind: str, retry_ms: int) -> bytes:
        self._context.metrics.limited[kind] += 1
        if self._now != self._reported_at:
            # Once for each read: most refusals are told together.
            self._reported_at = self._now
            if self._meter.may_report(self._now):
                self._context.surroundings.audit("limited", {"client": self._client, "kind": kind})
        return error_line("LIMIT", f"the quota of {kind} is used up", retry_ms)


def _end_of(data: bytes, head: re.Match[bytes], limits: Limits) -> int:
    """Where a plain request ends that begins like this; 0 if it is not all there, or has more to it."""
    length = int(head[3])
    end = head.end() + length
    if length > limits.max_key:
        return 0
    if _VERBS[head[2]] == "WRITE":
        value_head = _VALUE_HEAD.match(data, end)
        if value_head is None or (size := int(value_head[1])) > limits.max_value:
            return 0
        end = value_head.end() + size
    return end + 1 if end < len(data) and data[end] == _LF else 0
