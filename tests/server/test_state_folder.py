"""The state folder: private, written whole, the same at every start, and clear about what is wrong with it."""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wireproto.core.api_keys import CredentialError, hash_api_key, make_api_key, record_of
from wireproto.core.tokens import TokenAuthority
from wireproto.errors import ConfigurationError
from wireproto.server.state_folder import (
    API_KEYS_FILE,
    DEFAULT_CLIENT,
    LOCK_FILE,
    SIGNING_KEY_FILE,
    State,
    load_state,
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
    return TokenAuthority(state.records, state.signing_key, state.key_id, 900)


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
    assert repr(state.signing_key) not in repr(state)


def test_later_starts_have_the_same_keys(folder: Path) -> None:
    first, second, third = load(folder), load(folder), load(folder, namespace="other")
    assert first.new_api_key is not None
    assert (first.records, first.signing_key, first.key_id) == (second.records, second.signing_key, second.key_id)
    assert third == second, "the namespace is that of the key which is made, not of a key which is there"
    token, identity = authority(first).login(first.new_api_key.encode(), NOW, "token-1")
    assert authority(second).verify(token.encode(), NOW) == identity


def test_two_folders_have_nothing_in_common(tmp_path: Path) -> None:
    one, other = load(tmp_path / "one"), load(tmp_path / "other")
    assert one.signing_key != other.signing_key
    assert one.key_id != other.key_id
    assert one.records[0].hash != other.records[0].hash
    assert len(one.signing_key) == 32


def test_a_removed_file_is_made_again(started: Path) -> None:
    before = load(started)
    (started / API_KEYS_FILE).unlink()
    after = load(started)
    assert after.new_api_key is not None
    assert after.signing_key == before.signing_key
    assert after.records[0].hash != before.records[0].hash
    (started / SIGNING_KEY_FILE).unlink()
    last = load(started)
    assert last.signing_key != after.signing_key
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
        SIGNING_KEY_FILE: 0o600,
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


@pytest.mark.parametrize("name", [API_KEYS_FILE, SIGNING_KEY_FILE])
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


@pytest.mark.parametrize("name", [API_KEYS_FILE, SIGNING_KEY_FILE])
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


@pytest.mark.parametrize("name", [API_KEYS_FILE, SIGNING_KEY_FILE])
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
    for name in (API_KEYS_FILE, SIGNING_KEY_FILE):
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


@pytest.mark.parametrize("name", [API_KEYS_FILE, SIGNING_KEY_FILE])
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
        ({}, "it holds no keys"),
        ({"keys": []}, "it holds no keys"),
        ({"keys": {"x": 1}}, "it holds no keys"),
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


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "key_id is missing or not a name"),
        ({"key": SECRET}, "key_id is missing or not a name"),
        ({"key_id": 5, "key": SECRET}, "key_id is missing or not a name"),
        ({"key_id": "../x", "key": SECRET}, "key_id is missing or not a name"),
        ({"key_id": "x"}, "key is missing"),
        ({"key_id": "x", "key": [1]}, "key is missing"),
        ({"key_id": "x", "key": "!" + SECRET}, "key is not base64"),
        ({"key_id": "x", "key": SECRET[:-1]}, "key is not base64"),
        ({"key_id": "x", "key": ""}, "key has fewer than 32 bytes"),
        ({"key_id": "x", "key": base64.b64encode(b"s" * 31).decode()}, "key has fewer than 32 bytes"),
    ],
)
def test_damaged_signing_keys(started: Path, content: object, reason: str) -> None:
    (started / SIGNING_KEY_FILE).write_text(json.dumps(content))
    message = refusal(started)
    assert message.startswith(f"state file {started / SIGNING_KEY_FILE}: damaged: {reason}; ")
    assert message.endswith("; restore it, or remove it to have a new key made (clients log in again)")
    assert SECRET[:-1] not in message


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
        assert len({(state.records, state.signing_key, state.key_id) for state in states}) == 1
        shown = [state.new_api_key for state in states if state.new_api_key is not None]
        assert len(shown) == 1, "one of them made the key, and shows it"
        assert record_of(shown[0].encode(), states[0].records)
