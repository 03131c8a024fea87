"""Names for versions and leases."""

from __future__ import annotations

import re
from itertools import count

from wireproto.core import stamps
from wireproto.core.envelope import NO_STAMP, STAMP_LENGTH
from wireproto.core.node_replies import _STAMP
from wireproto.core.stamps import PREFIX_LENGTH, Stamps
from wireproto.core.verbs import BY_NAME, MAX_TOKEN, check_options


def numbered_prefixes() -> Stamps:
    """Each prefix says how many there were before."""
    numbers = count()
    return Stamps(lambda: b"prefix-%d" % next(numbers))


def test_no_two_are_the_same() -> None:
    made = Stamps(lambda: b"prefix-0")
    seen = [made.next() for _ in range(100_000)]
    assert len(set(seen)) == len(seen)
    assert {len(stamp) for stamp in seen} == {STAMP_LENGTH}
    assert seen[0] == b"prefix-000000000"
    assert seen[-1] == b"prefix-00001869f"


def test_two_processes_have_prefixes_of_their_own() -> None:
    prefixes = iter([b"prefix-a", b"prefix-b"])
    one, two = Stamps(lambda: next(prefixes)), Stamps(lambda: next(prefixes))
    assert not {one.next() for _ in range(100)} & {two.next() for _ in range(100)}


def test_a_prefix_is_drawn_once_and_again_when_its_numbers_are_used_up() -> None:
    made = numbered_prefixes()
    assert made.next() == b"prefix-000000000"
    made._numbers = count(16**8 - 2)
    last = [made.next() for _ in range(5)]
    assert last == [
        b"prefix-0fffffffe",
        b"prefix-0ffffffff",
        b"prefix-100000000",
        b"prefix-100000001",
        b"prefix-100000002",
    ]
    assert len(set(last)) == 5


def test_each_can_be_sent_by_a_client_and_told_to_one() -> None:
    spec = BY_NAME[b"WRITE"]
    for prefix in (b"AZaz09-_", b"--------", b"________", b"00000000"):
        assert len(prefix) == PREFIX_LENGTH
        stamp = Stamps(lambda prefix=prefix: prefix).next()  # type: ignore[misc]
        assert re.fullmatch(rb"[A-Za-z0-9._+-]{16}", stamp), "an option's value"
        assert check_options(spec, {"ver": stamp.decode()}).tokens == {"ver": stamp}
        assert _STAMP.fullmatch(stamp)
    assert STAMP_LENGTH <= MAX_TOKEN
    assert not _STAMP.fullmatch(NO_STAMP), "what is not there is not told"
    assert stamps.PREFIX_LENGTH + 8 == STAMP_LENGTH
