"""What a process does first, because it is going to hold secrets."""

from __future__ import annotations

import os
import resource


def keep_to_oneself() -> None:
    """Leave nothing behind that others can read: no core dumps, and no file that is not made for others on purpose.

    Both are inherited, by workers and by the nodes that are started here. The process stays what debuggers and
    profilers of its own user can look into (`PR_SET_DUMPABLE`): who may attach to it may also read the state folder.
    """
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ValueError, OSError):  # not even less is allowed, in some sandboxes
        pass
    os.umask(0o077)
