"""Open files: every connection is one, and what a process may have by default is often far less than it could."""

from __future__ import annotations

import logging
import resource
from typing import Final

SPARE: Final = 64
"""Files of a process beside connections: the listening sockets, nodes, Sentinels, logs, and clients that are turned
away."""

log = logging.getLogger("wireproto.server")


def raise_limit() -> int | None:
    """Let this process, and those that it starts, have as many as the system allows; how many, None for any number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):
            pass  # some systems have a lower limit of their own, which they do not tell
    return None if soft == resource.RLIM_INFINITY else soft


def check_room(max_connections: int, workers: int, files: int | None) -> None:
    """Say so in the log if the connections do not fit into the files that each worker may have."""
    if files is None:
        return
    fit = max(0, files - SPARE) * workers
    if fit < max_connections:
        log.warning(
            "max_connections is %d, but %d files may be open, so there is room for about %d connections; "
            "raise the limit of open files (ulimit -n, LimitNOFILE) or lower max_connections",
            *(max_connections, files, fit),
        )
