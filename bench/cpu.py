"""CPU time of processes: user and system, with all threads and children."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

import psutil

from bench.targets import Target

IDLE_TIMEOUT = 10.0
IDLE_LOOK = 0.1
IDLE_SHARE = 0.25
"""Of one core; the kernel counts in steps of 10 ms."""


@dataclass(frozen=True)
class CpuTimes:
    """Seconds since the processes began."""

    server: float
    nodes: float

    def since(self, before: CpuTimes) -> CpuTimes:
        """What was used between two looks."""
        return CpuTimes(self.server - before.server, self.nodes - before.nodes)


def cpu_times(target: Target) -> CpuTimes:
    """The target's processes, as far as they run on this machine."""
    return CpuTimes(sum(map(_seconds, server_processes(target))), sum(map(_seconds, set(target.node_processes))))


def server_processes(target: Target) -> set[int]:
    """The server's process ids with their children's. Nodes that the server started are not the server."""
    return {pid for root in target.server_processes for pid in _family(root)} - set(target.node_processes)


def wait_until_idle(target: Target) -> None:
    """Return when the target hardly works any more, after 10 seconds at the latest.

    A target that was overloaded may go on with what nobody waits for, and would slow down the one that is next.
    """
    deadline = time.monotonic() + IDLE_TIMEOUT
    while time.monotonic() < deadline:
        before = cpu_times(target)
        time.sleep(IDLE_LOOK)
        used = cpu_times(target).since(before)
        if used.server + used.nodes < IDLE_SHARE * IDLE_LOOK:
            return


def _family(root: int) -> list[int]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [root, *(child.pid for child in psutil.Process(root).children(recursive=True))]
    return []


def _seconds(pid: int) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    return 0.0
