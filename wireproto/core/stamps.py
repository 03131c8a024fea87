"""Stamps: names for versions and leases, no two of them the same."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Final

PREFIX_LENGTH: Final = 8
_COUNTER_END: Final = 16**8


class Stamps:
    """The stamps of one process: a prefix, and a counter in eight hexadecimal digits.

    `new_prefix` gives 8 random characters of `A-Z a-z 0-9 - _` (48 bits) at each call. A stamp is compared only with
    those of the same key, so that two processes with the same prefix do harm only if they give one key the same number.
    """

    __slots__ = ("_new_prefix", "_numbers", "_prefix")

    def __init__(self, new_prefix: Callable[[], bytes]) -> None:
        self._new_prefix = new_prefix
        self._prefix = new_prefix()
        self._numbers = count()

    def next(self) -> bytes:
        """A stamp that was not given out before: 16 characters."""
        number = next(self._numbers)
        if number >= _COUNTER_END:
            self._prefix, self._numbers = self._new_prefix(), count(1)
            number = 0
        return b"%b%08x" % (self._prefix, number)
