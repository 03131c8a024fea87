"""What clients ask of registers, leases and counters under conditions: one request, and what became of it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from wireproto.core.reply_wire import ERR, MISS, OK, Reply
from wireproto.core.request_encoding import encode_request
from wireproto.core.verbs import Verb
from wireproto.errors import BY_CODE, Effect


class Kind(Enum):
    """What is asked. Values are written once, so each tells which write it is of."""

    READ = "read"
    """With the version."""
    WRITE = "write"
    CREATE = "create"
    """WRITE with `nx`."""
    SWAP = "swap"
    """WRITE with a version."""
    DELETE = "delete"
    REMOVE = "remove"
    """DELETE with a version."""
    TAKE = "take"
    """READ with `lease`."""
    FILL = "fill"
    """WRITE with a lease."""
    GIVE_BACK = "give back"
    """DELETE with a lease."""
    COUNT = "count"
    """INCR."""


_VERBS: Final = {
    **dict.fromkeys((Kind.READ, Kind.TAKE), Verb.READ),
    **dict.fromkeys((Kind.WRITE, Kind.CREATE, Kind.SWAP, Kind.FILL), Verb.WRITE),
    **dict.fromkeys((Kind.DELETE, Kind.REMOVE, Kind.GIVE_BACK), Verb.DELETE),
    Kind.COUNT: Verb.INCR,
}
NO_ANSWER: Final = ""
"""The outcome of a request to which nothing was answered."""


@dataclass(slots=True)
class Exchange:
    """A request and its answer. Times are seconds of one monotonic clock; one of unknown outcome has no end."""

    client: int
    key: bytes
    kind: Kind
    started: float
    value: bytes | None = None
    """What is written, or what was read; of a count what it was told."""
    named: str | None = None
    """The version or the lease that the request names."""
    number: int = 0
    """The ms of a lease that is asked for; of a count what it adds."""
    ended: float = math.inf
    outcome: str = NO_ANSWER
    """OK, MISS, CONFLICT, or an error's code."""
    told: str | None = None
    """The version or the lease that the answer names."""

    @property
    def is_sure(self) -> bool:
        """Whether it surely happened, between its start and its end."""
        return self.ended < math.inf

    def request(self) -> bytes:
        """It as it is sent."""
        options: dict[str, int | str] = {}
        arguments = [self.key]
        if self.kind in (Kind.WRITE, Kind.CREATE, Kind.SWAP, Kind.FILL):
            assert self.value is not None
            arguments.append(self.value)
        if self.kind is Kind.READ:
            options["ver"] = 1
        elif self.kind is Kind.CREATE:
            options["nx"] = 1
        elif self.kind is Kind.TAKE:
            options["lease"] = self.number
        elif self.kind is Kind.COUNT:
            options["by"] = self.number
        elif self.named is not None:
            options["ver" if self.kind in (Kind.SWAP, Kind.REMOVE) else "lease"] = self.named
        return encode_request(_VERBS[self.kind], arguments, options)

    def answer(self, reply: Reply, now: float) -> None:
        """Note the answer, which came now."""
        self.outcome = reply.status
        if reply.status == ERR:
            self.outcome = reply.code
            return
        self.ended = now
        if self.kind in (Kind.READ, Kind.TAKE, Kind.COUNT) and reply.status == OK:
            self.value = reply.arguments[0]
        self.told = reply.options.get("lease" if self.kind is Kind.TAKE else "ver")

    @property
    def is_granted(self) -> bool:
        """Whether it was told that it has the lease."""
        return self.kind is Kind.TAKE and self.outcome == MISS and self.told is not None

    @property
    def count(self) -> int:
        """The number that was told."""
        assert self.value is not None
        return int(self.value)


def effective(exchanges: Iterable[Exchange]) -> list[Exchange]:
    """Those that happened or may have: a refusal is no part of a history, and neither is a read without an answer."""
    return [
        one
        for one in exchanges
        if one.is_sure or (one.kind is not Kind.READ and _effect_of(one.outcome) is not Effect.NO)
    ]


def _effect_of(outcome: str) -> Effect:
    return Effect.MAYBE if outcome == NO_ANSWER else BY_CODE[outcome].took_effect


@dataclass(frozen=True, slots=True)
class Unexplained:
    """A key whose history has no explanation, or, when `undecided`, none that was found within the budget."""

    key: bytes
    reason: str
    exchanges: tuple[Exchange, ...] = ()
    """Those that it is about, by time."""
    undecided: bool = False

    def __str__(self) -> str:
        """With times in ms since the first of them."""
        origin = min((one.started for one in self.exchanges), default=0.0)
        verdict = "undecided" if self.undecided else "not explained"
        return "\n".join(
            [f"key {self.key!r}: {verdict}: {self.reason}", *(_line(one, origin) for one in self.exchanges)]
        )


def _line(one: Exchange, origin: float) -> str:
    """One exchange, to be read by people."""
    began, ended = (1000 * (moment - origin) for moment in (one.started, one.ended))
    asked = [one.kind.value, str(one.number) if one.number else "", one.named or ""]
    told = [one.outcome or "no answer", "" if one.value is None else repr(one.value), one.told or ""]
    words = " ".join(filter(None, (*asked, "->", *told)))
    return f"  {began:10.3f} .. {ended:10.3f} ms  client {one.client:<4} {words}"
