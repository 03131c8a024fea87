"""A backend for dogpile.cache: `pip install 'wireproto[dogpile]'`.

region = make_region().configure(
    "dogpile.cache.wireproto",
    expiration_time=300,
    arguments={"url": "wireproto://KEY@cache.example:7379?ca=ca.pem", "distributed_lock": True},
)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wireproto.adapters.clients import shared_client
from wireproto.adapters.keyspace import stored_key
from wireproto.adapters.lifetimes import lifetime
from wireproto.adapters.locks import DistributedLock
from wireproto.errors import RequestError

try:
    from dogpile.cache.api import NO_VALUE, BytesBackend, CacheMutex, SerializedReturnType
except ImportError as fault:
    raise ImportError("this needs dogpile.cache: pip install 'wireproto[dogpile]'", name="dogpile.cache") from fault


class WireprotoBackend(BytesBackend):
    """A backend of regions. It raises the client's errors. All regions with the same URL and options share a client.

    The arguments, of which none must be given; others are ignored, as dogpile.cache wants it:

    - `url`: a wireproto:// URL; without it, `WIREPROTO_URL`
    - `client_options`: a dict, as `wireproto.ClientOptions` has them
    - `client`: a `wireproto.Client` of bytes, instead of these two
    - `wireproto_expiration_time`: seconds until the server forgets a value, more than the region's own
      `expiration_time`; without it, values stay until a node needs the memory
    - `distributed_lock`: True if, of all processes, one at a time shall create a value; else it is one of each process
    - `lock_timeout`: seconds, 60 if not given, after which a lock that was not released is over
    - `lock_sleep`: seconds, 0.1 if not given, between two tries to get a lock
    - `lock_prefix`: what stands before a key to make it the lock's key, `lock:` if not given
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        client = arguments.get("client")
        if client is None:
            client = shared_client(arguments.get("url"), dict(arguments.get("client_options") or {}))
        self._client = client
        self._lifetime = lifetime(arguments.get("wireproto_expiration_time") or None)
        self._distributed_lock = bool(arguments.get("distributed_lock", False))
        self._lock_timeout = float(arguments.get("lock_timeout") or 60.0)
        self._lock_sleep = float(arguments.get("lock_sleep", 0.1))
        self._lock_prefix = str(arguments.get("lock_prefix", "lock:"))

    def get_serialized(self, key: str) -> SerializedReturnType:
        """The value, or NO_VALUE."""
        data = self._client.read(stored_key(key))
        return NO_VALUE if data is None else data

    def get_serialized_multi(self, keys: Iterable[str]) -> Sequence[SerializedReturnType]:
        """The values, NO_VALUE where there is none. Raises if any of them cannot be read."""
        stored = [stored_key(key) for key in keys]
        answers = _or_raise(self._client.read_many(stored))
        return [NO_VALUE if answers[key] is None else answers[key] for key in stored]

    def set_serialized(self, key: str, value: bytes) -> None:
        """Store a value."""
        self._client.write(stored_key(key), value, **self._lifetime)

    def set_serialized_multi(self, mapping: Mapping[str, bytes]) -> None:
        """Store values. Raises if any of them cannot be stored."""
        values = {stored_key(key): value for key, value in mapping.items()}
        _or_raise(self._client.write_many(values, **self._lifetime))

    def delete(self, key: str) -> None:
        """Remove a key, if there is one."""
        self._client.delete(stored_key(key))

    def delete_multi(self, keys: Iterable[str]) -> None:
        """Remove the keys that there are. Raises if any of them cannot be removed."""
        _or_raise(self._client.delete_many([stored_key(key) for key in keys]))

    def has_lock_timeout(self) -> bool:
        """Whether a lock may be over before it is released."""
        return self._distributed_lock

    def get_mutex(self, key: str) -> CacheMutex | None:
        """The lock of a key that all processes share, or None for dogpile.cache's own."""
        if not self._distributed_lock:
            return None
        # A CacheMutex is known by its methods, not by its class.
        return DistributedLock(  # type: ignore[return-value]
            self._client, stored_key(f"{self._lock_prefix}{key}"), self._lock_timeout, self._lock_sleep
        )


def _or_raise(outcomes: dict[bytes, Any]) -> dict[bytes, Any]:
    for outcome in outcomes.values():
        if isinstance(outcome, RequestError):
            raise outcome
    return outcomes
