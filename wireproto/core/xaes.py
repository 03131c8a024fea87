"""XAES-256-GCM as C2SP specifies it (https://c2sp.org/XAES-256-GCM): AES-256-GCM with nonces of 24 bytes.

Of a key and the first half of a nonce, its prefix, follows the key of an AES-256-GCM whose nonce is the other half. So
one key has room for any number of messages, where AES-GCM alone ends at 2^32.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB

KEY_BYTES: Final = 32
PREFIX_BYTES: Final = 12
NONCE_BYTES: Final = 24
TAG_BYTES: Final = 16
MESSAGES_OF_A_PREFIX: Final = 1 << 32
"""As many as NIST SP 800-38D allows under one key of AES-GCM."""

_BLOCK: Final = 16
_REDUCTION: Final = 0b10000111
_FIRST: Final = b"\x00\x01X\x00"
_SECOND: Final = b"\x00\x02X\x00"


class XaesKey:
    """A key, prepared: what depends on the key alone is worked out once.

    `subkey` costs a microsecond, which a caller saves who keeps what it answers.
    """

    __slots__ = ("_encrypt_blocks", "_masks")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        # One block after the other, each by itself, is what the specification wants here: it builds CMAC of it.
        self._encrypt_blocks = Cipher(AES256(secret), ECB()).encryptor().update  # noqa: S305
        doubled = int.from_bytes(self._encrypt_blocks(bytes(_BLOCK)), "big") << 1
        if doubled >> 128:
            doubled = (doubled ^ _REDUCTION) & (1 << 128) - 1
        self._masks = doubled << 128 | doubled

    def subkey(self, prefix: bytes) -> AESGCM:
        """The AES-256-GCM of all nonces that begin with these 12 bytes; the other 12 are its nonce."""
        return AESGCM(self.derive(prefix))

    def derive(self, prefix: bytes) -> bytes:
        """The key of that AES-256-GCM."""
        if len(prefix) != PREFIX_BYTES:
            raise ValueError(f"a prefix has {PREFIX_BYTES} bytes")
        messages = int.from_bytes(b"".join((_FIRST, prefix, _SECOND, prefix)), "big")
        return self._encrypt_blocks((messages ^ self._masks).to_bytes(2 * _BLOCK, "big"))
