"""What a node answers, opened: as if the values in it had not been sealed."""

from __future__ import annotations

from typing import Final, Protocol

from wireproto.core.envelope import HEAD_LENGTH, is_enveloped, is_vacancy
from wireproto.core.stored_values import MARKER, to_stored

UNREADABLE: Final = bytes((MARKER, 0xFF))
"""No format begins like this."""


class Opener(Protocol):
    """Opens what is stored in a namespace that has keys (`sealing`)."""

    def open(self, key: bytes, stored: bytes) -> bytes | None:
        """The value of stored bytes of any form but an envelope; None if they cannot be opened."""


def opened(opener: Opener, key: bytes, reply: object) -> object:
    """A node's reply with its value as it would be stored plain; `UNREADABLE` for what cannot be opened."""
    if isinstance(reply, bytes):
        if is_enveloped(reply):
            return reply[:HEAD_LENGTH] + _opened(opener, key, reply[HEAD_LENGTH:])
        return reply if is_vacancy(reply) else _opened(opener, key, reply)
    if isinstance(reply, list) and reply:  # the value, and what else was asked for
        return [opened(opener, key, reply[0]), *reply[1:]]
    return reply


def _opened(opener: Opener, key: bytes, stored: bytes) -> bytes:
    value = opener.open(key, stored)
    return UNREADABLE if value is None else to_stored(value)
