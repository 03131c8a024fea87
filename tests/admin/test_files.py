"""Files of a server that others own, read or write."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.admin.cases import bad, case, levels
from wireproto.admin.checks import files, keys
from wireproto.server.state_folder import load_state

DAY = 86400


def test_a_folder_as_the_server_makes_it_is_fine(tmp_path: Path) -> None:
    found = case(tmp_path)
    assert levels(files.state_folder(found)) == ["ok"]
    assert "the first start makes it" in files.state_folder(found)[0].text
    load_state(tmp_path / "state", api_key_from_environment=None, namespace="default")
    assert levels(files.state_folder(found)) == ["ok"]
    assert levels(keys.api_keys(found) + keys.signing_keys(found)) == ["ok", "ok"]


def test_what_is_wrong_in_the_state_folder(tmp_path: Path) -> None:
    state = tmp_path / "state"
    load_state(state, api_key_from_environment=None, namespace="default")
    state.chmod(0o750)
    api_keys = state / "api-keys.json"
    api_keys.chmod(0o644)
    os.link(api_keys, tmp_path / "copy")
    (state / "link").symlink_to(api_keys)
    (state / "folder").mkdir()
    (state / ".api-keys.json.new").touch()
    assert bad(files.state_folder(case(tmp_path))) == [
        f"problem  state folder {state}: other users can use it (mode 0750); run: chmod 700 {state}",
        f"warning  state file {state}/.api-keys.json.new: a write was cut short by a crash; nothing is lost; "
        "it is removed by the next write",
        f"problem  state file {api_keys}: other users can use it (mode 0644); run: chmod 600 {api_keys}",
        f"warning  state file {api_keys}: it has another name elsewhere (a hard link); "
        f"find it: find / -xdev -samefile {api_keys}",
        f"warning  state file {state}/folder: it is not a file, and does not belong here; remove it",
        f"problem  state file {state}/link: it is a link; what it leads to may be anybody's; "
        "put the file itself in its place",
    ]


def test_files_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state"
    load_state(state, api_key_from_environment=None, namespace="default")
    us = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: us + 1)
    found = bad(files.state_folder(case(tmp_path)))
    assert f"problem  state folder {state}: it belongs to another user; run: chown {us + 1} {state}" in found
    assert len(found) == 1 + len(list(state.iterdir()))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert bad(files.state_folder(case(tmp_path))) == [], "root looks after the folder of the server's user"


def test_a_state_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    assert levels(files.state_folder(case(tmp_path))) == ["problem"]


def test_the_file_of_settings(tmp_path: Path) -> None:
    path = tmp_path / "wireproto.toml"
    path.write_text("")
    assert files.config_file(case(tmp_path)) == []
    path.chmod(0o644)
    assert levels(files.config_file(case(tmp_path, config=path))) == ["ok"]
    path.chmod(0o664)
    assert bad(files.config_file(case(tmp_path, config=path))) == [
        f"problem  file of settings {path}: other users can change it (mode 0664); run: chmod go-w {path}"
    ]


def test_the_audit_log(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    assert files.audit_log(case(tmp_path)) == []
    found = case(tmp_path, audit_log=path)
    assert levels(files.audit_log(found)) == ["ok"]
    path.touch(0o600)
    assert levels(files.audit_log(found)) == ["ok"]
    path.chmod(0o644)
    assert levels(files.audit_log(found)) == ["warning"]
    assert levels(files.audit_log(case(tmp_path, audit_log=tmp_path / "none" / "a"))) == ["problem"]


# -- what is in them


def record(number: int, **more: object) -> dict[str, object]:
    return {"id": f"key-{number}", "hash": "0" * 64, "client": "shop", "namespace": "orders", "created": 1, **more}


def write_keys(folder: Path, *records: object) -> None:
    (folder / "state").mkdir(mode=0o700, exist_ok=True)
    (folder / "state" / "api-keys.json").write_text(json.dumps({"keys": records}))


def test_api_keys_that_end(tmp_path: Path) -> None:
    write_keys(
        tmp_path,
        record(1),
        record(2, expires=1000 * DAY + 6 * DAY),
        record(3, expires=1000 * DAY + 8 * DAY),
        record(4, expires=1000 * DAY - 1),
        record(5, revoked=3),
    )
    found = keys.api_keys(case(tmp_path, now=1000.0 * DAY))
    assert found[0].line() == "ok       API keys: 3 can be used, 1 have expired, 1 were revoked"
    assert bad(found) == [
        "warning  API keys: expired: key-4 (shop); revoke or replace them",
        "warning  API keys: key-2 (shop) expires in 6 days; give the client another one before",
    ]


def test_no_api_key_that_can_be_used(tmp_path: Path) -> None:
    write_keys(tmp_path, record(1, revoked=3), record(2, expires=4))
    (line, *_) = bad(keys.api_keys(case(tmp_path)))
    assert line.startswith("problem  API keys: no client can log in: 0 can be used, 1 have expired, 1 were revoked; ")
    assert levels(keys.api_keys(case(tmp_path, api_key="an-api-key-of-the-environment"))) == ["ok"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"keys": 1}', '{"keys": [1]}', '{"keys": [{"id": "a"}]}'])
def test_damaged_api_keys(tmp_path: Path, content: str) -> None:
    write_keys(tmp_path)
    (tmp_path / "state" / "api-keys.json").write_text(content)
    assert levels(keys.api_keys(case(tmp_path))) == ["problem"]


def test_the_age_of_signing_keys(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    old = state / "token-signing-key.json"
    old.write_text('{"key_id": "a", "key": "c2VjcmV0"}')
    os.utime(old, (100 * DAY, 100 * DAY))
    assert levels(keys.signing_keys(case(tmp_path, now=100.0 * DAY + keys.OLD_SIGNING_KEY - 1))) == ["ok"]
    assert levels(keys.signing_keys(case(tmp_path, now=100.0 * DAY + keys.OLD_SIGNING_KEY + 1))) == ["warning"]
    several = '{"keys": [{"id": "a", "created": %d, "retired": 9}, {"id": "b", "created": %d}], "salt": "s3cret"}'
    (state / "token-signing-keys.json").write_text(several % (1, 500 * DAY))
    (finding,) = keys.signing_keys(case(tmp_path, now=510.0 * DAY))
    assert finding.line() == "ok       signing keys: the one that signs tokens is 10 days old"
