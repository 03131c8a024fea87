"""Values sealed and opened: XAES-256-GCM, bound to the place where the value is stored.

    0xFF  0x01  length of the key's id  the key's id  nonce, 24 bytes  ciphertext, 16 bytes longer than the value

What is not in it but must be the same for it to open: its first bytes up to the key's id, the namespace and the name of
the key under which it is stored. So a value that was moved to another key or namespace does not open.

A nonce is 12 random bytes, drawn once for each process and key, and a counter. Random bytes alone would do, but the
first 12 lead to another key of AES-GCM, which costs a microsecond each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import count
from typing import Final

from cryptography.exceptions import InvalidTag

from wireproto.core.keyring import EncryptionKey, Keyring
from wireproto.core.stored_values import MARKER, from_stored, to_stored
from wireproto.core.xaes import MESSAGES_OF_A_PREFIX, NONCE_BYTES, PREFIX_BYTES, TAG_BYTES, XaesKey

SEALED: Final = 0x01
"""The format byte."""
OVERHEAD: Final = 3 + NONCE_BYTES + TAG_BYTES
"""Bytes by which a sealed value is longer than the value, not counting the key's id."""
OPENERS_KEPT: Final = 4096
"""Of so many prefixes values can be read in turn before opening takes four times as long. There is one for each key and
each start of a process whose values are still there."""
_COUNTER_BYTES: Final = NONCE_BYTES - PREFIX_BYTES
_ID_AT: Final = 3
_SHORT: Final = 8192
"""Bytes up to which a copy costs less than a view."""
_MARKER: Final = bytes((MARKER,))


class _Opener:
    """What opens all values of one key and prefix."""

    __slots__ = ("decrypt", "key_id")

    def __init__(self, key_id: bytes, decrypt: Callable[[bytes, bytes | memoryview, bytes], bytes]) -> None:
        self.key_id = key_id
        self.decrypt = decrypt


class _Stream:
    """What a key seals with in this process: a prefix, its AES-GCM, and the numbers that follow the prefix."""

    __slots__ = ("_new_prefix", "_xaes", "encrypt", "front", "head", "numbers")

    def __init__(self, head: bytes, xaes: XaesKey, new_prefix: Callable[[], bytes]) -> None:
        self.head = head
        self._xaes = xaes
        self._new_prefix = new_prefix
        self.front = b""
        """What a sealed value begins with, up to the number."""
        self.encrypt: Callable[[bytes, bytes, bytes], bytes] = xaes.subkey(bytes(PREFIX_BYTES)).encrypt
        self.numbers: Iterator[int] = count()
        self.expire()

    def expire(self) -> None:
        """Draw a new prefix before anything is sealed again."""
        self.numbers = count(MESSAGES_OF_A_PREFIX)

    def begin(self) -> int:
        """Draw a new prefix; its first number."""
        prefix = self._new_prefix()
        self.encrypt = self._xaes.subkey(prefix).encrypt
        self.front = self.head + prefix
        self.numbers = count(1)
        return 0


class NamespaceSealer:
    """Seals and opens the values of one namespace. It stays the right one when the keyring changes.

    `seals` tells whether values are sealed from now on, and `opens` whether any key may open values of the namespace:
    if so, all that is read of it is to pass `open`.
    """

    __slots__ = ("_context", "_of_key_id", "_openers", "_sealed_context", "_stream", "namespace", "opens", "seals")

    def __init__(self, namespace: str) -> None:
        name = namespace.encode("ascii")
        self.namespace = namespace
        self.seals = False
        self.opens = False
        self._context = bytes((len(name),)) + name
        self._stream: _Stream | None = None
        self._sealed_context = b""
        self._of_key_id: dict[bytes, bytes] = {}
        """The additional data but for the name of the key, by the ids of the keys that may open."""
        self._openers: Callable[[bytes], _Opener | None] = _no_opener

    def use(
        self, stream: _Stream | None, heads: dict[bytes, bytes], openers: Callable[[bytes], _Opener | None]
    ) -> None:
        """Seal and open with these from now on. `heads` are what the values of a key begin with, by the key's id."""
        self._stream = stream
        self._sealed_context = b"" if stream is None else stream.head + self._context
        self._of_key_id = {key_id: head + self._context for key_id, head in heads.items()}
        self._openers = openers
        self.seals = stream is not None
        self.opens = bool(heads)

    def seal(self, key: bytes, value: bytes) -> bytes:
        """What to store for a value under a key: sealed, or plain where nothing seals."""
        stream = self._stream
        if stream is None:
            return to_stored(value)
        number = next(stream.numbers)
        if number >= MESSAGES_OF_A_PREFIX:
            number = stream.begin()
        counter = number.to_bytes(_COUNTER_BYTES, "big")
        return b"".join((stream.front, counter, stream.encrypt(counter, value, self._sealed_context + key)))

    def open(self, key: bytes, stored: bytes) -> bytes | None:
        """The value of what is stored under a key, in any form; None if it cannot be opened.

        That is: no key with its id may open values of this namespace, it is damaged, it was sealed with another key of
        that id or for another place, or its format is not known.
        """
        if not stored or stored[0] != MARKER:
            return None if self._has_lost_its_marker(key, stored) else stored
        size = len(stored)
        if size < OVERHEAD or stored[1] != SEALED:
            return from_stored(stored)
        number_at = _ID_AT + stored[2] + PREFIX_BYTES
        body_at = number_at + _COUNTER_BYTES
        if size < body_at + TAG_BYTES:
            return None
        opener = self._openers(stored[2:number_at])
        if opener is None:
            return None
        context = self._of_key_id.get(opener.key_id)
        if context is None:
            return None
        body: bytes | memoryview = stored[body_at:] if size < _SHORT else memoryview(stored)[body_at:]
        try:
            return opener.decrypt(stored[number_at:body_at], body, context + key)
        except InvalidTag:
            return None

    def _has_lost_its_marker(self, key: bytes, stored: bytes) -> bool:
        """Whether this would be a sealed value if its first byte were another.

        A damaged marker must not pass for a plain value, and a plain value must not be refused for what it looks like.
        """
        if len(stored) < OVERHEAD or stored[1] != SEALED or not self.opens:
            return False
        return self.open(key, _MARKER + stored[1:]) is not None


