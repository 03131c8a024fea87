"""A cache backend for Django: `pip install 'wireproto[django]'`.

CACHES = {
    "default": {
        "BACKEND": "wireproto.adapters.django.WireprotoCache",
        "LOCATION": "wireproto://KEY@cache.example:7379?ca=ca.pem",
    }
}
"""

# ruff: noqa: ASYNC109 - a `timeout` is a value's time to live, and named by Django.

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from wireproto.adapters.clients import shared_client, shared_keyspace
from wireproto.adapters.counting import add
from wireproto.adapters.lifetimes import lifetime
from wireproto.errors import RequestError

try:
    from asgiref.sync import sync_to_async
    from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
    from django.core.cache.backends.redis import RedisSerializer
    from django.utils.module_loading import import_string
except ImportError as fault:
    raise ImportError("this needs Django: pip install 'wireproto[django]'", name="django") from fault


class WireprotoCache(BaseCache):  # type: ignore[misc]  # Django has no types
    """A cache backend. It raises the client's errors.

    LOCATION is a wireproto:// URL, or empty for `WIREPROTO_URL`. OPTIONS are those of `wireproto.ClientOptions`, and
    `serializer`, as Django's own backend for Redis takes it, and uses when there is none: whole numbers as digits, so
    that `incr` counts in the server, and all else with pickle. `clear` needs `clear_within` in OPTIONS; it clears what
    has the same KEY_PREFIX (see `wireproto.adapters.keyspace`).

    All objects of a process share one client, so `close`, which Django calls after every request, closes nothing. The
    asynchronous methods run the others in Django's threads: where Django makes an event loop for each call, a
    connection of that loop's own would cost a TLS handshake, and nobody would close it.
    """

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        options = dict(params.get("OPTIONS") or {})
        self._serializer = _made(options.pop("serializer", None))
        clear_within = options.pop("clear_within", None)
        self._client = shared_client(location or None, options)
        # Django's keys have the prefix already; that of the keyspace says what is cleared together.
        cleared = "" if clear_within is None else self.key_prefix
        self._keyspace = shared_keyspace(self._client, cleared, clear_within)

    def get_backend_timeout(self, timeout: Any = DEFAULT_TIMEOUT) -> float | None:
        """Seconds, 0 for what shall not be stored, None for ever."""
        if timeout == DEFAULT_TIMEOUT:
            timeout = self.default_timeout
        return None if timeout is None else max(0, timeout)

    # -- one key

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """The value, or `default`."""
        data = self._client.read(self._stored(key, version))
        return default if data is None else self._loaded(data)

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        """Store a value; for no time: remove it."""
        stored, data = self._stored(key, version), self._dumped(value)
        seconds = self.get_backend_timeout(timeout)
        if seconds == 0:
            self._client.delete(stored)
        else:
            self._client.write(stored, data, **lifetime(seconds))

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Store a value if there is none; whether there was none."""
        stored, data = self._stored(key, version), self._dumped(value)
        seconds = self.get_backend_timeout(timeout)
        if seconds == 0:
            return self._client.read(stored) is None
        return self._client.write(stored, data, nx=True, **lifetime(seconds))

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Give a key a new timeout; whether there is such a key. For ever is 317 years here."""
        stored = self._stored(key, version)
        seconds = self.get_backend_timeout(timeout)
        if seconds == 0:
            return self._client.delete(stored)
        return self._client.touch(stored, **lifetime(math.inf if seconds is None else seconds))

    def delete(self, key: Any, version: int | None = None) -> bool:
        """Remove a key; whether there was one."""
        return self._client.delete(self._stored(key, version))

    def has_key(self, key: Any, version: int | None = None) -> bool:
        """Whether there is such a key; its value travels for that."""
        return self._client.read(self._stored(key, version)) is not None

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> Any:
        """Add to a number, and what it is then. Raises ValueError if there is none.

        One that goes away just then begins anew, with the default timeout.
        """
        stored = self._stored(key, version)
        if self._client.read(stored) is None:
            raise ValueError(f"Key '{key}' not found.")
        if_new = lifetime(self.get_backend_timeout() or None)
        return add(self._client, stored, delta, loads=self._loaded, dumps=self._dumped, if_new=if_new)

    # -- many keys

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """The values of the keys that have one. Raises if any of them cannot be read."""
        names = self._names(keys, version)
        found = {}
        for stored, outcome in self._client.read_many(names).items():
            if isinstance(outcome, RequestError):
                raise outcome
            if outcome is not None:
                found[names[stored]] = self._loaded(outcome)
        return found

    def set_many(
        self, data: Mapping[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> list[Any]:
        """Store values; the keys that could not be stored. Raises only if none could be."""
        names = self._names(data, version)
        seconds = self.get_backend_timeout(timeout)
        outcomes: Mapping[bytes, bool | RequestError]
        if seconds == 0:
            outcomes = self._client.delete_many(names)
        else:
            values = {stored: self._dumped(data[key]) for stored, key in names.items()}
            outcomes = self._client.write_many(values, **lifetime(seconds))
        return [names[stored] for stored, outcome in outcomes.items() if isinstance(outcome, RequestError)]

    def delete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        """Remove keys. Raises if any of them cannot be removed."""
        for outcome in self._client.delete_many(self._names(keys, version)).values():
            if isinstance(outcome, RequestError):
                raise outcome

    def clear(self) -> None:
        """Forget all keys with this KEY_PREFIX. Raises NotImplementedError without `clear_within`."""
        self._keyspace.clear()

    # -- asynchronous: what Django would make of many calls is one here, and whole

    async def aincr(self, key: Any, delta: int = 1, version: int | None = None) -> Any:
        """See `incr`."""
        return await sync_to_async(self.incr)(key, delta, version)

    async def aget_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """See `get_many`."""
        return await sync_to_async(self.get_many)(keys, version)

    async def aset_many(
        self, data: Mapping[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> list[Any]:
        """See `set_many`."""
        return await sync_to_async(self.set_many)(data, timeout, version)

    async def adelete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        """See `delete_many`."""
        await sync_to_async(self.delete_many)(keys, version)

    # -- keys and values

    def _stored(self, key: Any, version: int | None) -> bytes:
        return self._keyspace.key(self.make_and_validate_key(key, version=version))

    def _names(self, keys: Iterable[Any], version: int | None) -> dict[bytes, Any]:
        """The keys by how they are stored."""
        made = {self.make_and_validate_key(key, version=version): key for key in keys}
        return dict(zip(self._keyspace.keys(made), made.values(), strict=True))

    def _dumped(self, value: Any) -> bytes:
        data = self._serializer.dumps(value)
        return data if isinstance(data, bytes) else str(data).encode()

    def _loaded(self, data: bytes) -> Any:
        return self._serializer.loads(data)


def _made(serializer: Any) -> Any:
    """A serializer from its name, its class, or itself; Django's own where there is none."""
    if isinstance(serializer, str):
        serializer = import_string(serializer)
    return serializer() if callable(serializer) else serializer or RedisSerializer()
