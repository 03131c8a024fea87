"""Adding to a value that may be a counter of the server's, or a number that only its host can read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from wireproto.adapters.lifetimes import Lifetime
from wireproto.client.sync import Client
from wireproto.errors import ValueTypeError


class _AbsentError(Exception):
    """There is no such key any more."""


def add(
    client: Client[bytes],
    key: bytes,
    delta: int,
    *,
    loads: Callable[[bytes], Any],
    dumps: Callable[[Any], bytes | None],
    if_new: Lifetime,
) -> Any:
    """Add to a number, and what it is then. A key that is absent counts as 0, and gets the time to live `if_new`.

    What the server does not take for a counter, as it is encrypted, no whole number, or too large, is read, added to
    and written back if nobody has changed it in between; it keeps its time to live. Raises TypeError, or whatever else
    the value raises when something is added to it.
    """
    result: Any = None

    def added(stored: bytes | None) -> bytes:
        nonlocal result
        if stored is None:
            raise _AbsentError
        result = loads(stored) + delta
        data = dumps(result)
        if data is None:
            raise TypeError(f"the serializer cannot write a value of type {type(result).__name__}")
        return data

    while True:
        with suppress(ValueTypeError):
            return client.incr(key, delta, **if_new)
        with suppress(_AbsentError):
            client.update(key, added, keepttl=True)
            return result
