"""Cases for the checks of `wireproto doctor`, and what they have found in a form that is easy to compare."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wireproto.admin.checks.findings import Case, Finding
from wireproto.settings import Settings


def case(folder: Path, *, config: Path | None = None, now: float | None = None, **settings: Any) -> Case:
    """A case with its folders in `folder`."""
    chosen = {"state_folder": folder / "state", "certs_folder": folder / "certs", **settings}
    return Case(Settings(**chosen), config, {}, time.time() if now is None else now)


def levels(findings: Iterable[Finding]) -> list[str]:
    """How bad each is."""
    return [finding.level.value for finding in findings]


def bad(findings: Iterable[Finding]) -> list[str]:
    """The lines that are not `ok`."""
    return [finding.line() for finding in findings if finding.level.value != "ok"]
