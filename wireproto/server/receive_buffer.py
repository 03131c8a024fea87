"""The one buffer into which every connection of a process receives.

A transport fills it and hands it to its protocol in one step, which copies what it needs before the next transport
gets it. With a buffer of its own for each TLS read (`asyncio.Protocol`), uvloop maps and unmaps 256 KiB a time: three
quarters of the server's time.
"""

from __future__ import annotations

from typing import Final

RECEIVE_BUFFER: Final = memoryview(bytearray(256 * 1024))
