"""A cache for cachelib, which Flask-Caching and Flask-Session take too: `pip install 'wireproto[cachelib]'`.

cache = WireprotoCache("wireproto://KEY@cache.example:7379?ca=ca.pem", key_prefix="shop:")
cache.set("my_key", {"any": "object"}, timeout=60)
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

from wireproto.adapters.clients import shared_client
from wireproto.adapters.counting import add
from wireproto.adapters.keyspace import Keyspace
from wireproto.adapters.lifetimes import lifetime
from wireproto.client.sync import Client
from wireproto.errors import RequestError

try:
    from cachelib.base import BaseCache
    from cachelib.serializers import BaseSerializer, RedisSerializer
except ImportError as fault:
    raise ImportError("this needs cachelib: pip install 'wireproto[cachelib]'", name="cachelib") from fault

Timeout = int | datetime.timedelta | None


class WireprotoCache(BaseCache):
    """A cachelib cache. It raises the client's errors, also where other caches would answer False.

    `url` is a wireproto:// URL, or None for `WIREPROTO_URL`; `options` are those of `wireproto.ClientOptions`. `client`
    is taken in place of both. `key_prefix` stands before every key, and may be a function.

    A timeout is in seconds: 0 for ever, None the default; a negative one is over already, and removes the key. Values
    go through `serializer`, cachelib's own for Redis: whole numbers as digits, so that `inc` counts in the server, and
    all else with pickle. `clear` needs `clear_within` (see `wireproto.adapters.keyspace`).
    """

    serializer: BaseSerializer = RedisSerializer()

    def __init__(
        self,
        url: str | None = None,
        *,
        default_timeout: int | datetime.timedelta = 300,
        key_prefix: str | Callable[[], str] | None = None,
        ignore_delete_many_errors: bool = True,
        clear_within: float | None = None,
        client: Client[bytes] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(default_timeout, ignore_delete_many_errors)
        self._client = shared_client(url, options) if client is None else client
        self._keyspace = Keyspace(self._client, key_prefix or "", clear_within)

    def get(self, key: str) -> Any:
        """The value, or None."""
        return self._loaded(self._client.read(self._keyspace.key(key)))

    def get_many(self, *keys: str) -> list[Any]:
        """The values, None where there is none. Raises if any of them cannot be read."""
        stored = self._keyspace.keys(keys)
        answers = self._client.read_many(stored)
        return [self._loaded(_or_raise(answers[key])) for key in stored]

    def set(self, key: str, value: Any, timeout: Timeout = None) -> bool:
        """Store a value. False: the serializer cannot write it."""
        return self._write(key, value, timeout, only_if_absent=False)

    def add(self, key: str, value: Any, timeout: Timeout = None) -> bool:
        """Store a value if there is none; whether it was."""
        return self._write(key, value, timeout, only_if_absent=True)

    def set_many(self, mapping: dict[str, Any], timeout: Timeout = None) -> list[Any]:
        """Store values; the keys that were stored. Raises only if none could be."""
        dumped = {name: data for name, value in mapping.items() if (data := self._dumped(value)) is not None}
        names = dict(zip(self._keyspace.keys(dumped), dumped, strict=True))
        seconds = self._normalize_timeout(timeout)
        if seconds < 0:
            deleted = self._client.delete_many(names)
            return [names[key] for key, outcome in deleted.items() if not isinstance(outcome, RequestError)]
        values = {key: dumped[name] for key, name in names.items()}
        written = self._client.write_many(values, **lifetime(seconds or None))
        return [names[key] for key, outcome in written.items() if outcome is True]

    def delete(self, key: str) -> bool:
        """Remove a key; whether there was one."""
        return self._client.delete(self._keyspace.key(key))

    def delete_many(self, *keys: str) -> list[Any]:
        """Remove keys; those that are not there now.

        Raises RuntimeError if some could not be removed, unless `ignore_delete_many_errors`.
        """
        names = dict(zip(self._keyspace.keys(keys), keys, strict=True))
        outcomes = self._client.delete_many(names)
        failed = [names[key] for key, outcome in outcomes.items() if isinstance(outcome, RequestError)]
        if failed and not self.ignore_delete_many_errors:
            raise RuntimeError(f"Failed to delete keys: {failed}")
        return [key for key in keys if key not in failed]

    def has(self, key: str) -> bool:
        """Whether there is such a key; its value travels for that."""
        return self._client.read(self._keyspace.key(key)) is not None

    def clear(self) -> bool:
        """Forget all keys with this prefix. Raises NotImplementedError without `clear_within`."""
        self._keyspace.clear()
        return True

    def inc(self, key: str, delta: int = 1) -> Any:
        """Add to a number, and what it is then; a new one begins at 0 and has the default timeout."""
        return add(
            self._client,
            self._keyspace.key(key),
            delta,
            loads=self._loaded,
            dumps=self._dumped,
            if_new=lifetime(self.default_timeout if self.default_timeout > 0 else None),
        )

    def dec(self, key: str, delta: int = 1) -> Any:
        """Subtract from a number; see `inc`."""
        return self.inc(key, -delta)

    def _write(self, key: str, value: Any, timeout: Timeout, *, only_if_absent: bool) -> bool:
        data = self._dumped(value)
        if data is None:
            return False
        seconds = self._normalize_timeout(timeout)
        stored = self._keyspace.key(key)
        if seconds >= 0:
            return self._client.write(stored, data, nx=only_if_absent, **lifetime(seconds or None))
        if only_if_absent:
            return self._client.read(stored) is None
        self._client.delete(stored)
        return True

    def _dumped(self, value: Any) -> bytes | None:
        return self.serializer.dumps(value)

    def _loaded(self, data: bytes | None) -> Any:
        return None if data is None else self.serializer.loads(data)


def _or_raise(outcome: bytes | RequestError | None) -> bytes | None:
    if isinstance(outcome, RequestError):
        raise outcome
    return outcome
