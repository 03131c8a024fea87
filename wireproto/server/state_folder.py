"""What a server keeps between starts: the hashes of its API keys, and the keys that sign its tokens.

The folder is the server's alone, and so are its files (`private_files`). Who changes them does so under one lock, so
that servers that start at once end with the same keys, and no command undoes what another has done.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterator
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
from wireproto.core.signing_keys import HS256, SIGNING_SECRET_BYTES, SigningKey, SigningKeys
from wireproto.errors import ConfigurationError
from wireproto.server.private_files import (
    check_private_folder,
    damaged,
    locked,
    make_private,
    read_private_json,
    write_private_json,
)

API_KEYS_FILE: Final = "api-keys.json"
SIGNING_KEYS_FILE: Final = "token-signing-keys.json"
OLD_SIGNING_KEY_FILE: Final = "token-signing-key.json"
"""The one key of an older version. It is read where there is no other file, and removed when that is written."""
DEFAULT_CLIENT: Final = "default"

_API_KEYS_REMEDY: Final = "restore it, or remove it to have a new API key made (the old ones end)"
_SIGNING_KEYS_REMEDY: Final = "restore it, or remove it to have a new key made (clients log in again)"

Records = tuple[ApiKeyRecord, ...]
Keys = tuple[SigningKey, ...]


@dataclass(frozen=True, slots=True)
class State:
    """What a token authority is made of, and the API key if this start made one: it is shown once and never again."""

    records: Records
    signing_keys: SigningKeys
    new_api_key: str | None = field(default=None, repr=False)


def load_state(
    folder: Path, *, api_key_from_environment: str | None, namespace: str, may_make_api_key: bool = True
) -> State:
    """The state in `folder`, which is made if it is not there.

    The first start makes an API key for `namespace`, if it may, unless the environment has one. The environment's key
    takes the place of the stored ones and is not stored itself: who sets it can be sure that no older key works.
    Raises ConfigurationError, also where there is no API key and none may be made.
    """
    with _errors_of(folder):
        make_private(folder)
        with locked(folder):
            stored = _read_signing_keys(folder)
            if stored is None:
                stored = _StoredKeys(SigningKeys((new_signing_key(HS256),)), secrets.token_bytes(SIGNING_SECRET_BYTES))
                _write_signing_keys(folder, stored)
            if api_key_from_environment is not None:
                return State((_environment_record(api_key_from_environment, namespace, stored.salt),), stored.keys)
            records = _read_records(folder)
            if records is not None:
                return State(records, stored.keys)
            if not may_make_api_key:
                raise ConfigurationError(
                    f"state folder {folder}: there is no API key, and where other machines reach the server it makes"
                    " none by itself; run: wireproto keys create CLIENT, or set WIREPROTO_API_KEY"
                )
            text, record = new_api_key(DEFAULT_CLIENT, namespace)
            _write_records(folder, (record,))
            return State((record,), stored.keys, text)


def read_state(folder: Path, *, api_key_from_environment: str | None, namespace: str) -> State:
    """The state in `folder`, for a server that runs: nothing is made or written.

    Raises ConfigurationError also for what is not there: somebody may be about to put it back.
    """
    with _errors_of(folder):
        check_private_folder(folder)
        stored = _read_signing_keys(folder)
        if stored is None:
            raise _missing(folder / SIGNING_KEYS_FILE)
        if api_key_from_environment is not None:
            return State((_environment_record(api_key_from_environment, namespace, stored.salt),), stored.keys)
        return State(read_records(folder), stored.keys)


def read_records(folder: Path) -> Records:
    """The API keys in `folder`. Raises ConfigurationError."""
    with _errors_of(folder):
        check_private_folder(folder)
        records = _read_records(folder)
        if records is None:
            raise _missing(folder / API_KEYS_FILE)
        return records


def read_signing_keys(folder: Path) -> SigningKeys:
    """The signing keys in `folder`. Raises ConfigurationError."""
    with _errors_of(folder):
        check_private_folder(folder)
        stored = _read_signing_keys(folder)
        if stored is None:
            raise _missing(folder / SIGNING_KEYS_FILE)
        return stored.keys


def change_records(folder: Path, change: Callable[[Records], Records], *, make: bool = False) -> Records:
    """Put what `change` makes of the API keys in their place. Without a file it is given none.

    `make`: make the folder, if it is not there. Raises ConfigurationError, and what `change` raises: then nothing is
    changed.
    """
    with _errors_of(folder):
        (make_private if make else check_private_folder)(folder)
        with locked(folder):
            before = _read_records(folder)
            after = change(before or ())
            if after != before:
                _write_records(folder, after)
            return after


def change_signing_keys(folder: Path, change: Callable[[Keys], Keys]) -> SigningKeys:
    """Put what `change` makes of the signing keys in their place, in a folder that is made if it is not there.

    Without a file it is given none. Raises ConfigurationError, ValueError for keys that cannot work together, and what
    `change` raises: then nothing is changed.
    """
    with _errors_of(folder):
        make_private(folder)
        with locked(folder):
            stored = _read_signing_keys(folder)
            before = stored.keys.keys if stored is not None else ()
            keys = SigningKeys(change(before))
            if stored is not None and {key.id for key in before} & {key.id for key in keys.keys}:
                salt = stored.salt
            else:
                # All tokens end, so the environment's key may have another id; and the old salt may be known.
                salt = secrets.token_bytes(SIGNING_SECRET_BYTES)
            _write_signing_keys(folder, _StoredKeys(keys, salt))
            return keys


@contextmanager
def _errors_of(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"state folder {folder}: {error.strerror or error}") from error


def _missing(path: Path) -> ConfigurationError:
    return ConfigurationError(f"state file {path}: it is not there; the server's first start makes it")


# --- The API keys -----------------------------------------------------------------------------------------------------


def new_api_key(client: str, namespace: str, **more: Any) -> tuple[str, ApiKeyRecord]:
    """A new API key, which is kept nowhere, and its record with `more` of its fields."""
    text, key_id = make_api_key(secrets.token_bytes(API_KEY_RANDOM_BYTES))
    digest = hash_api_key(text.encode("ascii"))
    return text, ApiKeyRecord(key_id, digest, client, namespace, int(time.time()), **more)


def _environment_record(api_key: str, namespace: str, salt: bytes) -> ApiKeyRecord:
    """The record of the environment's key.

    Its id changes with the key, so that tokens of an earlier key end with it. The id stands in every token, where a
    piece of the plain hash would let a token's reader test guesses of a key that somebody chose; hence the HMAC.
    """
    problem = api_key_problem(api_key)
    if problem is not None:
        raise ConfigurationError(f"environment variable WIREPROTO_API_KEY: the value {problem}")
    digest = hash_api_key(api_key.encode("ascii"))
    key_id = "env-" + hmac.new(salt, b"environment key " + digest.encode("ascii"), hashlib.sha256).hexdigest()[:12]
    # When it was made is not known. The time of this look would make the same key another at every look.
    return ApiKeyRecord(key_id, digest, DEFAULT_CLIENT, namespace, 0)


def _read_records(folder: Path) -> Records | None:
    """The stored records, or None if there is no file. There may be none in it: all keys may have been taken away."""
    path = folder / API_KEYS_FILE
    stored = read_private_json(path, _API_KEYS_REMEDY)
    if stored is None:
        return None
    keys = stored.get("keys")
    if not isinstance(keys, list):
        raise damaged(path, "it holds no list of keys", _API_KEYS_REMEDY)
    try:
        records = tuple(ApiKeyRecord.from_json(key) for key in keys)
    except ValueError as error:
        raise damaged(path, str(error), _API_KEYS_REMEDY) from None
    if len({record.id for record in records}) != len(records):
        raise damaged(path, "two keys have the same id", _API_KEYS_REMEDY)
    return records


def _write_records(folder: Path, records: Records) -> None:
    write_private_json(folder / API_KEYS_FILE, {"keys": [record.to_json() for record in records]})


# --- The signing keys -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _StoredKeys:
    """The file's content. The salt is for the id of the environment's key, which must outlast a change of keys."""

    keys: SigningKeys
    salt: bytes = field(repr=False)


def new_signing_key(algorithm: str) -> SigningKey:
    """A new key."""
    return SigningKey(
        secrets.token_hex(8), algorithm, int(time.time()), None, secrets.token_bytes(SIGNING_SECRET_BYTES)
    )


def _read_signing_keys(folder: Path) -> _StoredKeys | None:
    """The stored keys, or None if there is no file."""
    path = folder / SIGNING_KEYS_FILE
    stored = read_private_json(path, _SIGNING_KEYS_REMEDY)
    if stored is None:
        path = folder / OLD_SIGNING_KEY_FILE
        old = read_private_json(path, _SIGNING_KEYS_REMEDY)
        if old is None:
            return None
        # Its secret was the salt, too.
        key = {"id": old.get("key_id"), "algorithm": HS256, "created": 0, "key": old.get("key")}
        stored = {"keys": [key], "salt": old.get("key")}
    try:
        return _StoredKeys(SigningKeys.from_json(stored.get("keys")), _salt(stored.get("salt")))
    except ValueError as error:
        raise damaged(path, str(error), _SIGNING_KEYS_REMEDY) from None


def _salt(encoded: object) -> bytes:
    if not isinstance(encoded, str):
        raise ValueError("salt must be text")
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError:
        raise ValueError("salt is not base64") from None


def _write_signing_keys(folder: Path, stored: _StoredKeys) -> None:
    """Write them, and remove the old file: a key in it must not come back when this one is removed."""
    salt = base64.b64encode(stored.salt).decode("ascii")
    write_private_json(folder / SIGNING_KEYS_FILE, {"keys": stored.keys.to_json(), "salt": salt})
    (folder / OLD_SIGNING_KEY_FILE).unlink(missing_ok=True)
