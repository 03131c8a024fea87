"""What a server's processes take while something goes on: memory, descriptors, tasks; and how long loops stall."""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Final

import psutil

from bench.chaos.traffic import Stalls
from bench.cpu import server_processes
from bench.targets import StatsError, Target, read_stats

EVERY: Final = 2.0
"""Seconds between two looks."""
SHARE: Final = 0.1
"""Of all looks, over which a figure is taken."""
MIB: Final = 1 << 20


@dataclass(slots=True)
class Series:
    """The memory of one process, look by look, in bytes."""

    memory: list[int] = field(default_factory=list)

    def in_tenths(self) -> str:
        """Its course in MiB, at the end of each tenth of the time."""
        last = len(self.memory) - 1
        return " ".join(f"{self.memory[round(last * tenth / 10)] / MIB:.1f}" for tenth in range(1, 11))

    def growth(self) -> float:
        """From when a fifth of the time was over until the end, as a share; medians over a tenth of the looks each."""
        count = max(1, round(len(self.memory) * SHARE))
        start = len(self.memory) // 5
        before = statistics.median(self.memory[start : start + count])
        return statistics.median(self.memory[-count:]) / before - 1


class Observer:
    """Looks at a server from the beginning of a block until its end."""

    def __init__(self, target: Target, every: float = EVERY) -> None:
        self._target = target
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)
        self._idle = IdleLoop()
        self.memory: dict[int, Series] = {}
        """By process."""
        self.longest_stall = 0.0
        """Of all loops, in seconds, as STATS tells."""
        self.longest_work = 0.0
        """Seconds of a processor that a loop took without a pause, likewise."""
        self.idle_stall = 0.0
        """Of a process that has nothing to do, in the same time."""
        self.missed = 0
        """How often STATS was not answered."""

    def __enter__(self) -> Observer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()
        self.idle_stall = self._idle.end()

    def _run(self) -> None:
        while not self._over.wait(self._every):
            self._look()

    def _look(self) -> None:
        for pid in server_processes(self._target):
            self.memory.setdefault(pid, Series()).memory.append(psutil.Process(pid).memory_info().rss)
        try:
            for worker in _workers(self._target):
                self.longest_stall = max(self.longest_stall, worker["loop"]["longest_stall_ms"] / 1000)
                self.longest_work = max(self.longest_work, worker["loop"]["longest_work_ms"] / 1000)
        except (OSError, StatsError):
            self.missed += 1


@dataclass(frozen=True, slots=True)
class Standing:
    """What the server's processes have open."""

    tasks: int
    descriptors: int


def standing(target: Target) -> Standing:
    """The server as it stands now. Raises OSError, StatsError."""
    tasks = sum(worker["loop"]["tasks"] for worker in _workers(target))
    return Standing(tasks, sum(psutil.Process(pid).num_fds() for pid in server_processes(target)))


def settled(target: Target, before: Standing, within: float) -> Standing:
    """The server once it has no more open than before, or after so many seconds."""
    deadline = time.monotonic() + within
    while True:
        now = standing(target)
        if (now.tasks <= before.tasks and now.descriptors <= before.descriptors) or time.monotonic() > deadline:
            return now
        time.sleep(0.05)


def _workers(target: Target) -> list[dict[str, Any]]:
    assert target.plain_port is not None
    workers: list[dict[str, Any]] = read_stats(target.plain_port, target.api_key)["workers"]
    return workers


class IdleLoop:
    """A process with nothing to do but to notice when it does not come to its turn: what the machine itself does."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("forkserver")
        self._pipe, theirs = context.Pipe()
        self._child = context.Process(target=_idle, args=(theirs,), daemon=True)
        self._child.start()
        theirs.close()

    def end(self) -> float:
        """Its longest stall, in seconds."""
        self._pipe.send(None)
        longest: float = self._pipe.recv()
        self._child.join()
        self._pipe.close()
        return longest


def _idle(pipe: Connection) -> None:
    async def watch() -> float:
        noticed = Stalls()
        watching = asyncio.create_task(noticed.watch())
        await asyncio.to_thread(pipe.recv)
        watching.cancel()
        return noticed.longest

    pipe.send(asyncio.run(watch()))
