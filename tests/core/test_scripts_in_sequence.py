"""The scripts against a model of one key in plain Python, over any sequence of requests and of times.

The model says in the protocol's words what a key does. It knows nothing of how a value is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.scripted_node import KEY, NOW, SLACK, ScriptedNode, envelope, node
from wireproto.core.commands import READ
from wireproto.core.envelope import NO_STAMP, is_enveloped, read_envelope
from wireproto.core.node_replies import render

__all__ = ["node"]

UNIT = 10_000
"""Milliseconds. All times are multiples of it, so that it does not matter how long a test takes."""


@dataclass
class Key:
    """What a key is. `ends` is when its time is over by the server's clock, None if only the node knows (`px`).

    The node's clock stands still here, so what it has it keeps: `px` is what it should say of the time that is left.
    """

    value: bytes | None = None
    version: bytes | None = None
    ends: int | None = None
    stale: int = 0
    lease: bytes | None = None
    lease_ends: int = 0
    px: int | None = None

    def is_present(self, now: int) -> bool:
        return self.value is not None and (self.ends is None or self.ends > now)

    def may_be_served(self, now: int) -> bool:
        return self.is_present(now) or (
            self.value is not None and self.ends is not None and self.ends + self.stale > now
        )

    def is_held(self, now: int) -> bool:
        """Whether there is a lease. One on nothing holds as long as the node has it."""
        return self.lease is not None and (self.value is None or self.lease_ends > now)

    def stays_until(self, now: int) -> None:
        """The node is told anew when to forget it."""
        if self.ends is not None:
            self.px = max(self.ends + self.stale, self.lease_ends) - now

    # -- requests; what they are answered

    def read(self, now: int, left: int, version: bytes, lease: bytes, lease_ms: int, early: int) -> list[object]:
        """Value, version, time left, lease, time for which it is held, whether it is stale.

        `left` is what the node says of the time that is left, if only the node knows.
        """
        if not self.may_be_served(now):
            if not lease:
                return [None, None, -1, None, 0, False]
            if self.is_held(now):
                held = self.px if self.value is None else self.lease_ends - now
                return [None, None, -1, None, held, False]
            self.become(Key(lease=lease, lease_ends=now + lease_ms, px=lease_ms))
            return [None, None, -1, lease, 0, False]
        is_fresh = self.is_present(now)
        if not is_fresh and not lease:
            return [None, None, -1, None, 0, False]
        if self.ends is not None:
            left = self.ends - now
        if version and is_fresh and self.version is None:
            self.version = version  # the node goes on to forget it when it would have
        granted, held = None, 0
        if lease and (not is_fresh or 0 <= left < early):
            if self.is_held(now):
                held = self.lease_ends - now
            else:
                granted = lease
                self.ends = now + left
                self.lease, self.lease_ends = lease, now + lease_ms
                self.stays_until(now)
        return [self.value, self.version, left, granted, held, not is_fresh]

    def holds(self, now: int, condition: str, operand: bytes) -> bool:
        return {
            "": True,
            "nx": not self.is_present(now),
            "xx": self.is_present(now),
            "ver": self.is_present(now) and self.version == operand,
            "lease": self.is_held(now) and self.lease == operand,
        }[condition]

    def write(self, now: int, value: bytes, version: bytes | None, expiry: int | str, stale: int) -> None:
        new = Key(value, version)
        if expiry == "keepttl" and self.is_present(now):
            new.ends, new.stale, new.px = self.ends, self.stale, self.px
            new.stays_until(now)
        elif isinstance(expiry, int):
            new.px = expiry + stale
            if stale:
                new.ends, new.stale = now + expiry, stale
        self.become(new)

    def delete(self, now: int, condition: str, operand: bytes) -> int:
        if condition == "ver" and not self.is_present(now):
            return 0
        if not self.holds(now, condition, operand):
            return -1
        if condition == "ver" or not self.may_be_served(now):
            self.become(Key())
        else:
            self.lease, self.lease_ends = None, 0
            self.stays_until(now)
        return 1

    def touch(self, now: int, px: int) -> int:
        if not self.is_present(now):
            return 0
        if self.ends is None:
            self.px = px
        else:
            self.ends = now + px
            self.stays_until(now)
        return 1

    def incr(self, now: int, by: int, px: int | None) -> bytes | None:
        """None if it is refused."""
        if not self.is_present(now):
            self.become(Key(b"%d" % by, px=px))
            return self.value
        assert self.value is not None
        try:
            result = int(self.value) + by
        except ValueError:
            return None
        if not -(2**63) <= result < 2**63:
            return None
        self.become(Key(b"%d" % result, px=self.px if self.ends is None else self.ends - now))
        return self.value

    def become(self, other: Key) -> None:
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(other, name))


times = st.integers(1, 6).map(lambda number: number * UNIT)
waits = st.tuples(st.just("wait"), st.sampled_from([1, 1, 2, 3, 5]))
values = st.sampled_from([b"", b"v", b"\xff\x01\x03new\0sealed", b"5", b"-7", b"%d" % (2**63 - 1), b"%d" % -(2**63)])
reads = st.tuples(
    st.just("read"), st.booleans(), st.sampled_from([True, True, False]), times, st.sampled_from([0, 25_000, 10**8])
)
writes = st.tuples(
    st.just("write"),
    st.sampled_from(["", "nx", "xx", "ver", "lease"]),
    st.integers(0, 4),
    values,
    st.one_of(times, times, st.sampled_from(["keepttl", ""])),
    st.sampled_from([0, UNIT, 6 * UNIT]),
)
stale_writes = st.tuples(
    st.just("write"), st.just(""), st.just(0), values, st.just(UNIT), times.map(lambda time: time * 2)
)
deletes = st.tuples(st.just("delete"), st.sampled_from(["ver", "lease", "lease"]), st.integers(0, 4))
touches = st.tuples(st.just("touch"), times)
counts = st.tuples(st.just("incr"), st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 2), st.none() | times)
plain = st.tuples(st.sampled_from(["SET", "UNLINK"]), values, st.none() | times)
requests = st.lists(
    st.one_of(reads, reads, reads, writes, writes, stale_writes, deletes, touches, counts, waits, waits, plain),
    min_size=10,
    max_size=40,
)


class Both:
    """The node and the model, given the same requests."""

    def __init__(self, node: ScriptedNode) -> None:
        self.node, self.key = node, Key()
        self.stamps: list[bytes] = [b"never-given-out-"]
        self._numbers = count()
        node.put(None)

    def stamp(self) -> bytes:
        self.stamps.append(b"stamp-%010d" % next(self._numbers))
        return self.stamps[-1]

    def operand(self, condition: str, choice: int) -> bytes:
        """The one that holds, if there is one; or another."""
        good = {"ver": self.key.version, "lease": self.key.lease}.get(condition)
        return self.stamps[-choice % len(self.stamps)] if choice == 4 or good is None else good

    # -- requests

    def wait(self, units: int) -> None:
        self.node.now += units * UNIT

    def read(self, has_version: bool, has_lease: bool, lease_ms: int, early: int) -> None:
        version, lease = (self.stamp() if wanted else b"" for wanted in (has_version, has_lease))
        reply = self.node.read(version=version, lease=lease, lease_ms=lease_ms, early=early)
        assert isinstance(reply, list)
        stored, left, granted, held, stale = reply
        if self.key.value is not None and self.key.ends is None:
            assert left == -1 if self.key.px is None else self.key.px - SLACK < left <= self.key.px
        found = None if stored is None else read_envelope(stored) if is_enveloped(stored) else stored
        seen_version = None
        if found is not None and not isinstance(found, bytes):
            seen_version = None if found.version == NO_STAMP else found.version
            found = found.value
        on_nothing = self.key.value is None
        expected = self.key.read(self.node.now, left, version, lease, lease_ms, early)
        if on_nothing and expected[4]:
            assert isinstance(expected[4], int)
            assert expected[4] - SLACK < held <= expected[4]
            held = expected[4]
        assert [found, seen_version, left, granted, held, bool(stale)] == expected

    def write(
        self,
        condition: str,
        choice: int,
        value: bytes,
        expiry: int | str,
        stale: int,
    ) -> None:
        now, operand = self.node.now, self.operand(condition, choice)
        version = self.stamp() if condition == "ver" else None
        stale = stale if isinstance(expiry, int) else 0
        reply = self.node.write(
            value,
            condition,
            operand,
            version=version or NO_STAMP,
            expiry=expiry + stale if isinstance(expiry, int) else expiry,
            fresh=now + expiry if stale and isinstance(expiry, int) else 0,
            stale=stale,
        )
        if not self.key.holds(now, condition, operand):
            assert reply is None
            return
        assert reply == (version or b"OK")
        self.key.write(now, value, version, expiry, stale)

    def delete(self, condition: str, choice: int) -> None:
        operand = self.operand(condition, choice)
        assert self.node.delete(condition, operand) == self.key.delete(self.node.now, condition, operand)

    def touch(self, px: int) -> None:
        assert self.node.touch(px) == self.key.touch(self.node.now, px)

    def incr(self, by: int, px: int | None) -> None:
        reply = self.node.incr(by, "" if px is None else px)
        expected = self.key.incr(self.node.now, by, px)
        assert str(reply).startswith("TYPE") if expected is None else reply == expected, reply

    def plain(self, verb: str, value: bytes, px: int | None) -> None:
        """What is done without a script."""
        if verb == "UNLINK":
            self.node.client.unlink(KEY)
            self.key.become(Key())
            return
        self.node.client.set(KEY, value, px=px)
        self.key.become(Key(value, px=px))

    # -- what everybody sees

    def agree(self) -> None:
        now, key = self.node.now, self.key
        stored = self.node.stored
        assert (stored is None) == (key.value is None and key.lease is None)
        if stored is not None:
            assert self.node.expires_in(key.px)
        outcome, line = render(READ, stored, lambda: now)
        assert outcome in ("OK", "MISS", "CORRUPT")  # what is sealed nobody has opened here
        assert (outcome != "MISS") == key.is_present(now)
        if outcome == "OK":
            assert key.value is not None
            assert line == b"OK %d:%b\n" % (len(key.value), key.value)


@given(requests)
@settings(max_examples=120)
def test_any_sequence_of_requests(node: ScriptedNode, requests: list[tuple[object, ...]]) -> None:
    both = Both(node)
    for name, *arguments in requests:
        if name in ("SET", "UNLINK"):
            both.plain(name, *arguments)  # type: ignore[arg-type]
        else:
            getattr(both, str(name))(*arguments)
        both.agree()


def test_the_model_itself() -> None:
    """A life of a key, by hand, so that a model that agrees with everything would be noticed."""
    key = Key()
    assert key.read(NOW, -1, b"", b"L", 5, 0) == [None, None, -1, b"L", 0, False]
    assert key.read(NOW, -1, b"", b"M", 5, 0) == [None, None, -1, None, 5, False]
    assert key.holds(NOW, "lease", b"L")
    key.write(NOW, b"v", None, 10, 20)
    assert key.read(NOW + 9, -1, b"V", b"", 0, 0) == [b"v", b"V", 1, None, 0, False]
    assert key.read(NOW + 10, -1, b"", b"", 0, 0) == [None, None, -1, None, 0, False]
    assert key.read(NOW + 10, -1, b"", b"N", 5, 0) == [b"v", b"V", 0, b"N", 0, True]
    assert key.delete(NOW + 11, "lease", b"N") == 1
    assert key.read(NOW + 30, -1, b"", b"", 0, 0) == [None, None, -1, None, 0, False]
    assert envelope(b"") == b"\xffE" + b" " * 16 + b"0" * 28 + b" " * 16 + b"0" * 14
