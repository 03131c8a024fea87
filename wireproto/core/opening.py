"""What a node answers, opened: as if the values in it had not been sealed."""

from __future__ import annotations

from typing import Final, Protocol

from wireproto.core.envelope import ENVELOPE, HEAD_LENGTH, VACANCY, is_enveloped, is_vacancy
from wireproto.core.stored_values import MARKER, to_stored

UNREADABLE: Final = bytes((MARKER, 0xFF))
"""No format begins like this."""
_MARKER: Final = bytes((MARKER,))


class Opener(Protocol):
    """Opens what is stored in a namespace that has keys (`sealing`)."""

    def open(self, key: bytes, stored: bytes) -> bytes | None:
        """The value of stored bytes of any form but an envelope; None if they cannot be opened."""


def opened(opener: Opener, key: bytes, reply: object) -> object:
    """A node's reply with its value as it would be stored plain; `UNREADABLE` for what cannot be opened."""
    if isinstance(reply, bytes):
        return as_plain(opener, key, reply)
    if isinstance(reply, list) and reply and isinstance(reply[0], bytes):  # the value, and what else was asked for
        return [as_plain(opener, key, reply[0]), *reply[1:]]
    return reply


def as_plain(opener: Opener, key: bytes, stored: bytes) -> bytes:
    """Stored bytes of any form with the value in them stored plain, in the envelope that it has."""
    if len(stored) > 1 and (stored[1] == ENVELOPE or stored[1] == VACANCY):
        if is_vacancy(stored):
            return stored
        if is_enveloped(stored):
            return stored[:HEAD_LENGTH] + _opened_value(opener, key, stored[HEAD_LENGTH:])
        if stored[HEAD_LENGTH : HEAD_LENGTH + 1] == _MARKER and opener.open(key, stored[HEAD_LENGTH:]) is not None:
            return UNREADABLE  # a damaged marker must not pass for a plain value
    return _opened_value(opener, key, stored)


def _opened_value(opener: Opener, key: bytes, stored: bytes) -> bytes:
    value = opener.open(key, stored)
    return UNREADABLE if value is None else to_stored(value)
