"""Private keys are read from files that nobody else can use. (The rule itself: tests/test_private_files.py.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from wireproto.errors import ConfigurationError
from wireproto.server.key_files import read_private_key


def test_the_file_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(b"content")
    path.chmod(0o600)
    assert read_private_key(path) == b"content"
    path.chmod(0o640)
    with pytest.raises(ConfigurationError) as caught:
        read_private_key(path)
    assert (
        str(caught.value)
        == f"private key {path}: it holds a secret, and other users can use it (mode 0640); run: chmod 600 {path}"
    )
