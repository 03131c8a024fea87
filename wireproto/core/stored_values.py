"""How a value looks on a node (`docs/PROTOCOL.md`, section 8).

A value that needs nothing is stored as it is, so that `redis-cli GET` shows it. A value that begins with the marker
itself is stored behind the marker and a format byte. 0xFF occurs nowhere in UTF-8, so text is never affected.
"""

from __future__ import annotations

from typing import Final, Protocol

MARKER: Final = 0xFF
PLAIN: Final = 0x00
"""The format byte of a value that is stored unchanged behind it."""

_PLAIN_PREFIX: Final = bytes((MARKER, PLAIN))


class Opener(Protocol):
    """Opens sealed values (`sealing`)."""

    def open(self, key: bytes, stored: bytes) -> bytes | None:
        """The value of stored bytes that begin with the marker; None if they cannot be opened."""


def opened(opener: Opener, key: bytes, reply: object) -> object:
    """A node's reply as if what is sealed in it had been stored unsealed.

    What cannot be opened stays as it is, which is of no known format.
    """
    if isinstance(reply, list):  # the value, and what else was asked for
        return [opened(opener, key, part) for part in reply]
    if not isinstance(reply, bytes) or not reply or reply[0] != MARKER or reply.startswith(_PLAIN_PREFIX):
        return reply
    value = opener.open(key, reply)
    return reply if value is None else to_stored(value)


def to_stored(value: bytes) -> bytes:
    """The bytes to store for a value."""
    return _PLAIN_PREFIX + value if value and value[0] == MARKER else value


def from_stored(stored: bytes) -> bytes | None:
    """The value of stored bytes; None if no format that is known made them."""
    if not stored or stored[0] != MARKER:
        return stored
    return stored[2:] if stored.startswith(_PLAIN_PREFIX) else None
