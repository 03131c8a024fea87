"""How a value looks on a node (`docs/PROTOCOL.md`, section 8).

A value that needs nothing is stored as it is, so that `redis-cli GET` shows it. A value that begins with the marker
itself is stored behind the marker and a format byte. 0xFF occurs nowhere in UTF-8, so text is never affected.
"""

from __future__ import annotations

from typing import Final, Protocol

MARKER: Final = 0xFF
PLAIN: Final = 0x00
"""The format byte of a value that is stored unchanged behind it."""

UNREADABLE: Final = bytes((MARKER, 0xFF))
"""No format begins like this."""

_PLAIN_PREFIX: Final = bytes((MARKER, PLAIN))
_ANY_PLAIN: Final = bytes((MARKER, PLAIN, MARKER))
"""No other value is stored so: what else follows the two bytes is damaged, and may be a sealed value."""


class Opener(Protocol):
    """Opens what is stored in a namespace that has keys (`sealing`)."""

    def open(self, key: bytes, stored: bytes) -> bytes | None:
        """The value of stored bytes of any form; None if they cannot be opened."""


def opened(opener: Opener, key: bytes, reply: object) -> object:
    """A node's reply as if the value in it had not been sealed; `UNREADABLE` for what cannot be opened."""
    if isinstance(reply, bytes):
        value = opener.open(key, reply)
        return UNREADABLE if value is None else to_stored(value)
    if isinstance(reply, list):  # the value, and what else was asked for
        return [opened(opener, key, part) for part in reply]
    return reply


def to_stored(value: bytes) -> bytes:
    """The bytes to store for a value."""
    return _PLAIN_PREFIX + value if value and value[0] == MARKER else value


def from_stored(stored: bytes) -> bytes | None:
    """The value of stored bytes; None if no format that is known made them."""
    if not stored or stored[0] != MARKER:
        return stored
    return stored[2:] if stored.startswith(_ANY_PLAIN) else None
