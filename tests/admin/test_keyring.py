"""`wireproto keyring`: what each action makes of the file, what it says, and that it says no secret."""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wireproto.admin.cli import main
from wireproto.core.keyring import Keyring
from wireproto.server.keyring_file import KEYRING_FILE

KEY_TEXT = base64.b64encode(b"hunter2-hunter2-hunter2-hunter2-").decode()
Keyring_ = Callable[..., "Outcome"]


class Outcome:
    """What a command did: its exit code, and its words without any secret of the file."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("WIREPROTO_")]:
        monkeypatch.delenv(name)
    return tmp_path / "state"


@pytest.fixture
def keyring(folder: Path, capsys: pytest.CaptureFixture[str]) -> Keyring_:
    def run(*words: str, file: Path | None = None) -> Outcome:
        place = ["--state-folder", str(folder)] if file is None else ["--keyring", str(file)]
        code = main(["keyring", words[0], *place, *words[1:]])
        said = capsys.readouterr()
        path = file or folder / KEYRING_FILE
        for key in json.loads(path.read_text())["keys"] if path.exists() else ():
            assert key["secret"] not in said.out + said.err
        return Outcome(code, said.out, said.err)

    return run


def stored(folder: Path) -> Keyring:
    return Keyring.from_json(json.loads((folder / KEYRING_FILE).read_text()))


def sealing(folder: Path, namespace: str = "shop") -> str | None:
    key = stored(folder).sealing_key(namespace)
    return None if key is None else key.id


def test_the_first_key_makes_a_private_file(folder: Path, keyring: Keyring_) -> None:
    outcome = keyring("add")
    (key,) = stored(folder).keys
    assert (outcome.code, outcome.out, outcome.err) == (0, f"{key.id}\n", "")
    assert len(set(key.secret)) > 10
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / KEYRING_FILE).stat().st_mode) == 0o600


def test_a_new_key_seals_at_once_and_the_old_ones_open(folder: Path, keyring: Keyring_) -> None:
    ids = [keyring("add").out.strip() for _ in range(3)]
    assert len(set(ids)) == 3
    assert sealing(folder) == ids[-1]
    assert [key.id for key in stored(folder).opening_keys("shop")] == ids
    lines = keyring("list").out.splitlines()
    assert lines[0].split() == ["ID", "NAMESPACE", "MADE", "USE"]
    assert [line.split()[0] for line in lines[1:]] == ids
    assert [line.split(maxsplit=4)[4] for line in lines[1:]] == ["opens; a newer key seals"] * 2 + ["seals"]


def test_a_key_for_a_namespace(folder: Path, keyring: Keyring_) -> None:
    everywhere, own = keyring("add").out.strip(), keyring("add", "--namespace", "shop").out.strip()
    assert (sealing(folder), sealing(folder, "logs")) == (own, everywhere)
    outcome = keyring("retire", own)
    assert outcome.err == "wireproto: no key seals any more: new values of namespace shop are stored plain\n"
    assert (sealing(folder), sealing(folder, "logs")) == (None, everywhere)


def test_a_key_that_seals_later(folder: Path, keyring: Keyring_) -> None:
    first, later = keyring("add").out.strip(), keyring("add", "--later").out.strip()
    assert sealing(folder) == first
    assert keyring("activate", later).code == 0
    assert sealing(folder) == later
    outcome = keyring("add", "--later", "--namespace", "shop")
    assert (outcome.code, outcome.out) == (2, "")
    assert "would be stored plain" in outcome.err
    own = keyring("add", "--namespace", "shop").out.strip()
    keyring("add", "--later", "--namespace", "shop")
    assert sealing(folder) == own


def test_encryption_is_switched_off_by_retiring_every_key(folder: Path, keyring: Keyring_) -> None:
    ids = [keyring("add").out.strip() for _ in range(2)]
    assert keyring("retire", ids[1]).err == ""
    assert sealing(folder) == ids[0]
    said = keyring("retire", ids[0]).err
    assert said == (
        "wireproto: no key seals any more: new values of namespaces without keys of their own are stored plain\n"
    )
    assert sealing(folder) is None
    assert len(stored(folder).opening_keys("shop")) == 2


def test_a_key_is_dropped_only_on_purpose(folder: Path, keyring: Keyring_) -> None:
    old, new = keyring("add").out.strip(), keyring("add").out.strip()
    outcome = keyring("drop", old)
    assert outcome.code == 2
    assert "become unreadable for ever" in outcome.err
    assert "rewrap" in outcome.err
    assert len(stored(folder).keys) == 2
    assert keyring("drop", old, "--yes").code == 0
    assert [key.id for key in stored(folder).keys] == [new]


def test_a_key_that_seals_is_not_dropped(folder: Path, keyring: Keyring_) -> None:
    everywhere, own = keyring("add").out.strip(), keyring("add", "--namespace", "shop").out.strip()
    for key_id in (everywhere, own):
        outcome = keyring("drop", key_id, "--yes")
        assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
        assert f"wireproto keyring retire {key_id}" in outcome.err
    assert (sealing(folder), sealing(folder, "logs")) == (own, everywhere)
    keyring("retire", own)
    assert keyring("drop", own, "--yes").code == 0


def test_a_namespace_that_is_kept_plain(folder: Path, keyring: Keyring_) -> None:
    key_id = keyring("add").out.strip()
    for _ in range(2):
        assert keyring("plain", "logs").code == 0
        assert (sealing(folder, "logs"), sealing(folder)) == (None, key_id)
    assert keyring("list").out.endswith("\nnamespace logs is kept plain\n")
    assert "is kept plain; end that with" in keyring("add", "--namespace", "logs").err
    assert keyring("plain", "--undo", "logs").code == 0
    assert sealing(folder, "logs") not in (None, key_id)


def test_a_file_elsewhere(tmp_path: Path, folder: Path, keyring: Keyring_) -> None:
    path = tmp_path / "elsewhere.json"
    key_id = keyring("add", file=path).out.strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key_id in keyring("list", file=path).out
    assert not folder.exists()


def test_without_keys_the_list_says_so(folder: Path, keyring: Keyring_) -> None:
    outcome = keyring("list")
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err == f"wireproto: there are no keys in {folder / KEYRING_FILE}; values are stored plain\n"


@pytest.mark.parametrize("words", [("retire", KEY_TEXT), ("drop", KEY_TEXT, "--yes"), ("activate", KEY_TEXT)])
def test_an_id_that_is_none_is_not_quoted(keyring: Keyring_, words: tuple[str, ...]) -> None:
    keyring("add")
    outcome = keyring(*words)
    assert outcome.code == 2
    assert outcome.err == "wireproto: argument ID: there is no such key; wireproto keyring list shows them\n"


@pytest.mark.parametrize("words", [("add", "--namespace", "a b"), ("plain", "a:b"), ("add", "--namespace", "")])
def test_what_is_no_namespace(folder: Path, keyring: Keyring_, words: tuple[str, ...]) -> None:
    outcome = keyring(*words)
    assert outcome.code == 2
    assert "must be 1-64 letters" in outcome.err
    assert not folder.exists()


def test_keys_of_the_environment_are_shown_and_not_changed(
    folder: Path, keyring: Keyring_, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIREPROTO_ENCRYPTION_KEYS", f"new={KEY_TEXT},old={KEY_TEXT},plain@logs")
    listed = keyring("list")
    assert [line.split()[0] for line in listed.out.splitlines()] == ["ID", "new", "old", "namespace"]
    assert "unknown" in listed.out
    assert KEY_TEXT not in listed.out
    outcome = keyring("add")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == (
        "wireproto: environment variable WIREPROTO_ENCRYPTION_KEYS: it holds the keys, so change them there\n"
    )
    assert not folder.exists()


def test_a_damaged_file_is_not_overwritten(folder: Path, keyring: Keyring_) -> None:
    keyring("add")
    path = folder / KEYRING_FILE
    content: dict[str, Any] = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "keys": content["keys"] * 2}))
    before = path.read_text()
    for words in (("add",), ("list",), ("plain", "logs")):
        outcome = keyring(*words)
        assert outcome.code == 2
        assert outcome.err.startswith(f"wireproto: state file {path}: damaged: must not have two keys of one id: ")
    assert path.read_text() == before
