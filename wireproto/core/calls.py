"""What a client can ask for: each call's request, and how its reply becomes a result or an error.

Both clients, and their pipelines, take their calls from here, so that a verb means the same in all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, cast

from wireproto.core.reply_wire import CONFLICT, ERR, MISS, OK, Reply
from wireproto.core.request_encoding import encode_key_request, encode_request, key_bytes
from wireproto.core.verbs import Verb
from wireproto.errors import ArgumentError, CorruptError, ProtocolError, RequestError

T = TypeVar("T")
V = TypeVar("V")
Key = str | bytes

_READ: Final = Verb.READ
"""To look a member up in its enumeration takes a third of the time that it takes to encode the request."""


@dataclass(frozen=True, slots=True)
class Codec(Generic[V]):
    """How values become bytes and back. Either function may raise whatever it likes."""

    encode: Callable[[V], bytes]
    decode: Callable[[bytes], V]

    @staticmethod
    def text() -> Codec[str]:
        """Text, as UTF-8."""
        return Codec(str.encode, bytes.decode)

    @staticmethod
    def json() -> Codec[Any]:
        """Whatever JSON can hold."""
        return Codec(_to_json, json.loads)


def _to_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Value(Generic[V]):
    """A value and its time left in seconds, None if it does not expire."""

    value: V
    ttl: float | None


@dataclass(frozen=True, slots=True)
class Location:
    """The node that serves a key, and what the server says about it: `role`, `state` and the like."""

    node: str
    details: Mapping[str, str]


class Call(Generic[T]):
    """One request and how to understand its reply.

    `harmless` says that it changes nothing: it may be sent again even when nobody knows whether it took effect.
    """

    __slots__ = ("_interpret", "harmless", "request")

    def __init__(self, request: bytes, interpret: Callable[[Reply], T], harmless: bool = False) -> None:
        self.request = request
        self.harmless = harmless
        self._interpret = interpret

    def outcome(self, reply: Reply) -> T | RequestError:
        """The result, or the error. A reply that does not fit the request is a ProtocolError: the stream is out of
        step."""
        if reply.status == ERR:
            return reply.error()
        try:
            return self._interpret(reply)
        except RequestError as error:
            return error


class Calls(Generic[V]):
    """Makes the calls of one client. Every method raises ArgumentError for what the protocol does not allow."""

    def __init__(self, codec: Codec[V] | None) -> None:
        self._codec = codec
        interpret = _value if codec is None else self._decoded
        self._interpret_read = cast("Callable[[Reply], V | None]", interpret)

    def read(self, key: Key) -> Call[V | None]:
        """The value, or None for a miss."""
        return Call(encode_key_request(_READ, key), self._interpret_read, True)

    def read_with_ttl(self, key: Key) -> Call[Value[V] | None]:
        """The value and its time left, or None for a miss."""
        request = encode_request(Verb.READ, (key_bytes(key),), {"ttl": 1})
        return Call(request, self._value_with_ttl, harmless=True)

    def write(
        self,
        key: Key,
        value: V,
        *,
        ex: int | None = None,
        px: int | None = None,
        keepttl: bool = False,
        nx: bool = False,
        xx: bool = False,
    ) -> Call[bool]:
        """Whether the value was stored: False when `nx` or `xx` did not hold."""
        options = _expiry(ex, px)
        options |= {name: 1 for name, wanted in (("keepttl", keepttl), ("nx", nx), ("xx", xx)) if wanted}
        return Call(encode_request(Verb.WRITE, (key_bytes(key), self._encoded(value)), options), _stored)

    def delete(self, key: Key) -> Call[bool]:
        """Whether there was such a key."""
        return Call(encode_key_request(Verb.DELETE, key), _found)

    def touch(self, key: Key, *, ex: int | None = None, px: int | None = None) -> Call[bool]:
        """Whether there was such a key; it has a new time to live then."""
        return Call(encode_request(Verb.TOUCH, (key_bytes(key),), _expiry(ex, px)), _found)

    def ping(self) -> Call[None]:
        """Nothing but the round trip."""
        return _PING

    def where(self, key: Key) -> Call[Location]:
        """The node that serves a key."""
        return Call(encode_key_request(Verb.WHERE, key), _location, harmless=True)

    def stats(self) -> Call[dict[str, Any]]:
        """The server's counters."""
        return _STATS

    # -- values

    def _encoded(self, value: V) -> bytes:
        if self._codec is None:
            if isinstance(value, bytes):
                return value
            if isinstance(value, bytearray | memoryview):
                return bytes(value)
            raise ArgumentError(f"a value is bytes, not {type(value).__name__}; a codec takes others")
        try:
            data = self._codec.encode(value)
        except Exception as fault:
            raise ArgumentError(f"the codec cannot encode a value of type {type(value).__name__}") from fault
        if not isinstance(data, bytes):
            raise ArgumentError(f"the codec made {type(data).__name__} of a value, not bytes")
        return data

    def _decoded(self, reply: Reply) -> V | None:
        value = _value(reply)
        return None if value is None else self._decode(value)

    def _decode(self, value: bytes) -> V:
        if self._codec is None:
            return cast(V, value)
        try:
            return self._codec.decode(value)
        except Exception as fault:
            # Only the type of the fault: its text may quote the value.
            raise CorruptError(f"the codec cannot decode the value: {type(fault).__name__}") from fault

    def _value_with_ttl(self, reply: Reply) -> Value[V] | None:
        value = _value(reply)
        if value is None:
            return None
        milliseconds = reply.options.get("ttl")
        if milliseconds is None:
            return Value(self._decode(value), None)
        return Value(self._decode(value), _whole_number(milliseconds) / 1000)


