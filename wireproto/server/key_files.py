"""Files of private keys: nobody but this server may read them, or they are refused."""

from __future__ import annotations

import os
from pathlib import Path

from wireproto.private_files import check_keeps_secret


def read_private_key(path: Path) -> bytes:
    """The content of a private key's file. Raises OSError, and ConfigurationError if others can use the file."""
    with path.open("rb") as file:
        # The file that was opened is looked at, not what its name may lead to by then.
        check_keeps_secret(f"private key {path}", path, os.fstat(file.fileno()))
        return file.read()
