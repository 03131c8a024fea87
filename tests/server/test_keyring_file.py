"""Where a server's encryption keys come from, and what is wrong with the file."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest

from wireproto.core.keyring import EncryptionKey, Keyring
from wireproto.errors import ConfigurationError
from wireproto.server.keyring_file import KEYRING_FILE, change_keyring, load_keyring
from wireproto.server.state_folder import load_state
from wireproto.server.worker_messages import keyring_from_json, keys_to_json
from wireproto.settings import Settings

SECRET = b"hunter2-hunter2-hunter2-hunter2-"
TEXT = base64.b64encode(SECRET).decode()
KEYRING = Keyring((EncryptionKey("a", None, SECRET, 1, "seal"), EncryptionKey("b", "shop", SECRET, 2, "open")), ("x",))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_folder=tmp_path / "state")


def refusal(settings: Settings, *, must_exist: bool = False) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_keyring(settings, must_exist=must_exist)
    assert TEXT[:16] not in str(caught.value)
    return str(caught.value)


def test_without_a_file_nothing_is_encrypted(settings: Settings) -> None:
    assert load_keyring(settings) == Keyring()
    assert not settings.state_folder.exists()


def test_a_file_in_the_state_folder_is_found(settings: Settings) -> None:
    assert change_keyring(settings, lambda _: KEYRING) == KEYRING
    assert load_keyring(settings) == KEYRING
    assert load_keyring(settings, must_exist=True) == KEYRING


def test_a_file_that_is_named(settings: Settings, tmp_path: Path) -> None:
    named = replace(settings, keyring=tmp_path / "keys.json")
    change_keyring(named, lambda _: KEYRING)
    assert load_keyring(named) == KEYRING
    assert load_keyring(settings) == Keyring()


def test_a_file_that_is_named_must_be_there(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    assert refusal(replace(settings, keyring=path)) == (
        f"keyring {path}: it is not there; restore it, or make one with: wireproto keyring add --keyring {path}"
    )


def test_a_file_that_has_gone_does_not_end_encryption(settings: Settings) -> None:
    path = settings.state_folder / KEYRING_FILE
    change_keyring(settings, lambda _: KEYRING)
    path.unlink()
    assert refusal(settings, must_exist=True).startswith(f"keyring {path}: it is not there; restore it")


def test_a_file_in_a_folder_that_is_not_there(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "keys.json"
    with pytest.raises(ConfigurationError, match=f"^keyring {path}: No such file or directory$"):
        change_keyring(replace(settings, keyring=path), lambda _: KEYRING)


def test_keys_of_the_environment(settings: Settings) -> None:
    keyring = load_keyring(replace(settings, encryption_keys=f"a={TEXT}"))
    assert keyring == Keyring((EncryptionKey("a", None, SECRET, 0, "seal"),))


def test_keys_in_two_places(settings: Settings) -> None:
    change_keyring(settings, lambda _: KEYRING)
    assert refusal(replace(settings, encryption_keys=f"a={TEXT}")) == (
        "environment variable WIREPROTO_ENCRYPTION_KEYS: there are keys in the file"
        f" {settings.state_folder / KEYRING_FILE} too; have all in one of them, and remove the other"
    )


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_can_use_is_refused(settings: Settings, mode: int) -> None:
    change_keyring(settings, lambda _: KEYRING)
    path = settings.state_folder / KEYRING_FILE
    path.chmod(mode)
    assert refusal(settings) == f"state file {path}: other users can use it (mode {mode:04o}); run: chmod 600 {path}"


def test_a_link_is_refused(settings: Settings, tmp_path: Path) -> None:
    change_keyring(settings, lambda _: KEYRING)
    path = settings.state_folder / KEYRING_FILE
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert "it is a symbolic link" in refusal(settings)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is not JSON"),
        (b"[]", "it is not a JSON object"),
        (b"{}", "a keyring must be an object with the field keys"),
        (json.dumps({"keys": [{"id": "a", "secret": TEXT, "created": 1, "use": "wrap"}]}).encode(), "key a: use must"),
        (
            json.dumps({"keys": [{"id": "a", "secret": TEXT * 2, "created": 1, "use": "seal"}]}).encode(),
            "secret must be",
        ),
    ],
)
def test_damaged_files(settings: Settings, content: bytes, reason: str) -> None:
    change_keyring(settings, lambda _: KEYRING)
    path = settings.state_folder / KEYRING_FILE
    path.write_bytes(content)
    message = refusal(settings)
    assert message.startswith(f"state file {path}: damaged: {reason}")
    assert message.endswith("; restore it; values that its keys have sealed cannot be read without it")


def test_what_cannot_be_changed_stays(settings: Settings) -> None:
    change_keyring(settings, lambda _: KEYRING)

    def fail(_: Keyring) -> Keyring:
        raise ConfigurationError("no")

    with pytest.raises(ConfigurationError, match=r"^no$"):
        change_keyring(settings, fail)
    assert load_keyring(settings) == KEYRING


def test_workers_are_given_the_keys(tmp_path: Path) -> None:
    state = load_state(tmp_path / "state", api_key_from_environment=None, namespace="default")
    message = json.loads(json.dumps(keys_to_json(state, KEYRING)))
    assert keyring_from_json(message) == KEYRING
    assert keyring_from_json(keys_to_json(state)) == Keyring()
