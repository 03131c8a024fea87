"""Slows down whoever guesses: an address that has sent many wrong credentials lately waits before it is let in.

Wrong credentials fade, so that nobody is shut out; a right one is taken from any address, only later. Addresses that
behave are not even looked up for long. Times are seconds of a monotonic clock.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict
from typing import Final

TOLERATED: Final = 10
"""Recent wrong credentials of an address that cost it nothing: people mistype, and a fleet may have an old key."""
HALF_LIFE: Final = 10.0
"""Seconds in which half of the wrong credentials are forgotten."""
LONGEST_WAIT: Final = 2.0
WAIT_FOR_EACH: Final = 0.1
"""Seconds to wait for each wrong credential over those tolerated, up to the longest."""
MOST_ADDRESSES: Final = 10_000
"""That are remembered; the one that has been good for longest is forgotten first."""
MOST_WAITING: Final = 256
MOST_WAITING_FOR_EACH: Final = 16
"""Connections that wait, of all and of one address. More are closed at once."""


def group_of(address: str) -> str:
    """What is counted as one: an IPv4 address, or the 64 bits of IPv6 that a provider gives to one customer."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)


class AddressGuard:
    """The wrong credentials of late, by address, and who waits because of them."""

    def __init__(self, most_addresses: int = MOST_ADDRESSES) -> None:
        self._most_addresses = most_addresses
        self._wrong: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """How many there were at which time; the address that sent one last is last."""
        self._waiting: Counter[str] = Counter()
        self._all_waiting = 0

    def note_wrong(self, address: str, now: float) -> None:
        """A credential from there was wrong."""
        group = group_of(address)
        self._wrong[group] = (self._recent(group, now) + 1, now)
        self._wrong.move_to_end(group)
        if len(self._wrong) > self._most_addresses:
            self._wrong.popitem(last=False)

    def wait(self, address: str, now: float) -> float:
        """Seconds that a connection from there has to wait before it is let in; mostly 0."""
        if not self._wrong:
            return 0.0
        group = group_of(address)
        excess = self._recent(group, now) - TOLERATED
        if excess > 0:
            return min(LONGEST_WAIT, WAIT_FOR_EACH * excess)
        if group in self._wrong and excess + TOLERATED < 1:
            del self._wrong[group]
        return 0.0

    def begin_wait(self, address: str) -> bool:
        """Count one more that waits; whether there is room for it. If so, `end_wait` is to follow."""
        group = group_of(address)
        if self._all_waiting >= MOST_WAITING or self._waiting[group] >= MOST_WAITING_FOR_EACH:
            return False
        self._waiting[group] += 1
        self._all_waiting += 1
        return True

    def end_wait(self, address: str) -> None:
        """It waits no longer."""
        group = group_of(address)
        self._all_waiting -= 1
        self._waiting[group] -= 1
        if not self._waiting[group]:
            del self._waiting[group]

    def _recent(self, group: str, now: float) -> float:
        count, at = self._wrong.get(group, (0.0, now))
        return float(count * 0.5 ** ((now - at) / HALF_LIFE))
