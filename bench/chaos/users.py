"""Clients of registers, leases and counters: what each asks next, given what it was told."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from bench.chaos.counts import ALL_BITS
from bench.chaos.exchanges import Exchange, Kind

REGISTER: Final = b"register"
LEASE: Final = b"lease"
COUNTER: Final = b"counter"
BITS: Final = b"bits"
"""How keys begin."""


class User(Protocol):
    """Asks for one kind of keys, and learns from the answers."""

    def next(self) -> list[Exchange]:
        """What to ask now, in one packet."""

    def heard(self, exchanges: Sequence[Exchange]) -> None:
        """They were answered."""


class _Names:
    """Keys that several clients share, and values that nobody else writes."""

    def __init__(self, client: int, dice: random.Random, prefix: bytes, keys: int) -> None:
        self._client = client
        self._dice = dice
        self._keys = [b"%b-%d" % (prefix, number) for number in range(keys)]
        self._values = (b"%d-%d" % (client, number) for number in itertools.count())

    def _key(self) -> bytes:
        return self._dice.choice(self._keys)

    def _ask(self, kind: Kind, key: bytes, *, named: str | None = None, number: int = 0) -> Exchange:
        writes = kind in (Kind.WRITE, Kind.CREATE, Kind.SWAP, Kind.FILL)
        value = next(self._values) if writes else None
        return Exchange(self._client, key, kind, time.monotonic(), value, named, number)


class RegisterUser(_Names):
    """Reads values with their versions and swaps them for others, amid writes and deletes."""

    def __init__(self, client: int, dice: random.Random, prefix: bytes, keys: int) -> None:
        super().__init__(client, dice, prefix, keys)
        self._known: tuple[bytes, str] | None = None

    def next(self) -> list[Exchange]:
        """A read, or what follows one; now and then something else."""
        chance = self._dice.random()
        if self._known is not None and chance < 0.8:
            (key, version), self._known = self._known, None
            return [self._ask(Kind.REMOVE if chance < 0.05 else Kind.SWAP, key, named=version)]
        for kind, share in ((Kind.WRITE, 0.88), (Kind.CREATE, 0.94), (Kind.DELETE, 0.97)):
            if 0.8 <= chance < share:
                return [self._ask(kind, self._key())]
        return [self._ask(Kind.READ, self._key())]

    def heard(self, exchanges: Sequence[Exchange]) -> None:
        """Remember a version."""
        for one in exchanges:
            if one.told is not None:
                self._known = (one.key, one.told)


class LeaseUser(_Names):
    """Wants what is missing and loads it, twice, which must succeed once at most; others delete it again."""

    def __init__(self, client: int, dice: random.Random, prefix: bytes, keys: int, lease: int) -> None:
        super().__init__(client, dice, prefix, keys)
        self._lease = lease
        self._held: tuple[bytes, str] | None = None

    def next(self) -> list[Exchange]:
        """What follows a lease: the value, or the lease back, or nothing. Without one, mostly the wish for one."""
        chance = self._dice.random()
        if self._held is not None:
            (key, lease), self._held = self._held, None
            if chance < 0.8:
                return [self._ask(Kind.FILL, key, named=lease) for _ in range(2)]
            if chance < 0.9:
                return [self._ask(Kind.GIVE_BACK, key, named=lease)]
        kind = Kind.TAKE
        for other, share in ((Kind.DELETE, 0.25), (Kind.WRITE, 0.3), (Kind.READ, 0.35)):
            if chance < share:
                kind = other
                break
        return [self._ask(kind, self._key(), number=self._lease if kind is Kind.TAKE else 0)]

    def heard(self, exchanges: Sequence[Exchange]) -> None:
        """Remember a lease."""
        for one in exchanges:
            if one.is_granted and one.told is not None:
                self._held = (one.key, one.told)


class CounterUser(_Names):
    """Counts, and reads what was counted; either by one, or each time by a power of two that nobody else adds."""

    def __init__(self, client: int, dice: random.Random, prefix: bytes, keys: int, bits: Iterator[int]) -> None:
        super().__init__(client, dice, prefix, keys)
        self._bits = bits
        self._latest = b"%b-0" % BITS

    def next(self) -> list[Exchange]:
        """One of them."""
        chance = self._dice.random()
        if chance < 0.4:
            return [self._ask(Kind.COUNT, self._key(), number=1)]
        if chance < 0.5:
            return [self._ask(Kind.READ, self._key())]
        if chance < 0.6:
            return [self._ask(Kind.READ, self._latest)]
        number, bit = divmod(next(self._bits), ALL_BITS)
        self._latest = b"%b-%d" % (BITS, number)
        return [self._ask(Kind.COUNT, self._latest, number=1 << bit)]

    def heard(self, exchanges: Sequence[Exchange]) -> None:
        """There is nothing to learn."""
