"""The state folder: private, written whole, the same at every start, and clear about what is wrong with it."""

from __future__ import annotations

import base64
import hmac
import json
import multiprocessing
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wireproto.core.api_keys import CredentialError, hash_api_key, make_api_key, record_of
from wireproto.core.signing_keys import with_new_key
from wireproto.core.tokens import TokenAuthority
from wireproto.errors import ConfigurationError
from wireproto.server.private_files import LOCK_FILE
from wireproto.server.state_folder import (
    API_KEYS_FILE,
    DEFAULT_CLIENT,
    OLD_SIGNING_KEY_FILE,
    SIGNING_KEYS_FILE,
    State,
    change_records,
    change_signing_keys,
    load_state,
    new_api_key,
    new_signing_key,
    read_records,
    read_signing_keys,
    read_state,
)

NOW = 1_750_000_000
OWN_KEY = "an-api-key-that-an-operator-chose"


def load(folder: Path, api_key: str | None = None, namespace: str = "orders") -> State:
    return load_state(folder, api_key_from_environment=api_key, namespace=namespace)


def refusal(folder: Path, api_key: str | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(folder, api_key)
    return str(caught.value)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def authority(state: State) -> TokenAuthority:
    return TokenAuthority(state.records, state.signing_keys, 900)


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def started(folder: Path) -> Path:
    """A folder in which a server was started once."""
    load(folder)
    return folder


# --- Starts -----------------------------------------------------------------------------------------------------------


def test_the_first_start_makes_a_key_that_works(folder: Path) -> None:
    state = load(folder)
    assert state.new_api_key is not None
    record = record_of(state.new_api_key.encode(), state.records)
    assert (record.client, record.namespace) == (DEFAULT_CLIENT, "orders")
    token, identity = authority(state).login(state.new_api_key.encode(), NOW, "token-1")
    assert authority(state).verify(token.encode(), NOW) == identity


def test_the_key_is_shown_once_and_kept_nowhere(folder: Path) -> None:
    state = load(folder)
    assert state.new_api_key is not None
    assert load(folder).new_api_key is None
    for part in state.new_api_key.split("_")[2:]:
        assert part.encode() not in everything_in(folder)
    assert hash_api_key(state.new_api_key.encode()).encode() in everything_in(folder)


def test_the_state_does_not_show_its_secrets(folder: Path) -> None:
    state = load(folder)
    assert state.new_api_key is not None
    assert state.new_api_key not in repr(state)
    assert repr(state.signing_keys.newest.secret) not in repr(state)


def test_no_key_is_made_where_none_may_be_made(folder: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_state(folder, api_key_from_environment=None, namespace="orders", may_make_api_key=False)
    assert str(caught.value) == (
        f"state folder {folder}: there is no API key, and where other machines reach the server it makes none by"
        " itself; run: wireproto keys create CLIENT, or set WIREPROTO_API_KEY"
    )
    assert not (folder / API_KEYS_FILE).exists()
    own = load_state(folder, api_key_from_environment=OWN_KEY, namespace="orders", may_make_api_key=False)
    assert own.new_api_key is None
    made = load(folder)
    later = load_state(folder, api_key_from_environment=None, namespace="orders", may_make_api_key=False)
    assert later.records == made.records


def test_the_environments_key_is_the_same_at_every_look(folder: Path) -> None:
    """Else a running server would take it for a new one."""
    state = load(folder, OWN_KEY)
    assert state.records[0].created == 0
    assert read_state(folder, api_key_from_environment=OWN_KEY, namespace="orders") == state


def test_later_starts_have_the_same_keys(folder: Path) -> None:
    first, second, third = load(folder), load(folder), load(folder, namespace="other")
    assert first.new_api_key is not None
    assert (first.records, first.signing_keys) == (second.records, second.signing_keys)
    assert third == second, "the namespace is that of the key which is made, not of a key which is there"
    token, identity = authority(first).login(first.new_api_key.encode(), NOW, "token-1")
    assert authority(second).verify(token.encode(), NOW) == identity


def test_two_folders_have_nothing_in_common(tmp_path: Path) -> None:
    one, other = load(tmp_path / "one"), load(tmp_path / "other")
    assert one.signing_keys.newest.secret != other.signing_keys.newest.secret
    assert one.signing_keys.newest.id != other.signing_keys.newest.id
    assert one.records[0].hash != other.records[0].hash
    assert len(one.signing_keys.newest.secret) == 32


def test_a_removed_file_is_made_again(started: Path) -> None:
    before = load(started)
    (started / API_KEYS_FILE).unlink()
    after = load(started)
    assert after.new_api_key is not None
    assert after.signing_keys == before.signing_keys
    assert after.records[0].hash != before.records[0].hash
    (started / SIGNING_KEYS_FILE).unlink()
    last = load(started)
    assert last.signing_keys != after.signing_keys
    assert last.records == after.records


def test_a_removed_key_takes_its_tokens_along(folder: Path) -> None:
    state = load(folder)
    assert state.new_api_key is not None
    token, _ = authority(state).login(state.new_api_key.encode(), NOW, "token-1")
    (folder / API_KEYS_FILE).unlink()
    with pytest.raises(CredentialError) as caught:
        authority(load(folder)).verify(token.encode(), NOW)
    assert caught.value.reason == "the API key of this token is no longer known"


def test_keys_of_several_clients(started: Path) -> None:
    """An operator may add records by hand."""
    path = started / API_KEYS_FILE
    content = json.loads(path.read_text())
    content["keys"].append(
        {"id": "desk", "hash": hash_api_key(OWN_KEY.encode()), "client": "desk", "namespace": "desk", "created": NOW}
    )
    path.write_text(json.dumps(content))
    assert authority(load(started)).login(OWN_KEY.encode(), NOW, "token-1")[1].client == "desk"


# --- The environment's key --------------------------------------------------------------------------------------------


def test_the_key_of_the_environment_takes_the_place_of_the_stored_ones(folder: Path) -> None:
    first = load(folder)
    assert first.new_api_key is not None
    state = load(folder, OWN_KEY, namespace="billing")
    assert state.new_api_key is None
    assert [(record.client, record.namespace) for record in state.records] == [(DEFAULT_CLIENT, "billing")]
    assert record_of(OWN_KEY.encode(), state.records)
    with pytest.raises(CredentialError):
        record_of(first.new_api_key.encode(), state.records)
    assert load(folder).records == first.records, "without it the stored keys are back"


def test_the_key_of_the_environment_is_not_stored(folder: Path) -> None:
    load(folder, OWN_KEY)
    assert not (folder / API_KEYS_FILE).exists()
    assert OWN_KEY.encode() not in everything_in(folder)
    assert hash_api_key(OWN_KEY.encode()).encode() not in everything_in(folder)


def test_tokens_end_with_the_key_of_the_environment(folder: Path) -> None:
    token, identity = authority(load(folder, OWN_KEY)).login(OWN_KEY.encode(), NOW, "token-1")
    assert authority(load(folder, OWN_KEY)).verify(token.encode(), NOW) == identity
    for state in (load(folder, OWN_KEY + "-2"), load(folder)):
        with pytest.raises(CredentialError):
            authority(state).verify(token.encode(), NOW)


def test_the_id_of_the_environment_key_tells_nothing_about_it(tmp_path: Path) -> None:
    """It stands in every token: were it made of the key alone, a reader could try out guesses."""
    ids = {load(tmp_path / name, OWN_KEY).records[0].id for name in ("one", "other")}
    assert len(ids) == 2
    assert not any(hash_api_key(OWN_KEY.encode())[:4] in key_id for key_id in ids)


@pytest.mark.parametrize("api_key", ["", "too-short", "with.a.dot.in.it.somewhere", "wörter-mit-umlauten-darin"])
def test_a_bad_key_of_the_environment(folder: Path, api_key: str) -> None:
    message = refusal(folder, api_key)
    assert message.startswith("environment variable WIREPROTO_API_KEY: the value must ")
    assert not api_key or api_key not in message


def test_a_mistyped_key_of_the_environment(folder: Path) -> None:
    api_key, _ = make_api_key(bytes(30))
    message = refusal(folder, api_key[:-1] + "x" if api_key[-1] == "0" else api_key[:-1] + "0")
    assert message.startswith("environment variable WIREPROTO_API_KEY: the value is mistyped")


# --- Modes and owners -------------------------------------------------------------------------------------------------


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_everything_is_ours_alone_whatever_the_umask(folder: Path, umask: int) -> None:
    load(folder)
    assert mode(folder) == 0o700
    assert {path.name: mode(path) for path in folder.iterdir()} == {
        API_KEYS_FILE: 0o600,
        SIGNING_KEYS_FILE: 0o600,
        LOCK_FILE: 0o600,
    }


def test_the_folders_above_are_made(tmp_path: Path) -> None:
    load(tmp_path / "one" / "two" / "state")
    assert mode(tmp_path / "one" / "two" / "state") == 0o700


@pytest.mark.parametrize("bits", [0o755, 0o750, 0o701, 0o770, 0o777, 0o720])
def test_a_folder_that_others_can_use_is_refused(started: Path, bits: int) -> None:
    started.chmod(bits)
    message = refusal(started)
    assert message == (f"state folder {started}: other users can use it (mode {bits:04o}); run: chmod 700 {started}")
    started.chmod(0o700)
    load(started)


@pytest.mark.parametrize("name", [API_KEYS_FILE, SIGNING_KEYS_FILE])
@pytest.mark.parametrize("bits", [0o644, 0o640, 0o602])
def test_a_file_that_others_can_use_is_refused(started: Path, name: str, bits: int) -> None:
    (started / name).chmod(bits)
    message = refusal(started)
    assert message == (
        f"state file {started / name}: other users can use it (mode {bits:04o}); run: chmod 600 {started / name}"
    )


def test_a_folder_of_another_user_is_refused(started: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: started.stat().st_uid + 1)
    assert refusal(started) == f"state folder {started}: it belongs to another user; name a folder of your own"


# --- What is in the way -----------------------------------------------------------------------------------------------


def test_a_file_in_place_of_the_folder(folder: Path) -> None:
    folder.write_text("")
    assert refusal(folder) == f"state folder {folder}: it is not a folder; name another or remove it"


def test_a_file_in_place_of_a_folder_above(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert refusal(tmp_path / "file" / "state").startswith(f"state folder {tmp_path}/file/state: ")


def test_a_link_to_a_private_folder_will_do(started: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(started)
    assert load(link) == load(started)


def test_a_link_to_a_folder_of_everybody_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    folder.symlink_to(tmp_path / "open")
    assert "other users can use it (mode 0755)" in refusal(folder)


def test_a_link_to_nothing_is_refused(folder: Path, tmp_path: Path) -> None:
    folder.symlink_to(tmp_path / "nothing")
    assert refusal(folder) == f"state folder {folder}: No such file or directory"


@pytest.mark.parametrize("name", [API_KEYS_FILE, SIGNING_KEYS_FILE])
def test_a_link_in_place_of_a_file_is_refused(started: Path, tmp_path: Path, name: str) -> None:
    (started / name).rename(tmp_path / "elsewhere")
    (started / name).symlink_to(tmp_path / "elsewhere")
    assert refusal(started).startswith(f"state file {started / name}: damaged: it is a symbolic link; restore it, or ")


def test_a_link_in_place_of_the_lock_is_refused(started: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (started / LOCK_FILE).unlink()
    (started / LOCK_FILE).symlink_to(tmp_path / "precious")
    assert refusal(started).startswith(f"state folder {started}: ")
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize("name", [API_KEYS_FILE, SIGNING_KEYS_FILE])
def test_a_folder_or_a_pipe_in_place_of_a_file_is_refused(started: Path, name: str) -> None:
    (started / name).unlink()
    (started / name).mkdir()
    assert refusal(started).startswith(f"state file {started / name}: damaged: it is not a file; restore it, or ")
    (started / name).rmdir()
    os.mkfifo(started / name)
    assert refusal(started).startswith(f"state file {started / name}: damaged: it is not a file; restore it, or ")


@pytest.mark.parametrize("leftover", ["", '{"keys": [', "x" * 1000])
def test_what_a_crash_left_behind_is_no_harm(started: Path, leftover: str) -> None:
    state = load(started)
    for name in (API_KEYS_FILE, SIGNING_KEYS_FILE):
        (started / f".{name}.new").write_text(leftover)
    assert load(started) == state
    (started / API_KEYS_FILE).unlink()
    assert load(started).new_api_key is not None
    assert not (started / f".{API_KEYS_FILE}.new").exists()


def test_a_leftover_that_is_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    folder.mkdir(mode=0o700)
    (folder / f".{API_KEYS_FILE}.new").symlink_to(tmp_path / "precious")
    assert load(folder).new_api_key is not None
    assert (tmp_path / "precious").read_text() == "precious"


# --- Damage -----------------------------------------------------------------------------------------------------------

ANY_FILE_DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is not JSON"),
    "cut": (b'{"keys": [{"id": "x"', "it is not JSON"),
    "binary": (bytes(range(256)), "it is not JSON"),
    "deep": (b"[" * 100_000, "it is not JSON"),
    "a long number": (b'{"keys": ' + b"9" * 5000 + b"}", "it is not JSON"),
    "a list": (b"[]", "it is not a JSON object"),
    "null": (b"null", "it is not a JSON object"),
}


@pytest.mark.parametrize("name", [API_KEYS_FILE, SIGNING_KEYS_FILE])
@pytest.mark.parametrize("damage", ANY_FILE_DAMAGED)
def test_files_that_are_no_json_object(started: Path, name: str, damage: str) -> None:
    content, reason = ANY_FILE_DAMAGED[damage]
    (started / name).write_bytes(content)
    assert refusal(started).startswith(f"state file {started / name}: damaged: {reason}; restore it, or remove it")
    assert (started / name).read_bytes() == content, "it is left for a person to look at"


RECORD: dict[str, Any] = {"id": "x", "hash": "0" * 64, "client": "c", "namespace": "n", "created": 0}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "it holds no list of keys"),
        ({"keys": {"x": 1}}, "it holds no list of keys"),
        ({"keys": ["x"]}, "a key must be an object"),
        ({"keys": [RECORD, RECORD]}, "two keys have the same id"),
        ({"keys": [RECORD | {"hash": "short"}]}, "hash must be 64 hexadecimal digits"),
        ({"keys": [RECORD | {"namespace": "a b"}]}, "namespace must be 1-64 letters"),
    ],
)
def test_damaged_api_keys(started: Path, content: object, reason: str) -> None:
    (started / API_KEYS_FILE).write_text(json.dumps(content))
    message = refusal(started)
    assert message.startswith(f"state file {started / API_KEYS_FILE}: damaged: {reason}")
    assert message.endswith("; restore it, or remove it to have a new API key made (the old ones end)")


def test_damaged_api_keys_do_not_matter_beside_the_key_of_the_environment(started: Path) -> None:
    (started / API_KEYS_FILE).write_text("damaged")
    assert len(load(started, OWN_KEY).records) == 1


SECRET = base64.b64encode(b"s" * 32).decode()
SIGNING: dict[str, Any] = {"id": "x", "algorithm": "HS256", "created": NOW, "key": SECRET}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "it holds no keys"),
        ({"keys": []}, "it holds no keys"),
        ({"keys": {"id": "x"}}, "it holds no keys"),
        ({"keys": ["x"]}, "a key must be an object with the fields id, algorithm, created, key, and perhaps retired"),
        ({"keys": [SIGNING | {"more": 1}]}, "a key must be an object with the fields"),
        ({"keys": [SIGNING | {"id": 5}]}, "id must be 1-64 letters"),
        ({"keys": [SIGNING | {"id": "../x"}]}, "id must be 1-64 letters"),
        ({"keys": [SIGNING | {"algorithm": "none"}]}, "algorithm must be one of HS256, EdDSA"),
        ({"keys": [SIGNING | {"algorithm": ["HS256"]}]}, "algorithm must be one of HS256, EdDSA"),
        ({"keys": [SIGNING | {"created": None}]}, "created must be a whole number of seconds"),
        ({"keys": [SIGNING | {"retired": True}]}, "retired must be a whole number of seconds"),
        ({"keys": [SIGNING | {"retired": NOW}]}, "there is no signing key that is not retired"),
        ({"keys": [SIGNING, SIGNING]}, "two signing keys have the same id"),
        ({"keys": [SIGNING | {"key": [1]}]}, "key must be text"),
        ({"keys": [SIGNING | {"key": "!" + SECRET}]}, "key is not base64"),
        ({"keys": [SIGNING | {"key": SECRET[:-1]}]}, "key is not base64"),
        ({"keys": [SIGNING | {"key": ""}]}, "key has fewer than 32 bytes"),
        ({"keys": [SIGNING | {"key": base64.b64encode(b"s" * 31).decode()}]}, "key has fewer than 32 bytes"),
        (
            {"keys": [SIGNING | {"algorithm": "EdDSA", "key": base64.b64encode(b"s" * 33).decode()}]},
            "key must have 32 bytes for EdDSA",
        ),
        ({"keys": [SIGNING]}, "salt must be text"),
        ({"keys": [SIGNING], "salt": "!"}, "salt is not base64"),
    ],
)
def test_damaged_signing_keys(started: Path, content: object, reason: str) -> None:
    (started / SIGNING_KEYS_FILE).write_text(json.dumps(content))
    message = refusal(started)
    assert message.startswith(f"state file {started / SIGNING_KEYS_FILE}: damaged: {reason}")
    assert message.endswith("; restore it, or remove it to have a new key made (clients log in again)")
    assert SECRET[:-1] not in message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "key must be text"),
        ({"key_id": "../x", "key": SECRET}, "id must be 1-64 letters"),
        ({"key_id": "x"}, "key must be text"),
        ({"key_id": "x", "key": SECRET[:-1]}, "key is not base64"),
        ({"key_id": "x", "key": base64.b64encode(b"s" * 31).decode()}, "key has fewer than 32 bytes"),
    ],
)
def test_a_damaged_signing_key_of_an_older_version(older: Path, content: object, reason: str) -> None:
    (older / OLD_SIGNING_KEY_FILE).write_text(json.dumps(content))
    message = refusal(older)
    assert message.startswith(f"state file {older / OLD_SIGNING_KEY_FILE}: damaged: {reason}")
    assert not (older / SIGNING_KEYS_FILE).exists()


