"""The keyring's file, private as the state folder's files are; and where a server's keys come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from wireproto.core.keyring import NO_KEYS, Keyring
from wireproto.errors import ConfigurationError
from wireproto.server.private_files import damaged, locked, make_private, read_private_json, write_private_json
from wireproto.server.secrets_watch import WatchedSecret
from wireproto.settings import Settings

KEYRING_FILE: Final = "keyring.json"
"""In the state folder, unless the setting `keyring` names another file."""
_VARIABLE: Final = "WIREPROTO_ENCRYPTION_KEYS"
_REMEDY: Final = "restore it; values that its keys have sealed cannot be read without it"


def keyring_path(settings: Settings) -> Path:
    """The keyring's file. It need not be there."""
    return settings.keyring or settings.state_folder / KEYRING_FILE


def load_keyring(settings: Settings, *, must_exist: bool = False) -> Keyring:
    """The keys that encrypt values: the environment's, or those of the keyring's file; none if there is neither.

    `must_exist` is for a server that has had keys of the file: that it has gone is then an error, for without it
    nothing would be encrypted any more, and nothing that was could be read. Raises ConfigurationError.
    """
    path = keyring_path(settings)
    with _errors_of(path):
        stored = read_keyring(path)
    if settings.encryption_keys is not None:
        if stored is not None:
            raise ConfigurationError(
                f"environment variable {_VARIABLE}: there are keys in the file {path} too; have all in one of them,"
                " and remove the other"
            )
        return Keyring.from_text(settings.encryption_keys)
    if stored is None and (must_exist or settings.keyring is not None):
        raise ConfigurationError(
            f"keyring {path}: it is not there; restore it, or make one with: wireproto keyring add --keyring {path}"
        )
    return stored or NO_KEYS


def read_keyring(path: Path) -> Keyring | None:
    """The keyring in a file, None if there is no file. Raises ConfigurationError, which quotes no secret."""
    content = read_private_json(path, _REMEDY)
    if content is None:
        return None
    try:
        return Keyring.from_json(content)
    except ValueError as error:
        raise damaged(path, str(error), _REMEDY) from None


def change_keyring(settings: Settings, change: Callable[[Keyring], Keyring]) -> Keyring:
    """Put what `change` makes of the keyring into its file. Without a file it is given an empty one.

    The file is made (mode 0600), and so is a state folder (0700). Raises ConfigurationError, also where the keys are
    the environment's, and what `change` raises: then nothing is changed.
    """
    if settings.encryption_keys is not None:
        raise ConfigurationError(f"environment variable {_VARIABLE}: it holds the keys, so change them there")
    path = keyring_path(settings)
    with _errors_of(path):
        if settings.keyring is None:
            make_private(path.parent)
        with locked(path.parent):
            before = read_keyring(path)
            after = change(before or NO_KEYS)
            if after != before:
                write_private_json(path, after.to_json())
            return after


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"keyring {path}: {error.strerror or error}") from None


def watched_keyring(settings: Settings, at_start: Keyring, use: Callable[[Keyring], None]) -> WatchedSecret[Keyring]:
    """The keyring as a secret that may change while the server runs. A file that vanishes does not end encryption."""
    in_use = at_start

    def load() -> Keyring:
        return load_keyring(settings, must_exist=bool(in_use.keys))

    def take(keyring: Keyring) -> None:
        nonlocal in_use
        in_use = keyring
        use(keyring)

    return WatchedSecret("the keys that encrypt values", (keyring_path(settings),), load, take, at_start)
