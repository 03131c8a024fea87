"""What stands around a value that has a version or a lease, or may be served stale (`docs/PROTOCOL.md`, section 8).

    0xFF E  version  fresh until  stale  lease  lease until  value       envelope
    0xFF V                               lease  lease until              vacancy: the key is absent, and leased

It is text, so that `redis-cli GET` tells it to a person. The scripts that run on the nodes (`scripts`) make and change
both; here they are read, and made where no script is needed.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from wireproto.core.stored_values import MARKER

ENVELOPE: Final = ord("E")
VACANCY: Final = ord("V")
"""The format bytes. No single damaged bit makes one of them of another format's."""
STAMP_LENGTH: Final = 16
"""Characters of a version and of a lease."""
TIME_DIGITS: Final = 14
"""Of a time in milliseconds: enough for the longest time to live."""
NO_STAMP: Final = b" " * STAMP_LENGTH
"""Not what a client could send."""

_VERSION_AT: Final = 2
_FRESH_AT: Final = _VERSION_AT + STAMP_LENGTH
_STALE_AT: Final = _FRESH_AT + TIME_DIGITS
_LEASE_AT: Final = _STALE_AT + TIME_DIGITS
_LEASE_UNTIL_AT: Final = _LEASE_AT + STAMP_LENGTH
HEAD_LENGTH: Final = _LEASE_UNTIL_AT + TIME_DIGITS
"""Bytes before the value."""
_VACANCY_LENGTH: Final = 2 + STAMP_LENGTH + TIME_DIGITS


class Envelope(NamedTuple):
    """What an envelope says. Times are milliseconds since 1970, 0 for none."""

    version: bytes
    fresh_until: int
    stale: int
    """For how many milliseconds behind `fresh_until` the value may be served."""
    lease_until: int
    value: bytes
    """In a stored form without envelope."""

    def is_fresh(self, now_ms: int) -> bool:
        """Whether the key is present, for everybody."""
        return not self.fresh_until or now_ms < self.fresh_until

    def may_be_served(self, now_ms: int) -> bool:
        """Whether the value may be given to those who ask with a lease."""
        return not self.fresh_until or now_ms < self.fresh_until + self.stale


def is_enveloped(stored: bytes) -> bool:
    """Whether these stored bytes are an envelope."""
    return len(stored) > 1 and stored[0] == MARKER and stored[1] == ENVELOPE


def is_vacancy(stored: bytes) -> bool:
    """Whether these stored bytes stand for an absent key."""
    return len(stored) == _VACANCY_LENGTH and stored[0] == MARKER and stored[1] == VACANCY


def read_envelope(stored: bytes) -> Envelope | None:
    """What an envelope says; None if it is damaged."""
    if len(stored) < HEAD_LENGTH:
        return None
    fresh, stale = stored[_FRESH_AT:_STALE_AT], stored[_STALE_AT:_LEASE_AT]
    lease_until = stored[_LEASE_UNTIL_AT:HEAD_LENGTH]
    if not (fresh + stale + lease_until).isdigit():
        return None
    version = stored[_VERSION_AT:_FRESH_AT]
    return Envelope(version, int(fresh), int(stale), int(lease_until), stored[HEAD_LENGTH:])


def vacant_until(stored: bytes) -> int:
    """Until when a vacancy is leased; 0 if it is damaged."""
    digits = stored[2 + STAMP_LENGTH :]
    return int(digits) if digits.isdigit() else 0


def in_envelope(value: bytes, fresh_until: int, stale: int) -> bytes:
    """A stored form in an envelope without version and lease. Times are in milliseconds."""
    return b"\xffE%b%014d%014d%b%014d%b" % (NO_STAMP, fresh_until, stale, NO_STAMP, 0, value)