# --- Installations of an older version --------------------------------------------------------------------------------

OLD_SIGNING_KEY = {"key_id": "0123456789abcdef", "key": SECRET}
OLD_RECORD = {"id": "old", "hash": hash_api_key(OWN_KEY.encode()), "client": "c", "namespace": "n", "created": NOW}


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2))
    path.chmod(0o600)


@pytest.fixture
def older(folder: Path) -> Path:
    """A folder as an older version has left it."""
    folder.mkdir(mode=0o700)
    write(folder / API_KEYS_FILE, {"keys": [OLD_RECORD]})
    write(folder / OLD_SIGNING_KEY_FILE, OLD_SIGNING_KEY)
    return folder


def test_an_older_installation_goes_on(older: Path) -> None:
    state = load(older)
    assert state == read_state(older, api_key_from_environment=None, namespace="orders")
    assert state.new_api_key is None
    key = state.signing_keys.newest
    assert (key.id, key.algorithm, key.created, key.secret) == ("0123456789abcdef", "HS256", 0, b"s" * 32)
    token, identity = authority(state).login(OWN_KEY.encode(), NOW, "token-1")
    assert authority(load(older)).verify(token.encode(), NOW) == identity
    assert identity.access.allow == ("read", "write", "delete", "stats")
    assert json.loads((older / API_KEYS_FILE).read_text()) == {"keys": [OLD_RECORD]}


