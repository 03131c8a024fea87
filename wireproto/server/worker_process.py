"""A worker as its supervisor sees it: a child process, what it is told, and what it reports."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Final

from wireproto.server.worker_messages import Message, to_line
from wireproto.settings.declaration import PREFIX

COMMAND: Final = (sys.executable, "-P", "-m", "wireproto.server.worker")
REPORT_LIMIT: Final = 1024 * 1024
"""Bytes of a report: room for the names of all nodes."""


class WorkerProcess:
    """One life of a worker."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.pid = process.pid
        self.failure: str | None = None
        """Why it could not do what it was told, in its own words."""
        self._process = process
        self._born = time.monotonic()

    @classmethod
    async def spawn(cls, inherited: Sequence[int]) -> WorkerProcess:
        """Start a process with these files, which then waits for an order. Raises OSError."""
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
        return cls(process)

    def tell(self, message: Message) -> None:
        """Send a message. One that has ended does not hear it."""
        assert self._process.stdin is not None
        if not self._process.stdin.is_closing():
            self._process.stdin.write(to_line(message))

    async def hear(self, what: str) -> Message | None:
        """Wait for a report of this kind. None if the worker has failed, in which case `failure` says why, or ended."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        report: Message = json.loads(line) if line.endswith(b"\n") else {}
        self.failure = report.get("failed")
        return report if what in report else None

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
