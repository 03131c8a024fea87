"""What the machine allows: descriptors, memory, the clock, the kernel. What cannot be read is passed over."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path
from typing import Final

from wireproto.admin.checks.findings import Case, Finding, ok, problem, warning
from wireproto.errors import ConfigurationError
from wireproto.server.embedded import find_program
from wireproto.server.listener import BACKLOG
from wireproto.server.supervisor import core_count

WORKER_MEMORY: Final = 57 * 2**20
"""Bytes that a worker takes without clients."""
OTHER_FILES: Final = 64
"""Descriptors of a process for other things than connections."""
_UNITS: Final = {"": 1, "k": 1000, "kb": 1024, "m": 10**6, "mb": 2**20, "g": 10**9, "gb": 2**30}
"""Redis's own, of `maxmemory` (redis.conf)."""
_TIME_ERROR: Final = 5
"""adjtimex(2): the clock is not synchronised."""
_TIMEX_BYTES: Final = 512
"""More than `struct timex` has."""


def descriptors(case: Case) -> list[Finding]:
    """Whether a process may open as many files as there may be connections."""
    settings = case.settings
    nodes = sum(max(1, len(shard.node_urls)) for shard in settings.nodes) or settings.shards * (settings.replicas + 1)
    needed = settings.max_connections + nodes * settings.pool_size + OTHER_FILES
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit != resource.RLIM_INFINITY and limit < needed:
        text = (
            f"a process may open {limit} files here, and needs {needed} for max_connections {settings.max_connections}"
        )
        remedy = f"ulimit -n {needed} (under systemd: LimitNOFILE={needed}), or lower max_connections"
        return [warning("descriptors", text, remedy)]
    return [ok("descriptors", f"{limit} for each process, of which {needed} may be needed")]


def core_dumps(case: Case, pattern: Path = Path("/proc/sys/kernel/core_pattern")) -> list[Finding]:
    """Whether what a process held may end up in a file. The server's own limit is 0; programs may dump all the same."""
    receiver = _text(pattern)
    if receiver is not None and receiver.startswith("|") and "systemd-coredump" not in receiver:
        text = f"the kernel hands core dumps to a program, also those of processes that may write none: {receiver[1:]}"
        return [warning("core dumps", text, "take care that it keeps to RLIMIT_CORE, or set kernel.core_pattern=core")]
    return [ok("core dumps", "the server and its nodes write none (RLIMIT_CORE is set to 0 at the start)")]


def memory(case: Case, total: int | None = None) -> list[Finding]:
    """Whether what is started here, and what clients may take, has room."""
    settings = case.settings
    total = memory_of_machine() if total is None else total
    if total is None:
        return []
    workers = settings.workers or core_count()
    parts = {"workers": workers * WORKER_MEMORY, "clients": getattr(settings, "max_client_memory", None) or 0}
    if not settings.nodes:
        parts["nodes"] = settings.shards * (settings.replicas + 1) * _redis_bytes(settings.node_memory)
    needed = sum(parts.values())
    shown = ", ".join(f"{name} {count / 2**20:.0f} MiB" for name, count in parts.items() if count)
    text = f"{needed / 2**20:.0f} MiB may be used ({shown}), and there are {total / 2**20:.0f}"
    if needed > total:
        return [problem("memory", text, "lower node_memory, shards or workers: the system ends what takes too much")]
    if needed > total * 0.9:
        return [warning("memory", text, "leave a tenth for the system and for what clients have in flight")]
    return [ok("memory", text)]


def memory_of_machine(root: Path = Path("/")) -> int | None:
    """Bytes of this machine, or of the container if it has fewer; None if nobody says."""
    found = []
    for line in (_text(root / "proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            found.append(int(line.split()[1]) * 1024)
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = _text(root / "sys/fs/cgroup" / name)
        if limit is not None and limit.isdigit():
            found.append(int(limit))
    return min(found, default=None)


def _redis_bytes(text: str) -> int:
    number = text.rstrip("kmgbKMGB")
    return int(number) * _UNITS[text[len(number) :].lower()]


def clock(case: Case) -> list[Finding]:
    """Whether the kernel takes its clock for right. Tokens and certificates go by it."""
    state = _clock_state()
    if state is None:
        return []
    if state == _TIME_ERROR:
        text = "it is not synchronised; tokens and certificates go by it"
        return [warning("clock", text, "run an NTP client, such as chrony or systemd-timesyncd")]
    return [ok("clock", "synchronised")]


def _clock_state() -> int | None:
    """What adjtimex(2) returns when it is asked and not told anything; None where it cannot be asked."""
    if sys.platform != "linux":
        return None
    try:
        state = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
    except (OSError, AttributeError):
        return None
    return state if state >= 0 else None


def backlog(case: Case, root: Path = Path("/")) -> list[Finding]:
    """Whether the kernel lets as many clients wait to be accepted as the server asks for."""
    most = _text(root / "proc/sys/net/core/somaxconn")
    if most is None or not most.isdigit():
        return []
    if int(most) < BACKLOG:
        text = f"the kernel lets {most} clients wait to be accepted, and the server asks for {BACKLOG}"
        return [warning("backlog", text, f"sysctl -w net.core.somaxconn={BACKLOG}")]
    return [ok("backlog", f"{BACKLOG} clients may wait to be accepted")]


def nodes_to_start(case: Case, root: Path = Path("/")) -> list[Finding]:
    """Whether there is a program for the nodes that the server starts, and whether the kernel lets it fork."""
    settings = case.settings
    if settings.nodes:
        return []
    try:
        program = find_program(settings.redis_server)
    except ConfigurationError as error:
        return [problem("nodes", str(error), "see above")]
    found = [ok("nodes", f"{settings.shards} are started here: {program}")]
    if settings.replicas and _text(root / "proc/sys/vm/overcommit_memory") not in (None, "1"):
        text = "a node forks to copy its data to a replica, which the kernel refuses when memory is short"
        found.append(warning("overcommit", text, "sysctl -w vm.overcommit_memory=1"))
    return found


def user(case: Case) -> list[Finding]:
    """Whether the server would run with more rights than it needs."""
    if os.geteuid() == 0:
        return [warning("user", "this runs as root", "run the server, and this, as a user of its own")]
    return []


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return None
