"""What a server keeps between starts: the hashes of its API keys, and the key that signs its tokens.

The folder is the server's alone (mode 0700), its files too (0600). Every file is written whole, to another name first,
and renamed; all of it happens under one lock, so that servers that start at once end with the same keys. The lock is
held for milliseconds, so a start waits for it rather than fail.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import hashlib
import hmac
import json
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from wireproto.core.api_keys import (
    API_KEY_RANDOM_BYTES,
    ApiKeyRecord,
    api_key_problem,
    hash_api_key,
    make_api_key,
)
from wireproto.core.names import is_name
from wireproto.core.tokens import MIN_SIGNING_KEY
from wireproto.errors import ConfigurationError

API_KEYS_FILE: Final = "api-keys.json"
SIGNING_KEY_FILE: Final = "token-signing-key.json"
LOCK_FILE: Final = "lock"
DEFAULT_CLIENT: Final = "default"

_MAX_FILE: Final = 16 * 1024 * 1024
"""Bytes that are read of a file: room for 80,000 API keys, and an end to a file that has none."""
_REMEDIES: Final = {
    API_KEYS_FILE: "restore it, or remove it to have a new API key made (the old ones end)",
    SIGNING_KEY_FILE: "restore it, or remove it to have a new key made (clients log in again)",
}


@dataclass(frozen=True, slots=True)
class State:
    """What a token authority is made of, and the API key if this start made one: it is shown once and never again."""

    records: tuple[ApiKeyRecord, ...]
    signing_key: bytes = field(repr=False)
    key_id: str
    new_api_key: str | None = field(default=None, repr=False)


def load_state(folder: Path, *, api_key_from_environment: str | None, namespace: str) -> State:
    """The state in `folder`, which is made if it is not there.

    The first start makes an API key for `namespace`, unless the environment has one. The environment's key takes the
    place of the stored ones and is not stored itself: who sets it can be sure that no older key works.
    Raises ConfigurationError.
    """
    try:
        _make_private(folder)
        with _locked(folder):
            signing_key, key_id = _signing_key(folder)
            if api_key_from_environment is not None:
                record = _environment_record(api_key_from_environment, namespace, signing_key)
                return State((record,), signing_key, key_id)
            records, new_api_key = _api_keys(folder, namespace)
            return State(records, signing_key, key_id, new_api_key)
    except OSError as error:
        raise ConfigurationError(f"state folder {folder}: {error.strerror or error}") from error


# --- The API keys -----------------------------------------------------------------------------------------------------


def _environment_record(api_key: str, namespace: str, signing_key: bytes) -> ApiKeyRecord:
    """The record of the environment's key.

    Its id changes with the key, so that tokens of an earlier key end with it. The id stands in every token, where a
    piece of the plain hash would let a token's reader test guesses of a key that somebody chose; hence the HMAC.
    """
    problem = api_key_problem(api_key)
    if problem is not None:
        raise ConfigurationError(f"environment variable WIREPROTO_API_KEY: the value {problem}")
    digest = hash_api_key(api_key.encode("ascii"))
    key_id = (
        "env-" + hmac.new(signing_key, b"environment key " + digest.encode("ascii"), hashlib.sha256).hexdigest()[:12]
    )
    return ApiKeyRecord(key_id, digest, DEFAULT_CLIENT, namespace, int(time.time()))


def _api_keys(folder: Path, namespace: str) -> tuple[tuple[ApiKeyRecord, ...], str | None]:
    """The stored records, or one of a new key, and that key."""
    path = folder / API_KEYS_FILE
    stored = _read_json(path)
    if stored is not None:
        return _stored_records(path, stored), None
    text, key_id = make_api_key(secrets.token_bytes(API_KEY_RANDOM_BYTES))
    record = ApiKeyRecord(key_id, hash_api_key(text.encode("ascii")), DEFAULT_CLIENT, namespace, int(time.time()))
    _write_json(path, {"keys": [record.to_json()]})
    return (record,), text


def _stored_records(path: Path, stored: dict[str, Any]) -> tuple[ApiKeyRecord, ...]:
    """The records of the file's content."""
    keys = stored.get("keys")
    if not isinstance(keys, list) or not keys:
        raise _damaged(path, "it holds no keys")
    try:
        records = tuple(ApiKeyRecord.from_json(key) for key in keys)
    except ValueError as error:
        raise _damaged(path, str(error)) from None
    if len({record.id for record in records}) != len(records):
        raise _damaged(path, "two keys have the same id")
    return records


# --- The signing key --------------------------------------------------------------------------------------------------


def _signing_key(folder: Path) -> tuple[bytes, str]:
    """The key that signs tokens, and its id; made if it is not there."""
    path = folder / SIGNING_KEY_FILE
    stored = _read_json(path)
    if stored is None:
        stored = {
            "key_id": secrets.token_hex(8),
            "key": base64.b64encode(secrets.token_bytes(MIN_SIGNING_KEY)).decode("ascii"),
        }
        _write_json(path, stored)
    key_id, encoded = stored.get("key_id"), stored.get("key")
    if not is_name(key_id):
        raise _damaged(path, "key_id is missing or not a name")
    if not isinstance(encoded, str):
        raise _damaged(path, "key is missing")
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise _damaged(path, "key is not base64") from None
    if len(key) < MIN_SIGNING_KEY:
        raise _damaged(path, f"key has fewer than {MIN_SIGNING_KEY} bytes")
    return key, key_id


# --- The folder and its files -----------------------------------------------------------------------------------------


def _make_private(folder: Path) -> None:
    """Make the folder, or refuse one that somebody else owns, reads or writes. It may be a link to such a folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    status = folder.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigurationError(f"state folder {folder}: it is not a folder; name another or remove it")
    _check_private(f"state folder {folder}", status, f"run: chmod 700 {folder}")


def _check_private(what: str, status: os.stat_result, remedy: str) -> None:
    """Refuse a file or folder that other users own or can use."""
    if status.st_uid != os.geteuid():
        raise ConfigurationError(f"{what}: it belongs to another user; name a folder of your own")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise ConfigurationError(f"{what}: other users can use it (mode {mode:04o}); {remedy}")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. The file stays: to remove it would let two servers lock two files of one name."""
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read_json(path: Path) -> dict[str, Any] | None:
    """The object in the file, or None if there is no file."""
    content = _read_private(path)
    if content is None:
        return None
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        raise _damaged(path, "it is not JSON") from None
    if not isinstance(value, dict):
        raise _damaged(path, "it is not a JSON object")
    return value


def _read_private(path: Path) -> bytes | None:
    """The bytes of the file, or None if there is no file. A link is refused: what it leads to may be anybody's."""
    try:
        # O_NONBLOCK: a named pipe in the file's place must not hold up the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror or "it cannot be opened"
        raise _damaged(path, reason) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _damaged(path, "it is not a file")
        _check_private(f"state file {path}", status, f"run: chmod 600 {path}")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(_MAX_FILE)
    finally:
        os.close(descriptor)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    """Write the file whole or not at all. The caller holds the lock, so a leftover of a crash is nobody's work."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(json.dumps(value, indent=2).encode("ascii") + b"\n")
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut: an API key that was shown must still be known afterwards."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _damaged(path: Path, reason: str) -> ConfigurationError:
    """The error for a file that cannot be used: which, why, and what to do."""
    return ConfigurationError(f"state file {path}: damaged: {reason}; {_REMEDIES[path.name]}")