def test_the_key_of_the_environment_has_the_id_that_it_had(older: Path) -> None:
    digest = b"environment key " + hash_api_key(OWN_KEY.encode()).encode()
    key_id = "env-" + hmac.new(b"s" * 32, digest, "sha256").hexdigest()[:12]
    assert load(older, OWN_KEY).records[0].id == key_id


def test_the_first_change_of_keys_replaces_the_old_file(older: Path) -> None:
    before = load(older).signing_keys.newest
    new = new_signing_key("EdDSA")
    change_signing_keys(older, lambda keys: with_new_key(keys, new, keep=True))
    assert not (older / OLD_SIGNING_KEY_FILE).exists()
    assert [key.id for key in load(older).signing_keys.keys] == [before.id, new.id]
    assert load(older).signing_keys.newest == new


# --- Reading without making -------------------------------------------------------------------------------------------


def read(folder: Path, api_key: str | None = None) -> State:
    return read_state(folder, api_key_from_environment=api_key, namespace="orders")


def listing(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


@pytest.mark.parametrize("api_key", [None, OWN_KEY])
def test_what_is_read_is_what_was_loaded(started: Path, api_key: str | None) -> None:
    before = listing(started)
    state = load(started, api_key)
    again = read(started, api_key)
    assert [record.id for record in again.records] == [record.id for record in state.records]
    assert again.signing_keys == state.signing_keys == read_signing_keys(started)
    assert listing(started) == before


def test_no_folder_is_made(folder: Path) -> None:
    for action in (read, read_records, read_signing_keys, lambda folder: change_records(folder, lambda keys: keys)):
        with pytest.raises(ConfigurationError, match="No such file or directory"):
            action(folder)
    assert not folder.exists()


@pytest.mark.parametrize("name", [API_KEYS_FILE, SIGNING_KEYS_FILE])
def test_a_file_that_is_away_is_not_made(started: Path, name: str) -> None:
    (started / name).unlink()
    with pytest.raises(ConfigurationError) as caught:
        read(started)
    assert str(caught.value) == f"state file {started / name}: it is not there; the server's first start makes it"
    assert not (started / name).exists()


@pytest.mark.parametrize("name", [API_KEYS_FILE, SIGNING_KEYS_FILE])
def test_a_damaged_file_is_an_error(started: Path, name: str) -> None:
    (started / name).write_text("{")
    with pytest.raises(ConfigurationError, match="damaged: it is not JSON"):
        read(started)


def test_reading_looks_at_the_folder_too(started: Path) -> None:
    started.chmod(0o755)
    for action in (read, read_records, read_signing_keys):
        with pytest.raises(ConfigurationError, match=r"other users can use it \(mode 0755\)"):
            action(started)


# --- Changes ----------------------------------------------------------------------------------------------------------


def test_all_keys_may_be_taken_away(started: Path) -> None:
    assert change_records(started, lambda records: ()) == ()
    state = load(started)
    assert (state.records, state.new_api_key) == ((), None), "no key is made in place of those"
    assert read(started) == state


def test_a_key_that_is_made_before_the_first_start_is_the_first(folder: Path) -> None:
    text, record = new_api_key("shop", "orders")
    change_records(folder, lambda records: (*records, record), make=True)
    state = load(folder)
    assert (state.records, state.new_api_key) == ((record,), None)
    assert record_of(text.encode(), state.records) == record


def test_a_change_that_fails_changes_nothing(started: Path) -> None:
    before = listing(started)

    def fail(anything: object) -> Any:
        raise ConfigurationError("no")

    for change in (change_records, change_signing_keys):
        with pytest.raises(ConfigurationError, match="no"):
            change(started, fail)
    with pytest.raises(ValueError, match="there is no signing key that is not retired"):
        change_signing_keys(started, lambda keys: ())
    assert listing(started) == before


def test_a_change_that_is_none_writes_nothing(started: Path) -> None:
    before = listing(started)
    change_records(started, lambda records: records)
    assert listing(started) == before


def test_the_key_of_the_environment_outlasts_a_change_of_signing_keys(folder: Path) -> None:
    state = load(folder, OWN_KEY)
    token, identity = authority(state).login(OWN_KEY.encode(), NOW, "token-1")
    change_signing_keys(folder, lambda keys: with_new_key(keys, new_signing_key("EdDSA"), keep=True))
    later = load(folder, OWN_KEY)
    assert later.signing_keys.newest.algorithm == "EdDSA"
    assert authority(later).verify(token.encode(), NOW) == identity


def test_its_id_changes_when_all_tokens_end(folder: Path) -> None:
    before = load(folder, OWN_KEY).records[0].id
    change_signing_keys(folder, lambda keys: with_new_key(keys, new_signing_key("HS256"), keep=False))
    assert load(folder, OWN_KEY).records[0].id != before


def test_signing_keys_may_be_chosen_before_the_first_start(folder: Path) -> None:
    keys = change_signing_keys(folder, lambda keys: with_new_key(keys, new_signing_key("EdDSA"), keep=True))
    assert [key.algorithm for key in keys.keys] == ["EdDSA"]
    assert load(folder).signing_keys == keys


def add_keys(folder: Path, name: str, count: int) -> None:
    """In a process of its own: add keys one by one, beside other processes."""
    for _ in range(count):
        change_records(folder, lambda records: (*records, new_api_key(name, "orders")[1]))


def test_changes_at_once_do_not_undo_each_other(started: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=add_keys, args=(started, f"p{number}", 20)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    clients = [record.client for record in read_records(started)]
    assert {name: clients.count(name) for name in set(clients)} == {"default": 1, "p0": 20, "p1": 20, "p2": 20}


# --- Starts at once ---------------------------------------------------------------------------------------------------

PROCESSES = 4
ROUNDS = 12


def start_together(parent: Path, barrier: Any, results: Any) -> None:
    """In a process of its own: start in one folder after the other, each time together with the other processes."""
    states = []
    try:
        for number in range(ROUNDS):
            barrier.wait(30)
            states.append(load(parent / f"state-{number}"))
    except Exception:
        # The others need not wait for one that has failed; the missing states fail the test.
        barrier.abort()
    results.put(states)


def test_starts_at_once_agree(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(PROCESSES), context.Queue()
    processes = [
        context.Process(target=start_together, args=(tmp_path, barrier, results), daemon=True) for _ in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    of_each_process = [results.get(timeout=30) for _ in processes]
    for process in processes:
        process.join(30)
    assert [len(states) for states in of_each_process] == [ROUNDS] * PROCESSES
    for states in zip(*of_each_process, strict=True):
        assert len({(state.records, state.signing_keys) for state in states}) == 1
        shown = [state.new_api_key for state in states if state.new_api_key is not None]
        assert len(shown) == 1, "one of them made the key, and shows it"
        assert record_of(shown[0].encode(), states[0].records)
