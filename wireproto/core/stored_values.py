"""How a value looks on a node (`docs/PROTOCOL.md`, section 8).

A value that needs nothing is stored as it is, so that `redis-cli GET` shows it. A value that begins with the marker
itself is stored behind the marker and a format byte. 0xFF occurs nowhere in UTF-8, so text is never affected.
"""

from __future__ import annotations

from typing import Final

MARKER: Final = 0xFF
PLAIN: Final = 0x00
"""The format byte of a value that is stored unchanged behind it."""

_PLAIN_PREFIX: Final = bytes((MARKER, PLAIN))
_ANY_PLAIN: Final = bytes((MARKER, PLAIN, MARKER))
"""No other value is stored so: what else follows the two bytes is damaged, and may be a sealed value."""


def to_stored(value: bytes) -> bytes:
    """The bytes to store for a value."""
    return _PLAIN_PREFIX + value if value and value[0] == MARKER else value


def from_stored(stored: bytes) -> bytes | None:
    """The value of stored bytes; None if no format that is known made them."""
    if not stored or stored[0] != MARKER:
        return stored
    return stored[2:] if stored.startswith(_ANY_PLAIN) else None
