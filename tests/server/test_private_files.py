"""Private files by themselves; `test_state_folder` shows them at work, with what can be wrong with them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wireproto.errors import ConfigurationError
from wireproto.server.private_files import (
    check_private,
    damaged,
    locked,
    make_private,
    read_private,
    read_private_json,
    write_private_json,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_private(tmp_path / "private")
    return tmp_path / "private"


def test_what_is_written_is_read_and_nobody_elses(folder: Path) -> None:
    path = folder / "file.json"
    for value in ({"one": 1}, {"two": "ü"}):
        with locked(folder):
            write_private_json(path, value)
        assert read_private_json(path) == value
        assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(item.name for item in folder.iterdir()) == ["file.json", "lock"]


def test_a_file_that_is_not_there_is_none(folder: Path) -> None:
    assert read_private(folder / "file") is None
    assert read_private_json(folder / "file.json") is None


def test_bytes_are_read_as_they_are(folder: Path) -> None:
    path = folder / "file"
    path.write_bytes(bytes(range(256)))
    path.chmod(0o600)
    assert read_private(path) == bytes(range(256))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_an_error_names_the_file_the_reason_and_the_remedy(folder: Path, content: bytes) -> None:
    path = folder / "file.json"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match=f"^state file {path}: damaged: it is not .*JSON.*; call a friend$"):
        read_private_json(path, "call a friend")
    assert str(damaged(path, "so it is")) == f"state file {path}: damaged: so it is; restore it"


def test_what_others_can_use_is_refused(folder: Path) -> None:
    path = folder / "file"
    path.write_text("")
    path.chmod(0o604)
    with pytest.raises(ConfigurationError, match=r"^thing: other users can use it \(mode 0604\); mend it$"):
        check_private("thing", path.stat(), "mend it")
    with pytest.raises(ConfigurationError, match="run: chmod 600"):
        read_private(path)


def test_a_disk_that_is_full_leaves_the_old_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "file.json"
    write_private_json(path, {"old": 1})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_private_json(path, {"new": 2})
    assert read_private_json(path) == {"old": 1}
