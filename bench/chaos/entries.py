"""One request of the ledger, and what values say of themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from bench.chaos.history import Operation
from wireproto.errors import BY_CODE, Effect

Verb = Literal["READ", "WRITE", "DELETE"]

OK: Final = "OK"
MISS: Final = "MISS"
NO_REPLY: Final = ""
"""The outcome of a request that was under way when the ledger was closed."""
_CLIENT_TEXTS: Final = ("no answer in time", "the server has fallen silent", "the connection ended before the answer")
"""How the client itself, in the server's place, begins what it says of a request to which no answer came."""


@dataclass(slots=True)
class Entry:
    """A request and what became of it. Times are those of `time.monotonic`, in seconds."""

    client: int
    verb: Verb
    key: bytes
    value: bytes | None
    """What was written, or what was read: None for a miss or an error."""
    started: float
    ended: float | None = None
    """When the answer was there, or the client gave up. None: neither."""
    outcome: str = NO_REPLY
    """OK, MISS, or the error's code."""
    text: str = ""
    """What the error says."""

    @property
    def succeeded(self) -> bool:
        """It was answered with OK or MISS."""
        return self.outcome in (OK, MISS)

    @property
    def was_answered(self) -> bool:
        """Whether it has the server's answer, be that an error, or was refused before it was sent."""
        return self.outcome != NO_REPLY and not self.text.startswith(_CLIENT_TEXTS)

    @property
    def effect(self) -> Effect:
        """Whether it happened. What was never answered may have happened, or may still."""
        if self.succeeded:
            return Effect.YES
        return Effect.MAYBE if self.outcome == NO_REPLY else BY_CODE[self.outcome].took_effect

    @property
    def done_by(self) -> float:
        """When it had surely happened, if it happened: infinitely late when that is not known."""
        return float("inf") if self.ended is None or self.effect is Effect.MAYBE else self.ended

    def operation(self) -> Operation | None:
        """It in a history for the linearizability checker. None: it is no part of one, since it surely did nothing."""
        if self.effect is Effect.NO or (self.verb == "READ" and not self.succeeded):
            return None
        ended = float("inf") if self.ended is None else self.ended
        outcome: Literal["ok", "unknown"] = "ok" if self.effect is Effect.YES else "unknown"
        if self.verb == "DELETE":
            existed = (self.outcome == OK) if self.succeeded else None
            return Operation(self.client, self.key, "delete", None, self.started, ended, outcome, existed)
        kind: Literal["read", "write"] = "read" if self.verb == "READ" else "write"
        return Operation(self.client, self.key, kind, self.value, self.started, ended, outcome)


def value_of(key: bytes, writer: int, sequence: int, size: int = 0) -> bytes:
    """A value that names its key, its writer and the writer's number for it; padded to `size` bytes."""
    return (b"%b|%d|%d|" % (key, writer, sequence)).ljust(size, b".")


def key_named_in(value: bytes) -> bytes | None:
    """The key that a value was made for. None: it is not such a value, or not whole."""
    key, *numbers = value.rstrip(b".").rsplit(b"|", 3)
    if len(numbers) != 3 or numbers[2] or not numbers[0].isdigit() or not numbers[1].isdigit():
        return None
    return key
