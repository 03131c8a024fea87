"""What a client can ask for: each call's request, and its kind, which tells what its reply means.

Both clients, and their pipelines, take their calls from here, so that a verb means the same in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar, Unpack

from wireproto.core.call_plan import Call
from wireproto.core.codec import Codec, encoded
from wireproto.core.locations import Location
from wireproto.core.reply_meaning import (
    COMPARING,
    COUNTING,
    DELETING,
    DELETING_IF,
    LOCATING,
    PINGING,
    TELLING,
    WRITING,
    ReadKinds,
)
from wireproto.core.request_encoding import (
    check_options,
    encode_key_request,
    encode_key_requests,
    encode_request,
    key_bytes,
    with_options,
)
from wireproto.core.results import Leased, Value, Versioned
from wireproto.core.store_options import Storing
from wireproto.core.verbs import MAX_LEASE_MS, Verb
from wireproto.errors import ArgumentError, RequestError

V = TypeVar("V")
Key = str | bytes

_READ: Final = Verb.READ
_WRITE: Final = Verb.WRITE
_DELETE: Final = Verb.DELETE
"""To look a member up in its enumeration takes a third of the time that it takes to encode the request."""

_MAX_LEASE: Final = MAX_LEASE_MS // 1000
_MAX_EARLY: Final = 86_400
"""Seconds that the protocol takes."""
_REPLICA: Final = {"replica": 1}
_PING: Final = Call(encode_request(Verb.PING, ()), PINGING)
_STATS: Final = Call(encode_request(Verb.STATS, ()), TELLING)


class Calls(Generic[V]):
    """Makes the calls of one client. Every method raises ArgumentError for what the protocol does not allow."""

    def __init__(self, codec: Codec[V] | None) -> None:
        self._codec = codec
        self._kinds = ReadKinds(codec)
        self.reading = self._kinds.plain

    def read(self, key: Key) -> Call[V | None]:
        """The value, or None for a miss."""
        return Call(encode_key_request(_READ, key), self.reading)

    def read_replica(self, key: Key) -> Call[V | None]:
        """As `read`, but a replica may answer."""
        return Call(encode_request(_READ, (key_bytes(key),), _REPLICA), self.reading)

    def read_with_ttl(self, key: Key, replica: bool = False) -> Call[Value[V] | None]:
        """The value and its time left, or None for a miss."""
        return Call(_read_request(key, {"ttl": 1}, replica), self._kinds.with_ttl)

    def read_with_version(self, key: Key, replica: bool = False) -> Call[Versioned[V] | None]:
        """The value, its time left and its version, or None for a miss."""
        return Call(_read_request(key, {"ttl": 1, "ver": 1}, replica), self._kinds.with_version)

    def read_or_lease(
        self, key: Key, lease: float, early: float | None = None, replica: bool = False
    ) -> Call[Leased[V]]:
        """The value, and who is to load it. Times in seconds; without `early`, or if it is 0, only when it is over."""
        options = {"lease": _milliseconds("lease", lease, _MAX_LEASE)}
        if early:
            options["early"] = _milliseconds("early", early, _MAX_EARLY)
        return Call(_read_request(key, options, replica), self._kinds.with_lease)

    def write(
        self,
        key: Key,
        value: V,
        *,
        ex: int | None = None,
        px: int | None = None,
        keepttl: bool = False,
        stale: int | None = None,
        nx: bool = False,
        xx: bool = False,
        version: str = "",
        lease: str = "",
        sync: int | None = None,
    ) -> Call[bool]:
        """Whether the value was stored: False when its condition did not hold."""
        words = _storing(ex, px, keepttl, stale, sync)
        if nx:
            words["nx"] = 1
        if xx:
            words["xx"] = 1
        if version != "":
            words["ver"] = _condition("version", version)
        if lease != "":
            words["lease"] = _condition("lease", lease)
        return Call(self._write_request(key, value, words), WRITING)

    def compare_and_set(self, key: Key, value: V, version: str, **storing: Unpack[Storing]) -> Call[str | None]:
        """The version of what was stored, or None when the key has another than `version`."""
        words = _storing(**storing)
        words["ver"] = _condition("version", version)
        return Call(self._write_request(key, value, words), COMPARING)

    def delete(self, key: Key, sync: int | None = None, version: str = "") -> Call[bool]:
        """Whether the key was removed: False when there was none, or it has another than `version`."""
        if sync is None and version == "":
            return Call(encode_key_request(_DELETE, key), DELETING)
        words = _storing(sync=sync)
        if version != "":
            words["ver"] = _condition("version", version)
        request = encode_request(_DELETE, (key_bytes(key),), words)
        return Call(request, DELETING if version == "" else DELETING_IF)

    def give_back(self, key: Key, lease: str) -> Call[bool]:
        """Whether the lease held until then."""
        words = {"lease": _condition("lease", lease)}
        return Call(encode_request(_DELETE, (key_bytes(key),), words), DELETING_IF)

    def incr(
        self, key: Key, by: int = 1, *, ex: int | None = None, px: int | None = None, sync: int | None = None
    ) -> Call[int]:
        """What the counter is then."""
        words = _storing(ex, px, sync=sync)
        if by != 1 or type(by) is not int:
            words["by"] = by
        return Call(encode_request(Verb.INCR, (key_bytes(key),), words), COUNTING)

    def touch(self, key: Key, *, ex: int | None = None, px: int | None = None) -> Call[bool]:
        """Whether there was such a key; it has a new time to live then."""
        return Call(encode_request(Verb.TOUCH, (key_bytes(key),), _storing(ex, px)), DELETING)

    def ping(self) -> Call[None]:
        """Nothing but the round trip."""
        return _PING

    def where(self, key: Key) -> Call[Location]:
        """The node that serves a key."""
        return Call(encode_key_request(Verb.WHERE, key), LOCATING)

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
        self, values: Mapping[Any, V], *, nx: bool = False, xx: bool = False, **storing: Unpack[Storing]
    ) -> Callable[[list[Any]], list[Any]]:
        """As `write`, for keys of `values`."""
        words = _storing(**storing)
        words |= {name: 1 for name, wanted in (("nx", nx), ("xx", xx)) if wanted}

        def encode(keys: list[Any]) -> list[Any]:
            requests: list[Any] = []
            for key in keys:
                try:
                    requests.append(self._write_request(key, values[key], words))
                except RequestError as error:
                    requests.append(error)
            return requests

        return encode

    # -- parts

    def check_storing(self, **storing: Unpack[Storing]) -> None:
        """Raise ArgumentError now for what `write` would refuse, before there is a value."""
        check_options(_WRITE, _storing(**storing))

    def _write_request(self, key: Key, value: V, options: Mapping[str, Any]) -> bytes:
        return encode_request(_WRITE, (key_bytes(key), encoded(self._codec, value)), options)


def _read_request(key: Key, options: dict[str, int], replica: bool) -> bytes:
    if replica:
        options |= _REPLICA
    return encode_request(_READ, (key_bytes(key),), options)


def _storing(
    ex: int | None = None,
    px: int | None = None,
    keepttl: bool = False,
    stale: int | None = None,
    sync: int | None = None,
) -> dict[str, Any]:
    """The options that say how something is stored, as the protocol names them."""
    words: dict[str, Any] = {}
    if ex is not None:
        words["ex"] = ex
    if px is not None:
        words["px"] = px
    if keepttl:
        words["keepttl"] = 1
    if stale is not None:
        words["stale"] = stale
    if sync is not None:
        words["sync"] = sync
    return words


def _condition(name: str, token: object) -> object:
    """Raises ArgumentError for None: whoever has no version or no lease must not change the key without a condition."""
    if token is None:
        raise ArgumentError(f"{name} is None: the key would be changed without a condition")
    return token


def _milliseconds(name: str, seconds: float, most: int) -> int:
    """Whole milliseconds, at least 1. Raises ArgumentError, which speaks of seconds, as the caller does."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= most:
        raise ArgumentError(f"{name} must be a number of seconds, more than 0, to {most}")
    return max(1, round(seconds * 1000))
