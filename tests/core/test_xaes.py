"""XAES-256-GCM against the vectors of its specification (https://c2sp.org/XAES-256-GCM)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from cryptography.exceptions import InvalidTag

from wireproto.core.xaes import NONCE_BYTES, PREFIX_BYTES, TAG_BYTES, XaesKey

NONCE = b"ABCDEFGHIJKLMNOPQRSTUVWX"
PREFIX, REST = NONCE[:PREFIX_BYTES], NONCE[PREFIX_BYTES:]
PLAINTEXT = b"XAES-256-GCM"
VECTORS = [
    pytest.param(
        *(b"\x01" * 32, b""),
        "c8612c9ed53fe43e8e005b828a1631a0bbcb6ab2f46514ec4f439fcfd0fa969b",
        "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271",
        id="the first bit of L is 0",
    ),
    pytest.param(
        *(b"\x03" * 32, b"c2sp.org/XAES-256-GCM"),
        "e9c621d4cdd9b11b00a6427ad7e559aeedd66b3857646677748f8ca796cb3fd8",
        "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
        id="the first bit of L is 1",
    ),
]
ACCUMULATED = [
    (10_000, "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"),
    (1_000_000, "2163ae1445985a30b60585ee67daa55674df06901b890593e824b8a7c885ab15"),
]


@pytest.mark.parametrize(("key", "additional", "derived", "ciphertext"), VECTORS)
def test_the_vectors(key: bytes, additional: bytes, derived: str, ciphertext: str) -> None:
    xaes = XaesKey(key)
    assert xaes.derive(PREFIX).hex() == derived
    sealed = xaes.subkey(PREFIX).encrypt(REST, PLAINTEXT, additional)
    assert sealed.hex() == ciphertext
    assert len(sealed) == len(PLAINTEXT) + TAG_BYTES
    assert xaes.subkey(PREFIX).decrypt(REST, sealed, additional) == PLAINTEXT
    with pytest.raises(InvalidTag):
        xaes.subkey(PREFIX).decrypt(REST, sealed, additional + b"x")


def shake_stream(iterations: int) -> Iterator[bytes]:
    """The four random strings of each iteration, out of one SHAKE-128 of nothing."""
    stream = memoryview(hashlib.shake_128(b"").digest(iterations * (32 + NONCE_BYTES + 2 * 256)))
    assert stream[:16].hex() == "7f9c2ba4e88f827d616045507605853e"
    position = 0
    for _ in range(iterations):
        for length in (32, NONCE_BYTES, None, None):
            if length is None:
                length, position = stream[position], position + 1
            yield bytes(stream[position : position + length])
            position += length


@pytest.mark.parametrize(("iterations", "expected"), ACCUMULATED[:1])
def test_the_accumulated_random_vectors(iterations: int, expected: str) -> None:
    assert accumulated(iterations) == expected


def accumulated(iterations: int) -> str:
    """The hash of all ciphertexts. For a million iterations: `python -m tests.core.test_xaes`, which takes a minute."""
    everything = hashlib.shake_128()
    stream = shake_stream(iterations)
    for key, nonce, plaintext, additional in zip(stream, stream, stream, stream, strict=True):
        subkey = XaesKey(key).subkey(nonce[:PREFIX_BYTES])
        sealed = subkey.encrypt(nonce[PREFIX_BYTES:], plaintext, additional)
        assert subkey.decrypt(nonce[PREFIX_BYTES:], sealed, additional) == plaintext
        everything.update(sealed)
    return everything.hexdigest(32)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=r"^a key has 32 bytes$"):
        XaesKey(bytes(length))


@pytest.mark.parametrize("length", [0, 11, 13, 24])
def test_a_prefix_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=r"^a prefix has 12 bytes$"):
        XaesKey(bytes(32)).derive(bytes(length))


if __name__ == "__main__":
    for count, digest in ACCUMULATED:
        assert accumulated(count) == digest
        print(f"{count} iterations: {digest}")
