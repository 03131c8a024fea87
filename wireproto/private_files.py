"""The rule for every file that holds a secret: who may own it, and who else may read it.

A file of one's own is for nobody else. A file of root's may be read by its group, which is how secrets are handed out
to services by those who run the machine; PostgreSQL goes by the same rule.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from wireproto.errors import ConfigurationError

_OWN: Final = 0o077
"""What nobody else may do with a file of one's own."""
_OF_ROOT: Final = 0o037
"""The same for a file of root's, which its group may read."""


def sharing_problem(status: os.stat_result) -> str | None:
    """Why a file with this status is no place for a secret; None if it is one."""
    if status.st_uid not in (0, os.geteuid()):
        return "it belongs to another user"
    if status.st_mode & (_OWN if status.st_uid == os.geteuid() else _OF_ROOT):
        return f"other users can use it (mode {stat.S_IMODE(status.st_mode):04o})"
    return None


def sharing_remedy(path: Path, status: os.stat_result) -> str:
    """What to type, so that a file keeps its secret."""
    if status.st_uid not in (0, os.geteuid()):
        return f"run: chown {os.geteuid()} {path} && chmod 600 {path}"
    return f"run: chmod 600 {path}"


def check_keeps_secret(what: str, path: Path, status: os.stat_result) -> None:
    """Refuse a file whose secret others can read. `what` is how an error names it.

    The status is best that of the open file, so that what is checked is what is read. Raises ConfigurationError.
    """
    problem = sharing_problem(status)
    if problem is not None:
        raise ConfigurationError(f"{what}: it holds a secret, and {problem}; {sharing_remedy(path, status)}")
