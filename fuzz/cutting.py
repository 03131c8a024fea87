"""What the targets have in common: an input's first bytes say how it is used, the rest is what is sent."""

from __future__ import annotations

from typing import Final

LONGEST: Final = 1536
"""Bytes of an input. What is longer is cut off: nothing that is interesting needs it, and all is tried byte by byte."""


def split(data: bytes) -> tuple[int, int, bytes]:
    """The variant that is wanted, the size of the pieces in which to send, and what to send.

    Both are printable in the kept inputs: `0` to `9` for 0 to 9.
    """
    variant = (data[0] - 48) % 256 if data else 0
    size = (data[1] - 48) % 256 if len(data) > 1 else 0
    return variant, size or LONGEST, data[2 : 2 + LONGEST]


def pieces(stream: bytes, size: int) -> list[bytes]:
    """The stream in pieces of that size."""
    return [stream[start : start + size] for start in range(0, len(stream), size)]
