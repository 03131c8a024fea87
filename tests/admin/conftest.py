"""The operator's command line, called in this process, for a state folder of the test's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from wireproto.admin.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The state folder, which is not there yet."""
    return tmp_path / "state"


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Carry out a command: its exit code, what it printed, what it said."""
    for name in [name for name in os.environ if name.startswith("WIREPROTO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WIREPROTO_STATE_FOLDER", str(folder))

    def call(*words: str) -> tuple[int, str, str]:
        code = main(words)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call
