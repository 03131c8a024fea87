"""What is said to embedded nodes and Sentinels right after their start, over their unix sockets."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

from wireproto.server.node_words import kind_of_refusal

_PROBE: Final = 0.01

PERIODS: Final = {
    # Also how often a link is tried again. At Sentinel's own second, the link to a master that was just promoted may
    # be made only after a `down-after-milliseconds` of one second, and the healthy master is failed over once more.
    # Not much shorter: replicas whose INFO is older than five times this are not promoted, and it comes once a second.
    "PING-PERIOD": 400,
    # What other Sentinels have said counts for five times this. At Sentinel's own second that is long enough for a
    # single one to begin another failover with what the others said before the last.
    "ASK-PERIOD": 250,
    # A master that was failed over while it hung takes writes until it is made a replica: four times this after it has
    # gone on, which is 8 s by Sentinel's own measure.
    "PUBLISH-PERIOD": 500,
    # Instead of 10 s. Twice this after a node that is to be the master has called itself a replica, it counts as down.
    "INFO-PERIOD": 1000,
}
"""Milliseconds. Sentinel takes these by `SENTINEL DEBUG` only, from Redis 7.0 on; what they do is said in its source,
`sentinel.c`."""

log = logging.getLogger("wireproto.embedded")


async def answers(path: Path) -> None:
    """Return when the server on a unix socket answers anything at all: to want a password is an answer."""
    await _said(path, b"PING\r\n", 1)


async def hasten_sentinel(path: Path, password: str) -> None:
    """Wait until a Sentinel answers, and have it look more often. Sentinels forget this when they end."""
    words = " ".join(f"{name} {value}" for name, value in PERIODS.items())
    (_, reply) = await _said(path, f"AUTH {password}\r\nSENTINEL DEBUG {words}\r\n".encode(), 2)
    if reply != b"+OK\r\n":
        refusal = kind_of_refusal(reply[1:].decode("utf-8", "replace"))
        log.warning("a Sentinel keeps its own pace, and may be slow to promote: %s", refusal)


async def _said(path: Path, request: bytes, count: int) -> list[bytes]:
    """The lines that answer a request, as soon as there is somebody to answer it."""
    while True:
        try:
            reader, writer = await asyncio.open_unix_connection(path)
        except OSError:
            await asyncio.sleep(_PROBE)
            continue
        try:
            writer.write(request)
            lines = [await reader.readline() for _ in range(count)]
            if all(lines):
                return lines
        except OSError:
            pass
        finally:
            writer.close()
        await asyncio.sleep(_PROBE)
