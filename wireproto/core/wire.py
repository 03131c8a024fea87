"""The grammar's words and limits, shared by requests and replies (`docs/PROTOCOL.md`, sections 1 and 5)."""

from __future__ import annotations

from typing import Final

MAX_TAG: Final = 16
MAX_KEY: Final = 1024
MAX_VALUE: Final = 1024 * 1024
MAX_FRAME_OVERHEAD: Final = 512
"""Bytes of a frame outside its arguments. Nothing that a frame needs comes near it; an endless line is cut here."""
MAX_FRAME_BEFORE_AUTH: Final = 8 * 1024
MAX_CREDENTIAL: Final = 4 * 1024
MAX_LENGTH_DIGITS: Final = 9


def encode_argument(argument: bytes) -> bytes:
    """One argument in its machine form, `length:bytes`."""
    return b"%d:%b" % (len(argument), argument)
