"""How an adapter's keys are stored, and how all of them can be cleared at once although no verb does that.

By default, a key is stored as the host gives it, behind the adapter's prefix. With `clear_within`, a generation stands
between the two, some random text that is itself stored, under the prefix and `generation`. To clear is to write a new
generation: nobody finds the old values any more, and they leave the nodes when their time is over or memory is short.

Every process keeps the generation for `clear_within` seconds, and so may serve old values for so long after another
process has cleared; the one that cleared does not. If the generation is lost, with the node that had it, everything
is: a value must never come back that was cleared.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from typing import Final

from wireproto.client.sync import Client
from wireproto.core.request_encoding import shortened
from wireproto.errors import ConfigurationError

_MOST_PREFIXES: Final = 1000
"""How many prefixes have their generation kept; a prefix that is a function may have any number of values."""

NO_CLEAR: Final = (
    "clear() needs the option clear_within: the seconds within which other processes shall notice it (see"
    " wireproto.adapters.keyspace)"
)


def stored_key(text: str) -> bytes:
    """Text of any length as a key. Raises ArgumentError later, by the client, for text that is empty."""
    return shortened(text.encode("utf-8", "surrogatepass"))


class Keyspace:
    """The keys behind one prefix, which may be a function. `clear_within` is in seconds; None: there is no clear()."""

    def __init__(
        self,
        client: Client[bytes],
        prefix: str | Callable[[], str] = "",
        clear_within: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if clear_within is not None and not clear_within >= 0:
            raise ConfigurationError("clear_within must be a number of seconds, 0 or more, or None")
        self._client = client
        self._prefix = prefix
        self._clear_within = clear_within
        self._clock = clock
        self._generations: dict[str, tuple[float, str]] = {}
        """For each prefix its generation, and when that was asked for."""

    def key(self, name: object) -> bytes:
        """How a key is stored. Raises a RequestError if the generation cannot be read."""
        return stored_key(f"{self._head()}{name}")

    def keys(self, names: Iterable[object]) -> list[bytes]:
        """How keys are stored, in their order; the generation is asked for once at the most."""
        head = self._head()
        return [stored_key(f"{head}{name}") for name in names]

    def clear(self) -> None:
        """Let nobody find any of the keys again. Raises NotImplementedError without `clear_within`."""
        if self._clear_within is None:
            raise NotImplementedError(NO_CLEAR)
        prefix = self._current_prefix()
        now, generation = self._clock(), _new_generation()
        self._client.write(_place(prefix), generation.encode())
        self._keep(prefix, now, generation)

    def _current_prefix(self) -> str:
        return self._prefix if isinstance(self._prefix, str) else self._prefix()

    def _head(self) -> str:
        prefix = self._current_prefix()
        if self._clear_within is None:
            return prefix
        return f"{prefix}{self._generation(prefix, self._clear_within)}:"

    def _generation(self, prefix: str, clear_within: float) -> str:
        now = self._clock()
        asked, generation = self._generations.get(prefix, (0.0, ""))
        if generation and now - asked < clear_within:
            return generation
        generation = self._stored_generation(prefix)
        self._keep(prefix, now, generation)
        return generation

    def _stored_generation(self, prefix: str) -> str:
        place = _place(prefix)
        stored = self._client.read(place)
        if stored is None:
            mine = _new_generation().encode()
            # False: somebody else was faster, and theirs counts; it is gone again only if memory is very short.
            stored = mine if self._client.write(place, mine, nx=True) else self._client.read(place) or mine
        return stored.decode("latin-1")  # any bytes: it is not known who wrote them

    def _keep(self, prefix: str, asked: float, generation: str) -> None:
        if len(self._generations) >= _MOST_PREFIXES:
            self._generations.clear()
        self._generations[prefix] = (asked, generation)


def _place(prefix: str) -> bytes:
    return stored_key(f"{prefix}generation")


def _new_generation() -> str:
    return secrets.token_hex(8)
