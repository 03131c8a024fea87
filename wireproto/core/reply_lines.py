"""Replies without their tags, as a server writes them."""

from __future__ import annotations

from typing import Final

OK: Final = b"OK\n"
MISS: Final = b"MISS\n"
CONFLICT: Final = b"CONFLICT\n"


def error_line(code: str, text: str, retry_ms: int | None = None) -> bytes:
    """An error reply without its tag."""
    if retry_ms is None:
        return f"ERR {code} :{text}\n".encode()
    return f"ERR {code} retry={retry_ms} :{text}\n".encode()
