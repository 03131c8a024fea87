"""Who may own a file with a secret, and who may read it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wireproto.errors import ConfigurationError
from wireproto.private_files import check_keeps_secret, sharing_problem

US, ROOT, ANOTHER = 1000, 0, 1001


def status(owner: int, mode: int) -> os.stat_result:
    return os.stat_result((0o100000 | mode, 0, 0, 1, owner, 0, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("owner", "mode", "good"),
    [
        (US, 0o600, True),
        (US, 0o400, True),
        (US, 0o640, False),
        (US, 0o604, False),
        (US, 0o620, False),
        (ROOT, 0o640, True),
        (ROOT, 0o440, True),
        (ROOT, 0o660, False),
        (ROOT, 0o644, False),
        (ROOT, 0o650, False),
        (ANOTHER, 0o600, False),
        (ANOTHER, 0o640, False),
    ],
)
def test_the_rule(monkeypatch: pytest.MonkeyPatch, owner: int, mode: int, good: bool) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: US)
    assert (sharing_problem(status(owner, mode)) is None) == good


def test_roots_own_file_is_a_file_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: ROOT)
    assert sharing_problem(status(ROOT, 0o600)) is None
    assert sharing_problem(status(ROOT, 0o640)) == "other users can use it (mode 0640)"
    assert sharing_problem(status(US, 0o600)) == "it belongs to another user"


def test_what_is_wrong_is_said_with_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("s")
    file.chmod(0o604)
    with pytest.raises(ConfigurationError) as caught:
        check_keeps_secret(f"file {file}", file, file.stat())
    assert str(caught.value) == (
        f"file {file}: it holds a secret, and other users can use it (mode 0604); run: chmod 600 {file}"
    )
    file.chmod(0o600)
    check_keeps_secret(f"file {file}", file, file.stat())


def test_a_file_of_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: US)
    with pytest.raises(ConfigurationError, match="belongs to another user; run: chown 1000 /f && chmod 600 /f"):
        check_keeps_secret("file /f", Path("/f"), status(ANOTHER, 0o600))
