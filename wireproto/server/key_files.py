"""Files of private keys: nobody but this server may read them, or they are refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from wireproto.errors import ConfigurationError


def read_private_key(path: Path) -> bytes:
    """The content of a private key's file. Raises OSError, and ConfigurationError if others can use the file."""
    with path.open("rb") as file:
        # The file that was opened is looked at, not what its name may lead to by then.
        problem = key_file_problem(os.fstat(file.fileno()), os.geteuid())
        content = file.read()
    if problem is not None:
        raise ConfigurationError(f"private key {path}: {problem} {path}")
    return content


def key_file_problem(status: os.stat_result, user: int) -> str | None:
    """Why a file with this status is no private key's file for a process of `user`; None if it is one.

    The answer ends with a command, for the path to stand behind. A key of root's may be read by the group that the
    server belongs to: so packages of the system hand out keys.
    """
    if status.st_uid not in (user, 0):
        return f"it belongs to another user; run: chown {user}"
    allowed = 0 if status.st_uid == user else stat.S_IRGRP
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) & ~allowed:
        return f"other users can use it (mode {stat.S_IMODE(status.st_mode):04o}); run: chmod 600"
    return None
