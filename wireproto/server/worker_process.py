"""A worker as its supervisor sees it: a child process, what it is told, and what it reports."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from wireproto.server.worker_messages import Message, to_line
from wireproto.settings.declaration import PREFIX

COMMAND: Final = (sys.executable, "-P", "-m", "wireproto.server.worker")
MOST_UNHEARD: Final = 1024 * 1024
"""Bytes that may wait for a worker that hangs."""
REPORT_LIMIT: Final = 1024 * 1024
"""Bytes of a report: room for the names of all nodes."""


class WorkerProcess:
    """One life of a worker."""

    def __init__(self, process: asyncio.subprocess.Process, on_refused: Callable[[str], None]) -> None:
        self._on_refused = on_refused
        self.pid = process.pid
        self.failure: str | None = None
        """Why it could not do what it was told, in its own words."""
        self._process = process
        self._born = time.monotonic()

    @classmethod
    async def spawn(
        cls, inherited: Sequence[int], on_refused: Callable[[str], None] = lambda shard: None
    ) -> WorkerProcess:
        """Start a process with these files, which then waits for an order. Raises OSError.

        `on_refused` is called with the name of a shard whose master the worker finds to be none.
        """
        # The settings come with the order: some are secrets, which are to stand in one environment less.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        # A fresh process and not a fork, since this one has a running loop. It finds modules where this one does.
        environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, sys.path))
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
            pass_fds=inherited,
            # Of its own, so that a terminal's signals go to the supervisor alone.
            start_new_session=True,
            limit=REPORT_LIMIT,
        )
        return cls(process, on_refused)

    def tell(self, message: Message) -> None:
        """Send a message. One that has ended does not hear it."""
        assert self._process.stdin is not None
        if not self._process.stdin.is_closing():
            self._process.stdin.write(to_line(message))

    def tell_latest(self, message: Message) -> None:
        """Send a message that the next of its kind replaces; not to a worker that does not listen."""
        assert self._process.stdin is not None
        if self._process.stdin.transport.get_write_buffer_size() < MOST_UNHEARD:
            self.tell(message)

    async def hear(self, what: str) -> Message | None:
        """Wait for a report of this kind. None if the worker has failed, in which case `failure` says why, or ended."""
        while True:
            report = await self._next_report()
            if "refused" not in report:
                self.failure = report.get("failed")
                return report if what in report else None

    async def listen(self) -> None:
        """Take what it reports while it serves, until it has ended."""
        while await self._next_report():
            pass

    async def _next_report(self) -> Message:
        """What it says next; empty when it has ended."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        report: Message = json.loads(line) if line.endswith(b"\n") else {}
        if "refused" in report:
            self._on_refused(report["refused"])
        return report

    async def ended(self) -> str:
        """Wait for its end; how it ended."""
        code = await self._process.wait()
        if self.failure is not None:
            return f"failed: {self.failure}"
        return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"

    @property
    def age(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self._born

    def kill(self) -> None:
        """End it at once. To do it again does nothing."""
        if self._process.returncode is None:
            self._process.kill()
