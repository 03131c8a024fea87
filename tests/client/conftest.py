"""The environment of the developer is not the tests'."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("WIREPROTO_"):
            monkeypatch.delenv(name)