class Sealer:
    """The keyring at work: one for each process.

    `new_prefix` gives 12 bytes of true randomness at each call. No nonce is used twice as long as these do not repeat,
    and `renew` is called in a child that a fork has made. `epoch` counts the changes of the keyring.
    """

    def __init__(self, keyring: Keyring, new_prefix: Callable[[], bytes]) -> None:
        self.epoch = 0
        self._new_prefix = new_prefix
        self._keyring = Keyring()
        self._streams: dict[EncryptionKey, _Stream] = {}
        self._xaes: dict[bytes, XaesKey] = {}
        self._openers: Callable[[bytes], _Opener | None] = _no_opener
        self._namespaces: dict[str, NamespaceSealer] = {}
        self._use(keyring)

    @property
    def keyring(self) -> Keyring:
        """The present keys."""
        return self._keyring

    def for_namespace(self, namespace: str) -> NamespaceSealer:
        """The sealer of a namespace: always the same one."""
        sealer = self._namespaces.get(namespace)
        if sealer is None:
            sealer = self._namespaces[namespace] = NamespaceSealer(namespace)
            self._aim(sealer)
        return sealer

    def update(self, keyring: Keyring) -> None:
        """Seal and open with these keys from now on, in all namespaces."""
        self._use(keyring)
        self.epoch += 1

    def renew(self) -> None:
        """Seal nothing more with the present prefixes: this is a copy of the process that drew them."""
        for stream in self._streams.values():
            stream.expire()

    def _use(self, keyring: Keyring) -> None:
        streams = self._streams
        xaes = {key: XaesKey(key.secret) for key in keyring.keys}
        self._keyring = keyring
        # A key that was there before goes on with its numbers.
        self._streams = {
            key: streams.get(key) or _Stream(head_of(key), xaes[key], self._new_prefix) for key in keyring.keys
        }
        self._xaes = {key.id.encode("ascii"): prepared for key, prepared in xaes.items()}
        self._openers = lru_cache(maxsize=OPENERS_KEPT)(self._make_opener)
        for sealer in self._namespaces.values():
            self._aim(sealer)

    def _aim(self, sealer: NamespaceSealer) -> None:
        """Have a namespace's sealer go by the present keys."""
        sealing = self._keyring.sealing_key(sealer.namespace)
        opening = self._keyring.opening_keys(sealer.namespace)
        sealer.use(
            None if sealing is None else self._streams[sealing],
            {key.id.encode("ascii"): head_of(key) for key in opening},
            self._openers,
        )

    def _make_opener(self, start: bytes) -> _Opener | None:
        """What opens values with this length, key id and prefix; None if there is no such key."""
        key_id, prefix = start[1:-PREFIX_BYTES], start[-PREFIX_BYTES:]
        xaes = self._xaes.get(key_id)
        return None if xaes is None else _Opener(key_id, xaes.subkey(prefix).decrypt)


def head_of(key: EncryptionKey) -> bytes:
    """What the values that a key has sealed begin with."""
    return bytes((MARKER, SEALED, len(key.id))) + key.id.encode("ascii")


def _no_opener(_: bytes) -> _Opener | None:
    return None
