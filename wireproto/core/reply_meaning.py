"""What the reply to each kind of request means: its result, or the error that it is.

An answer that does not fit its request is a ProtocolError: the stream is out of step.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, cast

from wireproto.core.call_plan import Kind
from wireproto.core.codec import Codec, decoded
from wireproto.core.locations import Location, read_node
from wireproto.core.reply_wire import CONFLICT, MISS, OK, Reply, whole_number
from wireproto.core.results import Leased, Value, Versioned
from wireproto.errors import ProtocolError

V = TypeVar("V")
Answer = bytes | Reply
"""What a request was answered with; a value by itself where the reply has nothing else."""

_COUNT: Final = re.compile(rb"-?[0-9]{1,19}")


class ReadKinds(Generic[V]):
    """The kinds of READ, with a client's codec."""

    def __init__(self, codec: Codec[V] | None) -> None:
        self._codec = codec
        verbatim = codec is None
        interpret = cast("Callable[[Answer], V | None]", _value if verbatim else self._decoded)
        self.plain = Kind(interpret, harmless=True, verbatim=verbatim)
        self.with_ttl = Kind(self._with_ttl, harmless=True)
        self.with_version = Kind(self._with_version, harmless=True)
        # Sent again, it finds its own lease held by somebody else. That is what a client that has died does too.
        self.with_lease = Kind(self._with_lease, harmless=True)

    def _decoded(self, answer: Answer) -> V | None:
        data = _value(answer)
        return None if data is None else decoded(self._codec, data)

    def _with_ttl(self, answer: Answer) -> Value[V] | None:
        data = _value(answer)
        return None if data is None else Value(decoded(self._codec, data), _seconds(answer, "ttl"))

    def _with_version(self, answer: Answer) -> Versioned[V] | None:
        data = _value(answer)
        if data is None:
            return None
        return Versioned(decoded(self._codec, data), _seconds(answer, "ttl"), _version(answer))

    def _with_lease(self, answer: Answer) -> Leased[V]:
        data = _value(answer)
        value = None if data is None else decoded(self._codec, data)
        if isinstance(answer, bytes):
            return Leased(value, True, False, None, None)
        lease = answer.options.get("lease")
        if lease is None and "lease" in answer.options:
            raise ProtocolError("READ was answered with a lease that is none")
        return Leased(value, data is not None, "stale" in answer.options, lease, _seconds(answer, "held"))


def _misfit(answer: Answer, verb: str) -> ProtocolError:
    if isinstance(answer, bytes):
        return ProtocolError(f"{verb} was answered with a value")
    return ProtocolError(f"{verb} was answered with {answer.status} and {len(answer.arguments)} arguments")


def _value(answer: Answer) -> bytes | None:
    if isinstance(answer, bytes):
        return answer
    if answer.status == OK and len(answer.arguments) == 1:
        return answer.arguments[0]
    if answer.status == MISS and not answer.arguments:
        return None
    raise _misfit(answer, "READ")


def _seconds(answer: Answer, option: str) -> float | None:
    """A time that a reply tells in milliseconds, or None if it tells none."""
    if isinstance(answer, bytes) or option not in answer.options:
        return None
    return whole_number(answer.options[option] or "") / 1000


def _version(answer: Answer) -> str:
    """The version that was asked for. To go on without it would be to overwrite what somebody else has written."""
    version = None if isinstance(answer, bytes) else answer.options.get("ver")
    if version is None:
        raise ProtocolError("the server was asked for a version and gave none")
    return version


def _stored(answer: Answer) -> bool:
    if isinstance(answer, bytes) or answer.arguments or answer.status == MISS:
        raise _misfit(answer, "WRITE")
    return answer.status == OK


def _new_version(answer: Answer) -> str | None:
    return _version(answer) if _stored(answer) else None


def _found(answer: Answer) -> bool:
    if isinstance(answer, bytes) or answer.arguments or answer.status == CONFLICT:
        raise _misfit(answer, "DELETE or TOUCH")
    return answer.status == OK


def _ended(answer: Answer) -> bool:
    if isinstance(answer, bytes) or answer.arguments:
        raise _misfit(answer, "DELETE")
    return answer.status == OK


def _count(answer: Answer) -> int:
    if not isinstance(answer, bytes):
        if answer.status != OK or len(answer.arguments) != 1:
            raise _misfit(answer, "INCR")
        answer = answer.arguments[0]
    if not _COUNT.fullmatch(answer):
        raise ProtocolError("INCR was answered with something that is no number")
    return int(answer)


def _pong(answer: Answer) -> None:
    if isinstance(answer, bytes) or answer.arguments or answer.status != OK:
        raise _misfit(answer, "PING")


def _location(answer: Answer) -> Location:
    if isinstance(answer, bytes):
        return Location(answer.decode("utf-8", "replace"), {})
    if answer.status != OK or not answer.arguments:
        raise _misfit(answer, "WHERE")
    shard, *nodes = answer.arguments
    details = {name: value or "" for name, value in answer.options.items()}
    return Location(shard.decode("utf-8", "replace"), details, tuple(read_node(node) for node in nodes))


def _statistics(answer: Answer) -> dict[str, Any]:
    if not isinstance(answer, bytes):
        if answer.status != OK or len(answer.arguments) != 1:
            raise _misfit(answer, "STATS")
        answer = answer.arguments[0]
    try:
        statistics = json.loads(answer)
    except ValueError as fault:
        raise ProtocolError("STATS was answered with something that is not JSON") from fault
    if not isinstance(statistics, dict):
        raise ProtocolError("STATS was answered with JSON that is not an object")
    return statistics


WRITING: Final = Kind(_stored)
COMPARING: Final = Kind(_new_version)
DELETING: Final = Kind(_found)
DELETING_IF: Final = Kind(_ended)
"""Of a version or a lease: MISS and CONFLICT are the same to whoever wanted to end it."""
COUNTING: Final = Kind(_count)
PINGING: Final = Kind(_pong, harmless=True)
LOCATING: Final = Kind(_location, harmless=True)
TELLING: Final = Kind(_statistics, harmless=True)
