"""Memory that processes share: a file without a name, which is gone with the last process that has it."""

from __future__ import annotations

import mmap
import os
import sys
import tempfile


def nameless_file(purpose: str) -> int:
    """An empty file's descriptor, for processes to inherit. Raises OSError."""
    if sys.platform == "linux":
        return os.memfd_create(f"wireproto-{purpose}")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def mapped(descriptor: int, size: int) -> memoryview:
    """The first bytes of a file as memory; the file is made as long. What was never touched takes no room.

    Raises OSError.
    """
    if os.fstat(descriptor).st_size < size:
        os.truncate(descriptor, size)
    return memoryview(mmap.mmap(descriptor, size))
