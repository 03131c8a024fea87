"""What stands around a value, read and made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.scripted_node import L1, NOW, V1, envelope, vacancy
from wireproto.core.envelope import (
    ENVELOPE,
    HEAD_LENGTH,
    NO_STAMP,
    TIME_DIGITS,
    VACANCY,
    Envelope,
    in_envelope,
    is_enveloped,
    is_vacancy,
    read_envelope,
    vacant_until,
)
from wireproto.core.sealing import SEALED
from wireproto.core.stored_values import MARKER, PLAIN, from_stored, to_stored
from wireproto.core.verbs import MAX_LEASE_MS, MAX_TTL_SECONDS

times = st.integers(0, 10**TIME_DIGITS - 1)
stamps = st.binary(min_size=16, max_size=16)


@given(stamps, times, times, stamps, times, st.binary(max_size=100))
def test_an_envelope_says_what_was_put_into_it(
    version: bytes, fresh: int, stale: int, lease: bytes, until: int, value: bytes
) -> None:
    stored = envelope(value, version=version, fresh=fresh, stale=stale, lease=lease, until=until)
    assert is_enveloped(stored)
    assert len(stored) == HEAD_LENGTH + len(value)
    assert read_envelope(stored) == Envelope(version, fresh, stale, until, value)


@given(st.binary(max_size=100), times, times)
def test_one_that_is_made_here_has_no_version_and_no_lease(value: bytes, fresh: int, stale: int) -> None:
    stored = in_envelope(value, fresh, stale)
    assert stored == envelope(value, fresh=fresh, stale=stale)
    assert read_envelope(stored) == Envelope(NO_STAMP, fresh, stale, 0, value)


def test_it_is_text() -> None:
    """As `docs/PROTOCOL.md` has it: a person reads it with `redis-cli GET`."""
    assert in_envelope(b"v", NOW, 300_000) == (
        b"\xffE" + b" " * 16 + b"01700000000000" + b"00000000300000" + b" " * 16 + b"00000000000000" + b"v"
    )


@pytest.mark.parametrize(
    ("fresh", "stale", "is_fresh", "may_be_served"),
    [
        (0, 0, True, True),
        (0, 5, True, True),
        (NOW + 1, 0, True, True),
        (NOW, 0, False, False),
        (NOW, 1, False, True),
        (NOW - 5, 5, False, False),
        (NOW - 5, 6, False, True),
    ],
)
def test_when_a_value_is_what(fresh: int, stale: int, *, is_fresh: bool, may_be_served: bool) -> None:
    found = read_envelope(in_envelope(b"v", fresh, stale))
    assert found is not None
    assert found.is_fresh(NOW) == is_fresh
    assert found.may_be_served(NOW) == may_be_served


@pytest.mark.parametrize("length", [2, 3, HEAD_LENGTH - 1])
def test_one_that_is_cut_is_damaged(length: int) -> None:
    cut = in_envelope(b"", NOW, 1)[:length]
    assert is_enveloped(cut)
    assert read_envelope(cut) is None


@pytest.mark.parametrize("place", [*range(18, 46), *range(62, HEAD_LENGTH)])
@pytest.mark.parametrize("byte", [b" ", b"-", b"+", b"_", b"x", b"\0", b"\xb2"])
def test_one_whose_times_are_no_digits_is_damaged(place: int, byte: bytes) -> None:
    stored = in_envelope(b"v", NOW, 1)
    assert read_envelope(stored[:place] + byte + stored[place + 1 :]) is None


def test_the_longest_times_have_room() -> None:
    longest = MAX_TTL_SECONDS * 1000
    assert len(in_envelope(b"", NOW + longest, longest)) == HEAD_LENGTH
    assert NOW + 2 * longest < 10**TIME_DIGITS
    assert NOW + MAX_LEASE_MS < 10**TIME_DIGITS


@pytest.mark.parametrize("stored", [b"", b"E", b"\xff", b"\xff\x00\xff", b"\xff\x01", b"\xffe", b"v", vacancy(L1, NOW)])
def test_what_is_no_envelope(stored: bytes) -> None:
    assert not is_enveloped(stored)


def test_a_vacancy() -> None:
    stored = vacancy(L1, NOW + 5)
    assert is_vacancy(stored)
    assert vacant_until(stored) == NOW + 5
    assert vacant_until(stored[:-1] + b"x") == 0, "it is damaged"
    for other in (stored[:-1], stored + b"0", b"\xfe" + stored[1:], stored.replace(b"V", b"W"), b"", b"\xffV"):
        assert not is_vacancy(other)
    assert not is_vacancy(envelope(b"", version=V1))


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda tail: b"\xff" + tail))
def test_no_value_is_stored_like_an_envelope_or_a_vacancy(value: bytes) -> None:
    assert not is_enveloped(to_stored(value))
    assert not is_vacancy(to_stored(value))


def test_a_damaged_bit_makes_no_format_of_another() -> None:
    """Nor a value, for what begins with the marker and is of no known format is none."""
    formats = (PLAIN, SEALED, ENVELOPE, VACANCY)
    for one in (ENVELOPE, VACANCY):
        flipped = {one ^ 1 << bit for bit in range(8)}
        assert not flipped & set(formats)
        assert all(from_stored(bytes((MARKER, other)) + b"v") is None for other in flipped)
