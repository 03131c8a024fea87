"""Sealed values: what was sealed opens at its own place and nowhere else, and nothing that was touched opens at all."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.test_keyring import key, sealing
from wireproto.core import sealing as sealing_module
from wireproto.core.keyring import EncryptionKey, Keyring
from wireproto.core.sealing import OVERHEAD, NamespaceSealer, Sealer
from wireproto.core.stored_values import to_stored
from wireproto.core.xaes import MESSAGES_OF_A_PREFIX, PREFIX_BYTES, XaesKey

KEY, VALUE = b"user:1", b"the quick brown fox jumps over the lazy dog"
KEYRING = Keyring((key("a", 1), key("b", 2), key("own", 3, namespace="shop")))


def dice() -> bytes:
    return secrets.token_bytes(PREFIX_BYTES)


def counted_dice() -> Callable[[], bytes]:
    """Prefixes that a test can foretell: 1, 2, 3 ..."""
    numbers = iter(range(1, 1000))
    return lambda: next(numbers).to_bytes(PREFIX_BYTES, "big")


def of(keyring: Keyring, namespace: str = "default") -> NamespaceSealer:
    return Sealer(keyring, dice).for_namespace(namespace)


VALUES = of(KEYRING)
SEALED = VALUES.seal(KEY, VALUE)
ANY_VALUE = st.one_of(st.binary(max_size=300), st.binary(max_size=60).map(lambda tail: b"\xff" + tail))
ANY_KEY = st.binary(min_size=1, max_size=80)


# --- Back and forth ---------------------------------------------------------------------------------------------------


@given(ANY_KEY, ANY_VALUE)
def test_every_value_comes_back(name: bytes, value: bytes) -> None:
    stored = VALUES.seal(name, value)
    assert VALUES.open(name, stored) == value
    assert of(KEYRING).open(name, stored) == value, "and to another process"


@given(ANY_KEY, ANY_VALUE)
def test_every_value_comes_back_where_nothing_seals(name: bytes, value: bytes) -> None:
    for values in (of(Keyring()), of(Keyring((key("a", 1, "open"),))), of(Keyring((key("a"),), plain=("default",)))):
        assert not values.seals
        stored = values.seal(name, value)
        assert stored == to_stored(value)
        assert values.open(name, stored) == value
        assert VALUES.open(name, stored) == value, "and where encryption was switched on since"


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 8_000, 8_192, 100_000, 2**20, 2**24])
def test_values_of_any_size(size: int) -> None:
    value = secrets.token_bytes(size)
    stored = VALUES.seal(KEY, value)
    assert len(stored) == size + OVERHEAD + len("b")
    assert VALUES.open(KEY, stored) == value


def test_what_is_stored_looks_as_it_is_documented() -> None:
    """Taken apart and opened by hand, with the cipher alone."""
    first = Sealer(KEYRING, counted_dice()).for_namespace("shop").seal(KEY, VALUE)
    assert first[:6] == b"\xff\x01\x03own"
    nonce, body = first[6:30], first[30:]
    assert nonce == bytes(11) + b"\x01" + bytes(12)
    xaes = XaesKey(KEYRING.keys[2].secret)
    assert xaes.subkey(nonce[:12]).decrypt(nonce[12:], body, b"\xff\x01\x03own" + b"\x04shop" + KEY) == VALUE


def test_nothing_of_a_value_is_stored() -> None:
    assert VALUE[:8] not in SEALED
    assert KEY not in SEALED
    assert VALUES.seal(KEY, VALUE) != VALUES.seal(KEY, VALUE)


# --- What must not open (F18) -----------------------------------------------------------------------------------------


def test_no_bit_may_be_flipped() -> None:
    for position in range(len(SEALED) * 8):
        damaged = bytearray(SEALED)
        damaged[position // 8] ^= 1 << position % 8
        assert VALUES.open(KEY, bytes(damaged)) is None, position


def test_no_byte_may_be_another() -> None:
    for position, byte in enumerate(SEALED):
        for other in range(256):
            damaged = SEALED[:position] + bytes([other]) + SEALED[position + 1 :]
            assert (VALUES.open(KEY, damaged) == VALUE) == (other == byte)


@pytest.mark.parametrize("value", [b"", VALUE, b"\xff\x00\xff" * 20])
def test_it_may_be_cut_nowhere(value: bytes) -> None:
    stored = VALUES.seal(KEY, value)
    for length in range(1, len(stored)):
        assert VALUES.open(KEY, stored[:length]) is None, length
    for length in range(1, len(stored) - OVERHEAD):
        assert VALUES.open(KEY, b"\xff" + stored[1 + length :]) is None, length


def test_a_large_value_may_be_damaged_nowhere() -> None:
    stored = VALUES.seal(KEY, secrets.token_bytes(100_000))
    for position in range(0, len(stored), 997):
        damaged = bytearray(stored)
        damaged[position] ^= 0x80
        assert VALUES.open(KEY, bytes(damaged)) is None
        assert VALUES.open(KEY, stored[: position + 1]) is None


@given(st.binary(max_size=120))
def test_nothing_that_is_made_up_opens(tail: bytes) -> None:
    for start in (b"\xff", b"\xff\x01", b"\xff\x01\x01", b"\xff\x01\x01a", SEALED[:20], SEALED[:40]):
        assert VALUES.open(KEY, start + tail) in (None, tail if start == b"\xff" and not tail else None)


@given(st.binary(min_size=1, max_size=20))
def test_nothing_may_be_added(tail: bytes) -> None:
    assert VALUES.open(KEY, SEALED + tail) is None


@given(ANY_KEY, ANY_KEY, st.sampled_from(["default", "shop"]), st.sampled_from(["default", "shop", "defaul", "a"]))
def test_it_opens_at_its_own_place_only(name: bytes, other: bytes, here: str, there: str) -> None:
    sealer = Sealer(Keyring((key("a"),)), dice)
    stored = sealer.for_namespace(here).seal(name, VALUE)
    opened = sealer.for_namespace(there).open(other, stored)
    assert opened == (VALUE if (name, here) == (other, there) else None)


@pytest.mark.parametrize(("here", "name", "there", "other"), [("a", b"b:c", "ab", b":c"), ("a", b"bc", "ab", b"c")])
def test_namespace_and_key_do_not_run_into_each_other(here: str, name: bytes, there: str, other: bytes) -> None:
    sealer = Sealer(Keyring((key("a"),)), dice)
    assert sealer.for_namespace(there).open(other, sealer.for_namespace(here).seal(name, VALUE)) is None


def test_a_key_that_is_not_known_any_more() -> None:
    assert of(Keyring((key("c"),))).open(KEY, SEALED) is None
    assert of(Keyring()).open(KEY, SEALED) is None


def test_another_key_of_the_same_id() -> None:
    assert of(Keyring((EncryptionKey("b", None, bytes(32), 0, "seal"),))).open(KEY, SEALED) is None


def test_a_key_of_a_namespace_opens_nothing_of_another() -> None:
    """Also what it sealed there itself, when it was still for all."""
    narrowed = Keyring((EncryptionKey("b", "shop", KEYRING.keys[1].secret, 0, "seal"),))
    assert of(narrowed).open(KEY, SEALED) is None
    in_shop = Sealer(Keyring(KEYRING.keys[:2]), dice).for_namespace("shop").seal(KEY, VALUE)
    assert of(narrowed, "shop").open(KEY, in_shop) == VALUE


@pytest.mark.parametrize("form", [b"\x00", b"\x02", b"\x11", b"\xff"])
def test_a_form_that_is_not_known(form: bytes) -> None:
    assert VALUES.open(KEY, b"\xff" + form + SEALED[2:]) is None


@given(st.binary(max_size=80))
def test_a_plain_value_is_no_damaged_one(tail: bytes) -> None:
    for value in (tail, b"\x7f" + SEALED[1:8] + tail, b"\x00\x01\x01b" + bytes(100)):
        assert VALUES.open(KEY, value) == (value if value[:1] != b"\xff" else VALUES.open(KEY, value))


# --- The keyring changes ----------------------------------------------------------------------------------------------


def test_a_change_reaches_those_who_seal_already() -> None:
    sealer = Sealer(Keyring(), dice)
    values = sealer.for_namespace("default")
    assert (values.seals, values.opens, sealer.epoch) == (False, False, 0)
    plain = values.seal(KEY, VALUE)
    sealer.update(Keyring((key("a", 1),)))
    assert (values.seals, values.opens, sealer.epoch) == (True, True, 1)
    with_a = values.seal(KEY, VALUE)
    sealer.update(Keyring((key("a", 1), key("b", 2))))
    with_b = values.seal(KEY, VALUE)
    sealer.update(Keyring((key("a", 1, "open"), key("b", 2, "open"))))
    assert (values.seals, values.opens, sealer.epoch) == (False, True, 3)
    assert values.seal(KEY, VALUE) == VALUE
    assert (with_a[3:4], with_b[3:4]) == (b"a", b"b")
    assert [values.open(KEY, stored) for stored in (plain, with_a, with_b)] == [VALUE] * 3
    sealer.update(Keyring((key("b", 2),)))
    assert [values.open(KEY, stored) for stored in (plain, with_a, with_b)] == [VALUE, None, VALUE]
    assert sealer.for_namespace("default") is values
    assert sealing(sealer.keyring, "default") == "b"


def test_a_key_that_was_taken_away_and_given_back_opens_again() -> None:
    sealer = Sealer(KEYRING, dice)
    values = sealer.for_namespace("default")
    stored = values.seal(KEY, VALUE)
    sealer.update(Keyring())
    assert values.open(KEY, stored) is None
    sealer.update(KEYRING)
    assert values.open(KEY, stored) == VALUE


# --- Nonces -----------------------------------------------------------------------------------------------------------


def nonces(values: NamespaceSealer, count: int) -> Iterator[bytes]:
    for _ in range(count):
        stored = values.seal(KEY, b"")
        start = 3 + stored[2]
        yield stored[start : start + 24]


def test_nonces_count_on_over_namespaces_and_changes_of_the_keyring() -> None:
    sealer = Sealer(Keyring((key("a", 1),)), counted_dice())
    one, other = sealer.for_namespace("one"), sealer.for_namespace("other")
    seen = [*nonces(one, 3), *nonces(other, 3)]
    sealer.update(Keyring((key("a", 1), key("own", namespace="other"))))
    seen += [*nonces(one, 2), *nonces(other, 2)]
    prefixes = [nonce[11] for nonce in seen]
    numbers = [int.from_bytes(nonce[12:], "big") for nonce in seen]
    assert prefixes == [1] * 8 + [2] * 2, "each key has a prefix of its own"
    assert numbers == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1]


def test_after_renewing_nothing_is_sealed_with_the_old_prefix() -> None:
    sealer = Sealer(KEYRING, counted_dice())
    one, other = sealer.for_namespace("one"), sealer.for_namespace("shop")
    assert [nonce[11] for nonce in (*nonces(one, 2), *nonces(other, 2))] == [1, 1, 2, 2]
    sealer.renew()
    sealer.renew()
    assert [nonce[11] for nonce in (*nonces(other, 2), *nonces(one, 2))] == [3, 3, 4, 4]


def test_a_key_that_comes_back_draws_a_new_prefix() -> None:
    sealer = Sealer(KEYRING, counted_dice())
    values = sealer.for_namespace("default")
    first = next(nonces(values, 1))
    sealer.update(Keyring())
    sealer.update(KEYRING)
    assert next(nonces(values, 1)) != first


def test_a_prefix_ends_after_its_messages() -> None:
    """2^32 of them take an hour, so it is told that it is near the end."""
    sealer = Sealer(Keyring((key("a"),)), counted_dice())
    values = sealer.for_namespace("default")
    list(nonces(values, 1))
    (stream,) = sealer._streams.values()
    stream.numbers = sealing_module.count(MESSAGES_OF_A_PREFIX - 2)
    seen = list(nonces(values, 4))
    assert [(nonce[11], int.from_bytes(nonce[12:], "big")) for nonce in seen] == [
        (1, MESSAGES_OF_A_PREFIX - 2),
        (1, MESSAGES_OF_A_PREFIX - 1),
        (2, 0),
        (2, 1),
    ]
