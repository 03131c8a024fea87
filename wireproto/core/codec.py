"""How values become bytes and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, cast

from wireproto.core.compression import Compression
from wireproto.errors import ArgumentError, ConfigurationError, CorruptError

T = TypeVar("T")
V = TypeVar("V")

ABSENT: Final = b"\xc1absent"
"""A value that says that there is nothing: what `get_or_load` leaves where a loader has found nothing.

No UTF-8 text, no JSON and no MessagePack begins with the byte 0xC1. With a codec it reads as None; without one it is
bytes like any others, and only `get_or_load` knows what they mean.
"""


@dataclass(frozen=True, slots=True)
class Codec(Generic[V]):
    """How values become bytes and back. Either function may raise whatever it likes."""

    encode: Callable[[V], bytes]
    decode: Callable[[bytes], V]

    @staticmethod
    def bytes() -> Codec[bytes]:
        """Bytes as they are, for `compressed`; and with it `ABSENT` reads as None."""
        return Codec(bytes, bytes)

    @staticmethod
    def text() -> Codec[str]:
        """Text, as UTF-8."""
        return Codec(str.encode, bytes.decode)

    @staticmethod
    def json() -> Codec[Any]:
        """Whatever JSON can hold."""
        return Codec(_to_json, json.loads)

    @staticmethod
    def msgspec(type: type[T]) -> Codec[T]:
        """Values of one type, as MessagePack: a `msgspec.Struct`, a dataclass, or any other that msgspec knows.

        What is read is checked: other data are a CorruptError. Needs `pip install wireproto[msgspec]`; raises
        ConfigurationError without it.
        """
        try:
            from msgspec import msgpack
        except ImportError:
            raise ConfigurationError("Codec.msgspec needs msgspec: pip install wireproto[msgspec]") from None
        return Codec(msgpack.Encoder().encode, msgpack.Decoder(type).decode)

    @staticmethod
    def compressed(
        codec: Codec[V], threshold: int = 1024, level: int = 3, max_size: int = 64 * 1024 * 1024
    ) -> Codec[V]:
        """As `codec`, with values of `threshold` bytes and more compressed by Zstandard, where that makes them smaller.

        Values that were written without compression are still read. One of more than `max_size` bytes is refused: an
        ArgumentError where it is written, and a CorruptError where it is read, which takes at most twice that memory to
        find out. Needs `pip install wireproto[zstd]` before Python 3.14; raises ConfigurationError without it.
        """
        compression = Compression(threshold, level, max_size)

        def encode(value: V) -> bytes:
            return compression.pack(codec.encode(value))

        def decode(data: bytes) -> V:
            return codec.decode(compression.unpack(data))

        return Codec(encode, decode)


def _to_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def encoded(codec: Codec[V] | None, value: V) -> bytes:
    """The bytes of a value; without a codec it has to be bytes. Raises ArgumentError."""
    if codec is None:
        if isinstance(value, bytes):
            return value
        if isinstance(value, bytearray | memoryview):
            return bytes(value)
        raise ArgumentError(f"a value is bytes, not {type(value).__name__}; a codec takes others")
    try:
        data = codec.encode(value)
    except Exception as fault:
        raise ArgumentError(f"the codec cannot encode a value of type {type(value).__name__}") from fault
    if not isinstance(data, bytes):
        raise ArgumentError(f"the codec made {type(data).__name__} of a value, not bytes")
    return data


def decoded(codec: Codec[V] | None, data: bytes) -> V:
    """The value of these bytes; None if they say that there is nothing. Raises CorruptError."""
    if codec is None:
        return cast(V, data)
    if data == ABSENT:
        return cast(V, None)
    try:
        return codec.decode(data)
    except Exception as fault:
        # Only the type of the fault: its text may quote the value.
        raise CorruptError(f"the codec cannot decode the value: {type(fault).__name__}") from fault
