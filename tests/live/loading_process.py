"""Starts processes that want values, and talks to them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.live.running import REPOSITORY


class LoadingProcess:
    """A process of `tests.live.loading_child`, which does one of the things that it can."""

    def __init__(self, what: str, url: str, folder: Path, *more: str) -> None:
        command = [sys.executable, "-m", "tests.live.loading_child", what, url, str(folder), *more]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY, text=True
        )

    def expect(self, line: str) -> None:
        """It says this next."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == f"{line}\n"

    def start(self) -> None:
        """Let it begin."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def result(self) -> Any:
        """What came of it."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
