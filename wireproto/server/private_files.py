"""Files that are the server's alone: a private folder (mode 0700), its files (0600), and a lock over them.

Every file is written whole, to another name first, and renamed: whoever reads it without the lock has it as it was
before or after. The lock is for those who read, change and write; it is held for milliseconds, so they wait for it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from wireproto.errors import ConfigurationError

LOCK_FILE: Final = "lock"
MAX_FILE: Final = 16 * 1024 * 1024
"""Bytes that are read of a file: room for 80,000 API keys, and an end to a file that has none."""
RESTORE: Final = "restore it"


def make_private(folder: Path) -> None:
    """Make the folder, or refuse what `check_private_folder` refuses. Raises ConfigurationError or OSError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    check_private_folder(folder)


def check_private_folder(folder: Path) -> None:
    """Refuse a folder that somebody else owns, reads or writes. It may be a link to one of our own.

    Raises ConfigurationError, or OSError if there is none.
    """
    status = folder.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigurationError(f"state folder {folder}: it is not a folder; name another or remove it")
    check_private(f"state folder {folder}", status, f"run: chmod 700 {folder}")


def check_private(what: str, status: os.stat_result, remedy: str) -> None:
    """Refuse a file or folder that other users own or can use. Raises ConfigurationError."""
    if status.st_uid != os.geteuid():
        raise ConfigurationError(f"{what}: it belongs to another user; name a folder of your own")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise ConfigurationError(f"{what}: other users can use it (mode {mode:04o}); {remedy}")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. The file stays: to remove it would let two servers lock two files of one name."""
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_private(path: Path, remedy: str = RESTORE) -> bytes | None:
    """The bytes of the file, or None if there is no file. A link is refused: what it leads to may be anybody's.

    Raises ConfigurationError, which ends with `remedy` where the file is damaged.
    """
    try:
        # O_NONBLOCK: a named pipe in the file's place must not hold up the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror or "it cannot be opened"
        raise damaged(path, reason, remedy) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise damaged(path, "it is not a file", remedy)
        check_private(f"state file {path}", status, f"run: chmod 600 {path}")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_FILE)
    finally:
        os.close(descriptor)


def read_private_json(path: Path, remedy: str = RESTORE) -> dict[str, Any] | None:
    """The object in the file, or None if there is no file. Raises ConfigurationError."""
    content = read_private(path, remedy)
    if content is None:
        return None
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        raise damaged(path, "it is not JSON", remedy) from None
    if not isinstance(value, dict):
        raise damaged(path, "it is not a JSON object", remedy)
    return value


def write_private_json(path: Path, value: dict[str, Any]) -> None:
    """Write the file whole or not at all. The caller holds the lock, so a leftover of a crash is nobody's work.

    Raises OSError.
    """
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(json.dumps(value, indent=2).encode("ascii") + b"\n")
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut: an API key that was shown must still be known afterwards."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def damaged(path: Path, reason: str, remedy: str = RESTORE) -> ConfigurationError:
    """The error for a file that cannot be used: which, why, and what to do."""
    return ConfigurationError(f"state file {path}: damaged: {reason}; {remedy}")
