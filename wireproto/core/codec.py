"""How values become bytes and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from wireproto.errors import ArgumentError, CorruptError

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Codec(Generic[V]):
    """How values become bytes and back. Either function may raise whatever it likes."""

    encode: Callable[[V], bytes]
    decode: Callable[[bytes], V]

    @staticmethod
    def text() -> Codec[str]:
        """Text, as UTF-8."""
        return Codec(str.encode, bytes.decode)

    @staticmethod
    def json() -> Codec[Any]:
        """Whatever JSON can hold."""
        return Codec(_to_json, json.loads)


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
    """The value of these bytes. Raises CorruptError."""
    if codec is None:
        return cast(V, data)
    try:
        return codec.decode(data)
    except Exception as fault:
        # Only the type of the fault: its text may quote the value.
        raise CorruptError(f"the codec cannot decode the value: {type(fault).__name__}") from fault
