"""`wireproto keys`: a key is printed once and works, and what is said of it afterwards is true."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.admin.conftest import Run
from wireproto.core.access import FULL_ACCESS, NO_QUOTA, Access, Quota
from wireproto.core.api_keys import ApiKeyRecord, CredentialError
from wireproto.core.tokens import Identity, TokenAuthority
from wireproto.server.state_folder import API_KEYS_FILE, load_state, read_records

DAY = 86_400


def authority(folder: Path) -> TokenAuthority:
    """What a server that starts now goes by."""
    state = load_state(folder, api_key_from_environment=None, namespace="default")
    assert state.new_api_key is None
    return TokenAuthority(state.records, state.signing_keys, 900)


def login(folder: Path, api_key: str, now: float | None = None) -> Identity:
    return authority(folder).login(api_key.encode(), now or time.time(), "token-1")[1]


def refusal(folder: Path, api_key: str, now: float | None = None) -> str:
    with pytest.raises(CredentialError) as caught:
        login(folder, api_key, now)
    return caught.value.reason


def create(run: Run, *words: str) -> str:
    code, out, _ = run("keys", "create", *words)
    assert code == 0
    api_key, end, more = out.partition("\n")
    assert (end, more) == ("\n", ""), "the key alone"
    return api_key


def key_id(api_key: str) -> str:
    return api_key.split("_")[1]


def record(folder: Path, api_key: str) -> ApiKeyRecord:
    return next(record for record in read_records(folder) if record.id == key_id(api_key))


# --- Making -----------------------------------------------------------------------------------------------------------


def test_a_key_that_is_made_logs_in(run: Run, folder: Path) -> None:
    api_key = create(run, "orders")
    identity = login(folder, api_key)
    assert (identity.client, identity.namespace) == ("orders", "default")
    assert (identity.access, identity.quota) == (FULL_ACCESS, NO_QUOTA)
    made = record(folder, api_key)
    assert (made.expires, made.revoked, made.certificate) == (None, None, None)
    assert abs(made.created - time.time()) < 30


def test_the_key_is_printed_and_kept_nowhere_else(run: Run, folder: Path) -> None:
    code, out, err = run("keys", "create", "orders")
    assert code == 0
    secret = out.split("_")[2]
    kept = b"".join(path.read_bytes() for path in folder.iterdir())
    for words in (("list",), ("list", "--json")):
        _, listed, said = run("keys", *words)
        for text in (err, kept.decode(), listed, said):
            assert secret not in text
            assert out.strip() not in text


def test_everything_that_can_be_said_of_a_key(run: Run, folder: Path) -> None:
    limits = ("--requests", "1000", "--bytes", "8MiB", "--connections", "5")
    scope = ("--namespace", "shop", "--allow", "write,read", "--prefix", "cart:", "--prefix", "user:{")
    api_key = create(run, "orders", *scope, *limits, "--expires", "90d", "--certificate", "CN=orders.example")
    made = record(folder, api_key)
    assert made.access == Access(("read", "write"), ("cart:", "user:{"))
    assert made.quota == Quota(1000, 8 * 2**20, 5)
    assert (made.namespace, made.certificate) == ("shop", "CN=orders.example")
    assert made.expires == made.created + 90 * DAY
    identity = login(folder, api_key)
    assert (identity.access, identity.quota, identity.namespace) == (made.access, made.quota, "shop")
    assert refusal(folder, api_key, now=made.created + 90 * DAY) == "the API key has expired"


@pytest.mark.parametrize(("text", "seconds"), [("90d", 90 * DAY), ("12h", 43_200), ("30m", 1800), ("45", 45)])
def test_durations(run: Run, folder: Path, text: str, seconds: int) -> None:
    made = record(folder, create(run, "orders", "--expires", text))
    assert made.expires == made.created + seconds


def test_the_namespace_is_the_servers_own(run: Run, folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "wireproto.toml"
    other = tmp_path / "other"
    config.write_text(f'namespace = "billing"\nstate_folder = "{other}"\n')
    api_key = create(run, "orders", "--config", str(config), "--state-folder", str(folder))
    assert record(folder, api_key).namespace == "billing", "a flag goes before the file"
    assert not other.exists()


def test_the_folder_is_found_as_the_server_finds_it(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "wireproto.toml"
    config.write_text(f'state_folder = "{tmp_path / "named"}"\n')
    monkeypatch.setenv("WIREPROTO_CONFIG", str(config))
    monkeypatch.delenv("WIREPROTO_STATE_FOLDER")
    api_key = create(run, "orders")
    assert login(tmp_path / "named", api_key).client == "orders"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("a b",), "CLIENT: 'a b' must be 1-64 letters"),
        (("",), "CLIENT: '' must be"),
        (("c", "--namespace", "a/b"), "--namespace: 'a/b' must be 1-64 letters"),
        (("c", "--namespace", ""), "--namespace: '' must be"),
        (("c", "--allow", "read,fly"), "--allow, --prefix: there is no permission 'fly'"),
        (("c", "--allow", ""), "--allow, --prefix: there is no permission ''"),
        (("c", "--prefix", "a b"), "--allow, --prefix: a prefix must be"),
        (("c", *["--prefix", "p"] * 17), "--allow, --prefix: at most 16 prefixes"),
        (("c", "--expires", "soon"), "--expires: 'soon' is not a duration"),
        (("c", "--expires", "0"), "--expires: '0' must be between 1s and"),
        (("c", "--expires", "0.5s"), "--expires: '0.5s' is not a whole number of seconds"),
        (("c", "--expires", "9999d"), "--expires: '9999d' must be between"),
        (("c", "--requests", "many"), "--requests: 'many' is not a whole number"),
        (("c", "--requests", "0"), "--requests: '0' must be between"),
        (("c", "--bytes", "1 kg"), "--bytes: '1 kg' is not a size"),
        (("c", "--connections", "-1"), "--connections: '-1' must be between"),
        (("c", "--certificate", "a b"), "--certificate: must be 1-255 printable"),
    ],
)
def test_what_cannot_be_made(run: Run, folder: Path, words: tuple[str, ...], problem: str) -> None:
    # What begins with '-' must stand behind '='.
    joined = (
        [f"{words[0]}"] if len(words) == 1 else [words[0], *map("=".join, zip(words[1::2], words[2::2], strict=True))]
    )
    code, out, err = run("keys", "create", *joined)
    assert (code, out) == (2, "")
    assert err.startswith(f"wireproto: {problem}")
    assert err.count("\n") == 1
    assert not folder.exists()


def test_a_damaged_file_is_left_alone(run: Run, folder: Path) -> None:
    create(run, "orders")
    (folder / API_KEYS_FILE).write_text("{")
    for words in (("create", "orders"), ("list",), ("revoke", "orders"), ("rotate", "x")):
        code, out, err = run("keys", *words)
        assert (code, out) == (2, "")
        assert err.startswith(f"wireproto: state file {folder / API_KEYS_FILE}: damaged: it is not JSON; ")
    assert (folder / API_KEYS_FILE).read_text() == "{"


@pytest.mark.parametrize("words", [("list",), ("revoke", "x"), ("rotate", "x")])
def test_only_making_makes_the_folder(run: Run, folder: Path, words: tuple[str, ...]) -> None:
    code, out, err = run("keys", *words)
    assert (code, out) == (2, "")
    assert err == f"wireproto: state folder {folder}: No such file or directory\n"
    assert not folder.exists()


def test_settings_that_cannot_work_are_an_error_here_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIREPROTO_PORT", "many")
    assert run("keys", "list")[::2] == (
        2,
        "wireproto: environment variable WIREPROTO_PORT: 'many' is not a whole number\n",
    )


def test_the_key_of_the_environment_is_warned_of(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIREPROTO_API_KEY", "a-key-that-somebody-chose")
    for words in (("create", "orders"), ("list",), ("revoke", "orders")):
        _, _, err = run("keys", *words)
        assert "Beware: WIREPROTO_API_KEY is set here" in err
        assert "a-key-that-somebody-chose" not in err


# --- Listing ----------------------------------------------------------------------------------------------------------


def listed(run: Run) -> list[dict[str, Any]]:
    code, out, _ = run("keys", "list", "--json")
    assert code == 0
    value: list[dict[str, Any]] = json.loads(out)
    return value


def test_the_list_tells_all_but_the_hash(run: Run, folder: Path) -> None:
    plain, limited = (
        create(run, "plain"),
        create(run, "limited", "--allow", "read", "--prefix", "p:", "--bytes", "1KiB"),
    )
    assert [(item["id"], item["client"], item["state"]) for item in listed(run)] == [
        (key_id(plain), "plain", "active"),
        (key_id(limited), "limited", "active"),
    ]
    assert (listed(run)[1]["prefixes"], listed(run)[1]["quota"]) == (["p:"], {"bytes": 1024})
    _, out, _ = run("keys", "list")
    assert [line.split()[:4] for line in out.splitlines()] == [
        ["ID", "CLIENT", "NAMESPACE", "STATE"],
        [key_id(plain), "plain", "default", "active"],
        [key_id(limited), "limited", "default", "active"],
    ]
    assert out.splitlines()[2].split()[6:] == ["read,prefix=p:", "1024", "bytes/s", "-"]
    for made in read_records(folder):
        assert made.hash not in out + json.dumps(listed(run))


def test_a_list_of_none(run: Run, folder: Path) -> None:
    create(run, "orders")
    (folder / API_KEYS_FILE).write_text('{"keys": []}')
    assert listed(run) == []
    code, out, err = run("keys", "list")
    assert (code, out) == (0, "")
    assert err == "there are no keys; make one with: wireproto keys create CLIENT\n"


# --- Ending -----------------------------------------------------------------------------------------------------------


def test_a_key_is_revoked_by_its_id(run: Run, folder: Path) -> None:
    one, other = create(run, "orders"), create(run, "orders")
    code, out, _ = run("keys", "revoke", key_id(one))
    assert (code, out) == (0, f"key {key_id(one)} of client orders, namespace default: revoked, with its tokens\n")
    assert refusal(folder, one) == "the API key was revoked"
    assert login(folder, other).key_id == key_id(other)
    assert [item["state"] for item in listed(run)] == ["revoked", "active"]


def test_all_keys_of_a_client_are_revoked_by_its_name(run: Run, folder: Path) -> None:
    keys = [create(run, "orders"), create(run, "orders", "--namespace", "shop"), create(run, "desk")]
    token = authority(folder).login(keys[1].encode(), time.time(), "t")[0]
    run("keys", "revoke", key_id(keys[0]))
    code, out, _ = run("keys", "revoke", "orders")
    first, second = out.splitlines()
    assert code == 0
    assert first.startswith(f"key {key_id(keys[0])} of client orders, namespace default: was revoked already, 20")
    assert second == f"key {key_id(keys[1])} of client orders, namespace shop: revoked, with its tokens"
    assert refusal(folder, keys[1]) == "the API key was revoked"
    with pytest.raises(CredentialError) as caught:
        authority(folder).verify(token.encode(), time.time())
    assert caught.value.reason == "the API key of this token was revoked"
    assert login(folder, keys[2]).client == "desk"


def test_the_last_key_can_be_revoked(run: Run, folder: Path) -> None:
    only = create(run, "orders")
    assert run("keys", "revoke", "orders")[0] == 0
    assert refusal(folder, only) == "the API key was revoked"


def test_tokens_alone_can_be_ended(run: Run, folder: Path) -> None:
    api_key = create(run, "orders")
    token, identity = authority(folder).login(api_key.encode(), time.time(), "t")
    code, out, _ = run("keys", "revoke", "--tokens-only", "orders")
    assert code == 0
    assert out == (
        f"key {key_id(api_key)} of client orders, namespace default: its tokens are ended; the key itself is not\n"
    )
    later = authority(folder)
    assert later.refusal(identity, time.time()) is not None
    with pytest.raises(CredentialError) as caught:
        later.verify(token.encode(), time.time())
    assert caught.value.kind == "revoked"
    fresh, _ = later.login(api_key.encode(), time.time(), "t2")
    assert later.verify(fresh.encode(), time.time()).client == "orders"


def test_who_is_not_there_cannot_be_revoked(run: Run, folder: Path) -> None:
    create(run, "orders")
    before = (folder / API_KEYS_FILE).read_bytes()
    for words in (("revoke", "nobody"), ("revoke", "--tokens-only", "nobody"), ("rotate", "nobody")):
        code, out, err = run("keys", *words)
        assert (code, out) == (2, "")
        assert err.startswith(f"wireproto: state file {folder / API_KEYS_FILE}: has no key ")
        assert "'nobody'; see: wireproto keys list" in err
    assert (folder / API_KEYS_FILE).read_bytes() == before


# --- Replacing --------------------------------------------------------------------------------------------------------

ALL = ("--allow", "read", "--prefix", "p:", "--requests", "9", "--certificate", "cn", "--namespace", "shop")


def rotate(run: Run, old: str, *words: str) -> str:
    code, out, _ = run("keys", "rotate", key_id(old), *words)
    assert code == 0
    assert out.count("\n") == 1
    return out.strip()


def test_a_replaced_key_lasts_a_little_longer(run: Run, folder: Path) -> None:
    old = create(run, "orders", *ALL)
    new = rotate(run, old, "--overlap", "2h")
    before, after = record(folder, old), record(folder, new)
    kept = ("client", "namespace", "access", "quota", "certificate", "expires")
    assert after.created - 1 <= (before.expires or 0) - 7200 <= after.created
    assert [getattr(after, name) for name in kept[:-1]] == [getattr(before, name) for name in kept[:-1]]
    assert after.expires is None
    assert login(folder, old).client == login(folder, new).client == "orders"
    assert refusal(folder, old, now=after.created + 7200) == "the API key has expired"
    assert login(folder, new, now=after.created + 7200).key_id == key_id(new)


def test_the_overlap_is_a_day_unless_told_otherwise(run: Run, folder: Path) -> None:
    old = create(run, "orders")
    new = rotate(run, old)
    assert record(folder, old).expires == record(folder, new).created + DAY


def test_without_an_overlap_the_old_key_ends_at_once(run: Run, folder: Path) -> None:
    old = create(run, "orders")
    rotate(run, old, "--overlap", "0")
    assert refusal(folder, old) == "the API key has expired"


def test_a_key_with_an_end_is_replaced_by_one_that_lasts_as_long(run: Run, folder: Path) -> None:
    old = create(run, "orders", "--expires", "1h")
    end = record(folder, old).expires
    new = record(folder, rotate(run, old))
    assert new.expires == new.created + 3600
    assert record(folder, old).expires == end, "the overlap does not put it off"


def test_a_key_that_is_over_is_not_replaced(run: Run, folder: Path) -> None:
    revoked, expired = create(run, "orders"), create(run, "orders")
    run("keys", "revoke", key_id(revoked))
    rotate(run, expired, "--overlap", "0")
    for api_key, word in ((revoked, "revoked"), (expired, "expired")):
        code, out, err = run("keys", "rotate", key_id(api_key))
        assert (code, out) == (2, "")
        assert err.endswith(f"key {key_id(api_key)} is {word}; make one with: wireproto keys create\n")


# --- As a process -----------------------------------------------------------------------------------------------------


def process(folder: Path, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WIREPROTO_")}
    command = [sys.executable, "-m", "wireproto", "keys", *words, "--state-folder", str(folder)]
    return subprocess.run(command, env=clean, text=True, timeout=30, check=False, **more)


def test_a_shell_can_hold_the_key_in_a_variable(folder: Path) -> None:
    script = 'KEY=$("$0" -m wireproto keys create orders --state-folder "$1" 2>/dev/null) && printf %s "$KEY"'
    shell = subprocess.run(
        ["/bin/sh", "-c", script, sys.executable, str(folder)], capture_output=True, text=True, timeout=30, check=True
    )
    assert login(folder, shell.stdout).client == "orders"


def test_a_key_that_could_not_be_shown_is_said_to_be_lost(folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = process(folder, "create", "orders", stdout=full, stderr=subprocess.PIPE)
    (made,) = read_records(folder)
    assert done.stderr.splitlines()[0] == (
        "wireproto: standard output: No space left on device; nobody has seen the key,"
        f" so run: wireproto keys revoke {made.id}"
    )
    assert done.returncode != 0
