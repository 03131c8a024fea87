"""What a node answers, opened."""

from __future__ import annotations

from itertools import count

import pytest

from tests.core.scripted_node import L1, NOW, V1, envelope, vacancy
from wireproto.core.commands import READ
from wireproto.core.envelope import HEAD_LENGTH
from wireproto.core.keyring import EncryptionKey, Keyring
from wireproto.core.node_replies import render
from wireproto.core.opening import UNREADABLE, opened
from wireproto.core.sealing import NamespaceSealer, Sealer
from wireproto.core.stored_values import to_stored

KEY = b"k"
VALUES = [b"", b"v", b"\xff", b"\xff\x00", bytes(range(256)), b"42", b"\xffE" + b" " * 80, b"x" * 10_000]


def sealer(secret: bytes = b"s") -> NamespaceSealer:
    numbers = count()
    keyring = Keyring((EncryptionKey("new", None, secret * 32, 1, "seal"),))
    return Sealer(keyring, lambda: next(numbers).to_bytes(12, "big")).for_namespace("ns")


def enveloped(value: bytes) -> bytes:
    return envelope(value, version=V1, fresh=NOW + 5, stale=7, lease=L1, until=NOW + 9)


@pytest.mark.parametrize("value", VALUES)
def test_what_is_sealed_comes_as_if_it_were_plain(value: bytes) -> None:
    opener = sealer()
    sealed, plain = opener.seal(KEY, value), to_stored(value)
    for stored in (sealed, plain):
        assert opened(opener, KEY, stored) == plain
        assert opened(opener, KEY, enveloped(stored)) == enveloped(plain), "the envelope stays as it is"
        assert opened(opener, KEY, [stored, 5, None, 0, 0]) == [plain, 5, None, 0, 0]
        assert opened(opener, KEY, [enveloped(stored), -1, L1, 0, 1]) == [enveloped(plain), -1, L1, 0, 1]


def test_what_stands_for_an_absent_key_is_left_alone() -> None:
    assert opened(sealer(), KEY, vacancy(L1, NOW)) == vacancy(L1, NOW)
    assert opened(sealer(), KEY, [None, -1, L1, 0, 0]) == [None, -1, L1, 0, 0]


def test_what_cannot_be_opened_is_never_shown() -> None:
    other = sealer(b"t").seal(KEY, b"v")
    moved = sealer().seal(b"another", b"v")
    for stored in (other, moved, other[:-1], b"\xff", b"\xff\x07", b"\xff\x01"):
        assert opened(sealer(), KEY, stored) == UNREADABLE
        assert opened(sealer(), KEY, enveloped(stored)) == enveloped(stored)[:HEAD_LENGTH] + UNREADABLE
        for found in (stored, enveloped(stored)):
            assert render(READ, opened(sealer(), KEY, found), lambda: NOW)[0] == "CORRUPT"


@pytest.mark.parametrize("value", VALUES)
def test_a_sealed_value_whose_envelope_is_damaged_is_no_other_value(value: bytes) -> None:
    opener = sealer()
    stored = enveloped(opener.seal(KEY, value))
    right = render(READ, opened(opener, KEY, stored), lambda: NOW)
    assert right == ("OK", b"OK %d:%b\n" % (len(value), value))
    for place in (*range(HEAD_LENGTH + 40), len(stored) - 1):
        for byte in (stored[place] ^ 1 << bit for bit in range(8)):
            damaged = stored[:place] + bytes((byte,)) + stored[place + 1 :]
            outcome, line = render(READ, opened(opener, KEY, damaged), lambda: NOW)
            # Of another version, or with another time, it is the same value still.
            assert outcome in ("CORRUPT", "MISS") or (2 <= place < HEAD_LENGTH and line == right[1]), place
    for length in range(2, len(stored)):
        outcome, line = render(READ, opened(opener, KEY, stored[:length]), lambda: NOW)
        assert outcome == "CORRUPT" or (length == HEAD_LENGTH and line == b"OK 0:\n"), length


@pytest.mark.parametrize(
    "plain", [b"xE", b"xE" + b"v" * 200, b"xV" + b"0" * 30, b"xE" + b"v" * 74 + b"\xff\x01\x03new"]
)
def test_what_only_looks_like_that_is_a_value(plain: bytes) -> None:
    assert opened(sealer(), KEY, plain) == plain


@pytest.mark.parametrize("length", [2, 40, HEAD_LENGTH - 1])
def test_an_envelope_that_is_cut_stays_what_it_is(length: int) -> None:
    cut = enveloped(b"v")[:length]
    assert opened(sealer(), KEY, cut) == cut
    assert render(READ, cut, lambda: NOW)[0] == "CORRUPT"


@pytest.mark.parametrize(
    "reply", [None, 1, -1, "text", True, 1.5, [], [1, b"v"], [None], {}, [[b"v"]], ValueError("x")]
)
def test_what_has_no_value_is_left_alone(reply: object) -> None:
    assert opened(sealer(), KEY, reply) == reply


def test_lists_in_lists_are_not_followed_down() -> None:
    """A node can send as many as it likes; a reply has its value in front."""
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert opened(sealer(), KEY, deep) is deep
    while deep:
        deep = deep[0]  # type: ignore[assignment]  # let go of one by one