def _expiry(ex: int | None, px: int | None) -> dict[str, int]:
    options = {}
    if ex is not None:
        options["ex"] = ex
    if px is not None:
        options["px"] = px
    return options


def _whole_number(text: str) -> int:
    """A number in an option of a reply. Raises ProtocolError."""
    if not (text.isdigit() and len(text) < 20):
        raise ProtocolError("an option of the reply is not a whole number")
    return int(text)


# -- replies


def _misfit(reply: Reply, verb: str) -> ProtocolError:
    return ProtocolError(f"{verb} was answered with {reply.status} and {len(reply.arguments)} arguments")


def _value(reply: Reply) -> bytes | None:
    if reply.status == OK and len(reply.arguments) == 1:
        return reply.arguments[0]
    if reply.status == MISS and not reply.arguments:
        return None
    raise _misfit(reply, "READ")


def _stored(reply: Reply) -> bool:
    if reply.arguments or reply.status == MISS:
        raise _misfit(reply, "WRITE")
    return reply.status == OK


def _found(reply: Reply) -> bool:
    if reply.arguments or reply.status == CONFLICT:
        raise _misfit(reply, "DELETE or TOUCH")
    return reply.status == OK


def _pong(reply: Reply) -> None:
    if reply.arguments or reply.status != OK:
        raise _misfit(reply, "PING")


def _location(reply: Reply) -> Location:
    if reply.status != OK or len(reply.arguments) != 1:
        raise _misfit(reply, "WHERE")
    details = {name: value or "" for name, value in reply.options.items()}
    return Location(reply.arguments[0].decode("utf-8", "replace"), details)


def _statistics(reply: Reply) -> dict[str, Any]:
    if reply.status != OK or len(reply.arguments) != 1:
        raise _misfit(reply, "STATS")
    try:
        statistics = json.loads(reply.arguments[0])
    except ValueError as fault:
        raise ProtocolError("STATS was answered with something that is not JSON") from fault
    if not isinstance(statistics, dict):
        raise ProtocolError("STATS was answered with JSON that is not an object")
    return statistics


_PING: Final = Call(encode_request(Verb.PING, ()), _pong, harmless=True)
_STATS: Final = Call(encode_request(Verb.STATS, ()), _statistics, harmless=True)
