"""The server's end of the pipes to the guard of the embedded nodes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, Final

from wireproto.server.embedded_guard import tail

STOP_TIMEOUT: Final = 5.0
"""Seconds until the guard, which needs little more than one second, is taken to hang."""
_GUARD: Final = Path(__file__).with_name("embedded_guard.py")
_REPORT_LIMIT: Final = 1024 * 1024

Report = dict[str, Any]
"""What the guard says; see there."""


class GuardLink:
    """A guard that runs. `pids` are the processes that it has last said to run."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path, passwords: list[str]) -> None:
        self.folder = folder
        self.pids: dict[str, int] = {}
        self._process = process
        self._passwords = passwords

    @classmethod
    async def open(cls, folder: Path, passwords: list[str]) -> GuardLink:
        """Start a guard that is to make `folder`. `passwords` are kept out of what is told. Raises OSError."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",  # no module of the working folder or the environment takes the place of one of the library's
            "-S",  # no site-packages either: they can take longer than the nodes
            str(_GUARD),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=_REPORT_LIMIT,
        )
        return cls(process, folder, passwords)

    def send(self, order: Report) -> None:
        """Give an order. A guard that has ended gets none, which its last report tells."""
        assert self._process.stdin is not None
        if not self._process.stdin.is_closing():
            self._process.stdin.write(json.dumps(order).encode() + b"\n")

    async def next_report(self) -> Report | None:
        """What the guard says next; None when it has ended."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            return None
        report: Report = json.loads(line)
        if "pids" in report:
            self.pids = report["pids"]
        elif "started" in report:
            self.pids[report["started"]] = report["pid"]
        elif "ended" in report:
            self.pids.pop(report["ended"], None)
        return report

    async def end(self) -> bool:
        """Have the guard end everything, or kill it. Whether it could clear up behind itself."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        return self._process.returncode == 0

    def clear_up(self) -> None:
        """Do what a guard that was killed could not. Not every system ends its nodes with it."""
        for pid in self.pids.values():
            try:
                os.killpg(pid, signal.SIGKILL)
            except OSError:
                pass  # the kernel was faster
        self.pids.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def words(self, report: Report | None) -> str:
        """What a report of an end says, in one line."""
        if report is None:
            return "the guard of the nodes was killed"
        if "error" in report:
            return str(report["error"])
        if "refused" in report:
            return f"{report['refused']} could not be started again: {report['reason']}"
        code = report["code"]
        how = f"ended with code {code}" if code >= 0 else f"was killed by signal {-code}"
        return f"{report['ended']} {how}: {self._one_line(report['log'])}"

    def logged_so_far(self) -> str:
        """The end of the first log that has something in it."""
        for name in self.pids:
            text = tail(self.folder / f"{name}.log")
            if text.strip():
                return f"{name}: {self._one_line(text)}"
        return self._one_line("")

    def _one_line(self, text: str) -> str:
        """The last five lines as one, fit to be logged: what is no Redis may have printed its configuration."""
        for password in self._passwords:
            text = text.replace(password, "(password)")
        line = "; ".join(line.strip() for line in text.strip().splitlines()[-5:])
        return "".join(character if character.isprintable() else "?" for character in line) or "it said nothing"
