"""Whose files private keys may be in."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from wireproto.errors import ConfigurationError
from wireproto.server.key_files import key_file_problem, read_private_key

ME, OTHER, ROOT = 1000, 1001, 0


def status(owner: int, mode: int) -> os.stat_result:
    return os.stat_result((stat.S_IFREG | mode, 1, 1, 1, owner, 1, 1, 1, 1, 1))


@pytest.mark.parametrize(
    ("owner", "mode"), [(ME, 0o600), (ME, 0o400), (ME, 0o700), (ROOT, 0o600), (ROOT, 0o640), (ROOT, 0o440)]
)
def test_files_that_are_private(owner: int, mode: int) -> None:
    assert key_file_problem(status(owner, mode), ME) is None


@pytest.mark.parametrize(
    ("owner", "mode"),
    [(ME, 0o640), (ME, 0o604), (ME, 0o620), (ME, 0o610), (ROOT, 0o644), (ROOT, 0o660), (ROOT, 0o650), (ROOT, 0o602)],
)
def test_files_that_others_can_use(owner: int, mode: int) -> None:
    assert key_file_problem(status(owner, mode), ME) == f"other users can use it (mode {mode:04o}); run: chmod 600"


def test_a_server_of_root_has_files_of_its_own_too() -> None:
    assert key_file_problem(status(ROOT, 0o600), ROOT) is None
    assert key_file_problem(status(ROOT, 0o640), ROOT) == "other users can use it (mode 0640); run: chmod 600"


def test_a_file_of_somebody_else() -> None:
    assert key_file_problem(status(OTHER, 0o600), ME) == "it belongs to another user; run: chown 1000"
    assert key_file_problem(status(OTHER, 0o600), ROOT) == "it belongs to another user; run: chown 0"


def test_the_file_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(b"content")
    path.chmod(0o600)
    assert read_private_key(path) == b"content"
    path.chmod(0o640)
    with pytest.raises(ConfigurationError) as caught:
        read_private_key(path)
    assert str(caught.value) == f"private key {path}: other users can use it (mode 0640); run: chmod 600 {path}"
