"""The file of the audit log: a line of JSON for each event, written at once and whole.

The workers of a server write to the same file, each line by one `write` to its end (`O_APPEND`), which the kernel does
for one after the other. Before each line a look at the path tells whether the file was moved or removed, by logrotate
for example: then a new one is made. To copy and truncate it works too.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from pathlib import Path

from wireproto.errors import ConfigurationError

log = logging.getLogger("wireproto.audit")


class AuditFile:
    """An audit log that is open. `dropped` counts the lines since it could last be written to."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigurationError if it cannot be opened, or is no file of this user's own."""
        self.dropped = 0
        self._path = path
        self._line_is_cut = False
        try:
            self._descriptor, self._identity = _open(path)
        except OSError as error:
            raise ConfigurationError(f"audit log {path}: {error.strerror or error}") from None

    def write(self, line: bytes) -> bool:
        """Add a line, which ends with LF. Whether that was possible; if not, it is counted, and told once."""
        try:
            self._follow()
            # What was cut for lack of room must not swallow the line behind it.
            data = b"\n" + line if self._line_is_cut else line
            written = os.write(self._descriptor, data)
            if written < len(data):
                self._line_is_cut = True
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._drop(error)
            return False
        self._line_is_cut = False
        return True

    def close(self) -> None:
        """Close it. To do it again does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._identity = None

    def _follow(self) -> None:
        """Open the file anew if its path leads to another, or nowhere. Raises OSError."""
        try:
            status = os.lstat(self._path)
        except FileNotFoundError:
            status = None
        if status is None or (status.st_dev, status.st_ino) != self._identity:
            self.close()
            self._descriptor, self._identity = _open(self._path)

    def _drop(self, error: OSError) -> None:
        if not self.dropped:
            log.error("audit log %s: %s; lines are lost until it can be written", self._path, error.strerror or error)
        self.dropped += 1


def _open(path: Path) -> tuple[int, tuple[int, int] | None]:
    """The file, open for adding to its end, and what it is known by. Raises OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o600)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid not in (0, os.geteuid()):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a file of this user's own")
    return descriptor, (status.st_dev, status.st_ino)
