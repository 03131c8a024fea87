"""What a client can ask for: each call's request, and how its reply becomes a result or an error.

Both clients, and their pipelines, take their calls from here, so that a verb means the same in all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, cast

from wireproto.core.call_plan import Call, Kind
from wireproto.core.locations import Location, read_node
from wireproto.core.reply_wire import CONFLICT, MISS, OK, Reply, whole_number
from wireproto.core.request_encoding import (
    encode_key_request,
    encode_key_requests,
    encode_request,
    key_bytes,
    with_options,
)
from wireproto.core.verbs import Verb
from wireproto.errors import ArgumentError, CorruptError, ProtocolError, RequestError

T = TypeVar("T")
V = TypeVar("V")
Key = str | bytes
Answer = bytes | Reply
"""What a request was answered with; a value by itself where the reply has nothing else."""

_READ: Final = Verb.READ
_DELETE: Final = Verb.DELETE
"""To look a member up in its enumeration takes a third of the time that it takes to encode the request."""

_REPLICA: Final = {"replica": 1}


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


class Calls(Generic[V]):
    """Makes the calls of one client. Every method raises ArgumentError for what the protocol does not allow."""

    def __init__(self, codec: Codec[V] | None) -> None:
        self._codec = codec
        verbatim = codec is None
        interpret = cast("Callable[[Answer], V | None]", _value if verbatim else self._decoded)
        self.reading = Kind(interpret, harmless=True, verbatim=verbatim)
        self._reading_with_ttl = Kind(self._value_with_ttl, harmless=True)

    def read(self, key: Key) -> Call[V | None]:
        """The value, or None for a miss."""
        return Call(encode_key_request(_READ, key), self.reading)

    def read_replica(self, key: Key) -> Call[V | None]:
        """As `read`, but a replica may answer."""
        return Call(encode_request(Verb.READ, (key_bytes(key),), _REPLICA), self.reading)

    def read_with_ttl(self, key: Key, replica: bool = False) -> Call[Value[V] | None]:
        """The value and its time left, or None for a miss."""
        options = {"ttl": 1, **_REPLICA} if replica else {"ttl": 1}
        return Call(encode_request(Verb.READ, (key_bytes(key),), options), self._reading_with_ttl)

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
        sync: int | None = None,
    ) -> Call[bool]:
        """Whether the value was stored: False when `nx` or `xx` did not hold."""
        return Call(self._write_request(key, value, _write_options(ex, px, keepttl, nx, xx, sync)), WRITING)

    def delete(self, key: Key, sync: int | None = None) -> Call[bool]:
        """Whether there was such a key."""
        if sync is None:
            return Call(encode_key_request(_DELETE, key), DELETING)
        return Call(encode_request(Verb.DELETE, (key_bytes(key),), {"sync": sync}), DELETING)

    def touch(self, key: Key, *, ex: int | None = None, px: int | None = None) -> Call[bool]:
        """Whether there was such a key; it has a new time to live then."""
        return Call(encode_request(Verb.TOUCH, (key_bytes(key),), _expiry(ex, px)), DELETING)

    def ping(self) -> Call[None]:
        """Nothing but the round trip."""
        return _PING

    def where(self, key: Key) -> Call[Location]:
        """The node that serves a key."""
        return Call(encode_key_request(Verb.WHERE, key), _LOCATING)

    def stats(self) -> Call[dict[str, Any]]:
        """The server's counters."""
        return _STATS

    # -- many keys: the request of each, or its error

    def read_requests(self, keys: list[Any]) -> list[Any]:
        """As `read`."""
        return encode_key_requests(_READ, keys)

    def read_replica_requests(self, keys: list[Any]) -> list[Any]:
        """As `read_replica`."""
        return with_options(_READ, encode_key_requests(_READ, keys), _REPLICA)

    def delete_requests(self, keys: list[Any]) -> list[Any]:
        """As `delete`."""
        return encode_key_requests(_DELETE, keys)

    def synced_delete_requests(self, sync: int) -> Callable[[list[Any]], list[Any]]:
        """As `delete` with `sync`."""
        return lambda keys: with_options(_DELETE, encode_key_requests(_DELETE, keys), {"sync": sync})

    def write_requests(
        self,
        values: Mapping[Any, V],
        ex: int | None,
        px: int | None,
        keepttl: bool,
        nx: bool,
        xx: bool,
        sync: int | None = None,
    ) -> Callable[[list[Any]], list[Any]]:
        """As `write`, for keys of `values`."""
        options = _write_options(ex, px, keepttl, nx, xx, sync)

        def encode(keys: list[Any]) -> list[Any]:
            requests: list[Any] = []
            for key in keys:
                try:
                    requests.append(self._write_request(key, values[key], options))
                except RequestError as error:
                    requests.append(error)
            return requests

        return encode

    # -- values

    def _write_request(self, key: Key, value: V, options: Mapping[str, int]) -> bytes:
        return encode_request(Verb.WRITE, (key_bytes(key), self._encoded(value)), options)

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

    def _decoded(self, answer: Answer) -> V | None:
        value = _value(answer)
        return None if value is None else self._decode(value)

    def _decode(self, value: bytes) -> V:
        if self._codec is None:
            return cast(V, value)
        try:
            return self._codec.decode(value)
        except Exception as fault:
            # Only the type of the fault: its text may quote the value.
            raise CorruptError(f"the codec cannot decode the value: {type(fault).__name__}") from fault

    def _value_with_ttl(self, answer: Answer) -> Value[V] | None:
        value = _value(answer)
        if value is None:
            return None
        milliseconds = None if isinstance(answer, bytes) else answer.options.get("ttl")
        if milliseconds is None:
            return Value(self._decode(value), None)
        return Value(self._decode(value), whole_number(milliseconds) / 1000)


def _write_options(
    ex: int | None, px: int | None, keepttl: bool, nx: bool, xx: bool, sync: int | None
) -> dict[str, int]:
    options = _expiry(ex, px)
    for name, wanted in (("keepttl", keepttl), ("nx", nx), ("xx", xx)):
        if wanted:
            options[name] = 1
    if sync is not None:
        options["sync"] = sync
    return options


def _expiry(ex: int | None, px: int | None) -> dict[str, int]:
    options = {}
    if ex is not None:
        options["ex"] = ex
    if px is not None:
        options["px"] = px
    return options


# -- replies


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


def _stored(answer: Answer) -> bool:
    if isinstance(answer, bytes) or answer.arguments or answer.status == MISS:
        raise _misfit(answer, "WRITE")
    return answer.status == OK


def _found(answer: Answer) -> bool:
    if isinstance(answer, bytes) or answer.arguments or answer.status == CONFLICT:
        raise _misfit(answer, "DELETE or TOUCH")
    return answer.status == OK


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
DELETING: Final = Kind(_found)
_LOCATING: Final = Kind(_location, harmless=True)
_PING: Final = Call(encode_request(Verb.PING, ()), Kind(_pong, harmless=True))
_STATS: Final = Call(encode_request(Verb.STATS, ()), Kind(_statistics, harmless=True))
