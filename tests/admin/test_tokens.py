"""`wireproto tokens`: the keys that sign, changed without an end to what was signed before, or with one."""

from __future__ import annotations

import json
import time
from pathlib import Path

import jwt
import pytest

from tests.admin.conftest import Run
from wireproto.core.api_keys import CredentialError
from wireproto.core.tokens import TokenAuthority
from wireproto.server.state_folder import SIGNING_KEYS_FILE, load_state, read_signing_keys

API_KEY = "a-key-that-somebody-chose"


def authority(folder: Path) -> TokenAuthority:
    state = load_state(folder, api_key_from_environment=API_KEY, namespace="default")
    return TokenAuthority(state.records, state.signing_keys, 900)


def token_of(folder: Path) -> bytes:
    return authority(folder).login(API_KEY.encode(), time.time(), "token-1")[0].encode()


@pytest.mark.parametrize("algorithm", ["HS256", "EdDSA"])
def test_tokens_outlast_a_change_of_keys(run: Run, folder: Path, algorithm: str) -> None:
    token = token_of(folder)
    code, out, _ = run("tokens", "rotate", "--algorithm", algorithm)
    key = read_signing_keys(folder).newest
    assert (code, out) == (0, f"signing key {key.id} ({algorithm}) signs from now on\n")
    assert authority(folder).verify(token, time.time()).client == "default"
    assert jwt.get_unverified_header(token_of(folder).decode()) == {"alg": algorithm, "kid": key.id, "typ": "JWT"}


def test_now_ends_all_tokens(run: Run, folder: Path) -> None:
    token = token_of(folder)
    before = read_signing_keys(folder).newest
    code, out, _ = run("tokens", "rotate", "--now")
    assert code == 0
    assert "all tokens of the keys before it are ended; clients log in again" in out
    with pytest.raises(CredentialError) as caught:
        authority(folder).verify(token, time.time())
    assert caught.value.reason == "the signing key is not known"
    assert before.id not in (folder / SIGNING_KEYS_FILE).read_text()
    assert authority(folder).verify(token_of(folder), time.time()).client == "default"


def test_the_algorithm_stays_unless_told_otherwise(run: Run, folder: Path) -> None:
    run("tokens", "rotate")
    run("tokens", "rotate", "--algorithm", "EdDSA")
    run("tokens", "rotate")
    assert [key.algorithm for key in read_signing_keys(folder).keys] == ["HS256", "EdDSA", "EdDSA"]


def test_the_list_tells_all_but_the_secrets(run: Run, folder: Path) -> None:
    token_of(folder)
    run("tokens", "rotate", "--algorithm", "EdDSA")
    old, new = read_signing_keys(folder).keys
    code, out, _ = run("tokens", "list")
    lines = [line.split()[:3] for line in out.splitlines()]
    assert (code, lines[1:]) == (0, [[old.id, "HS256", "verifies"], [new.id, "EdDSA", "signs"]])
    _, as_json, _ = run("tokens", "list", "--json")
    assert [(item["id"], item["state"]) for item in json.loads(as_json)] == [(old.id, "verifies"), (new.id, "signs")]
    content = json.loads((folder / SIGNING_KEYS_FILE).read_text())
    for secret in (*(key["key"] for key in content["keys"]), content["salt"]):
        assert secret not in out + as_json


def test_another_service_verifies_with_what_is_published(run: Run, folder: Path) -> None:
    run("tokens", "rotate", "--algorithm", "EdDSA")
    code, out, _ = run("tokens", "public")
    assert code == 0
    token = token_of(folder).decode()
    key = jwt.PyJWKSet.from_dict(json.loads(out))[jwt.get_unverified_header(token)["kid"]]
    assert jwt.decode(token, key, ["EdDSA"], audience="wireproto", issuer="wireproto")["sub"] == "default"
    assert '"d"' not in out, "no private part"


def test_without_a_public_key_there_is_nothing_to_publish(run: Run, folder: Path) -> None:
    run("tokens", "rotate")
    code, out, err = run("tokens", "public")
    assert (code, out) == (2, "")
    assert err == (
        f"wireproto: state file {folder / SIGNING_KEYS_FILE}: has no EdDSA key, and HS256 keys have no public part;"
        " make one with: wireproto tokens rotate --algorithm EdDSA\n"
    )


@pytest.mark.parametrize("action", ["list", "public"])
def test_looking_makes_nothing(run: Run, folder: Path, action: str) -> None:
    code, out, err = run("tokens", action)
    assert (code, out) == (2, "")
    assert err == f"wireproto: state folder {folder}: No such file or directory\n"
    folder.mkdir(mode=0o700)
    _, _, err = run("tokens", action)
    assert "it is not there; the server's first start makes it" in err
    assert not list(folder.iterdir())


def test_a_damaged_file_is_left_alone(run: Run, folder: Path) -> None:
    token_of(folder)
    (folder / SIGNING_KEYS_FILE).write_text("{")
    for words in (("rotate",), ("rotate", "--now"), ("list",), ("public",)):
        code, _, err = run("tokens", *words)
        assert code == 2
        assert err.startswith(f"wireproto: state file {folder / SIGNING_KEYS_FILE}: damaged: it is not JSON; ")
    assert (folder / SIGNING_KEYS_FILE).read_text() == "{"


def test_an_unknown_algorithm(run: Run) -> None:
    with pytest.raises(SystemExit) as caught:
        run("tokens", "rotate", "--algorithm", "none")
    assert caught.value.code == 2
