"""`wireproto doctor` as it is called, and what it says of a server that runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.admin.cases import bad, case
from tests.live.fake_node import free_port
from tests.live.running import RunningServer
from wireproto.admin import cli, doctor
from wireproto.admin.checks import running_server
from wireproto.admin.checks.findings import Case, Finding

SECRET = "a-secret-of-mine"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, and an environment without settings."""
    for name in [name for name in os.environ if name.startswith("WIREPROTO_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("server"), "--shards", "1")
    yield running
    assert running.stop() == 0


def test_a_folder_in_which_nothing_is_yet(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "\nok       API keys: none yet; the first start makes one and shows it\n" in said
    assert list(elsewhere.iterdir()) == [], "nothing is made"


def test_the_keys_that_encrypt_values(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    assert "ok       encryption: there are no keys in .wireproto/keyring.json: values are stored plain\n" in (
        capsys.readouterr().out
    )
    assert cli.main(["keyring", "add"]) == cli.main(["keyring", "add", "--namespace", "shop"]) == 0
    everywhere, own = capsys.readouterr().out.split()
    assert cli.main(["keyring", "retire", own]) == cli.main(["keyring", "plain", "logs"]) == 0
    assert cli.main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert (
        f"ok       encryption: 2 in the keyring; all other namespaces: key {everywhere}; logs: plain; shop: plain\n"
        in said
    )
    (elsewhere / ".wireproto" / "keyring.json").write_text("{")
    assert cli.main(["doctor"]) == 1
    assert "keyring.json" in next(line for line in capsys.readouterr().out.splitlines() if line.startswith("problem"))


def test_a_problem_is_1(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (elsewhere / "wireproto.toml").write_text(f'[nodes]\na = "redis://:{SECRET}@127.0.0.1:{free_port()}"\n')
    (elsewhere / "wireproto.toml").chmod(0o600)
    assert cli.main(["doctor", "--config", "wireproto.toml", "--json"]) == 1
    said = capsys.readouterr().out
    found = json.loads(said)
    assert found["counts"]["problem"] == 1
    (finding,) = [one for one in found["findings"] if one["level"] == "problem"]
    assert finding["text"] == "it cannot be reached: connection refused"
    assert finding["remedy"] == "start it, or correct its URL"
    assert SECRET not in said


def test_settings_that_cannot_be_read_are_2(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (elsewhere / "wireproto.toml").write_text(f'prot = 1\n[nodes]\na = "redis://:{SECRET}@h"\n')
    assert cli.main(["doctor", "--config", "wireproto.toml"]) == 2
    assert "key prot: there is no such setting; did you mean port?" in capsys.readouterr().err
    (elsewhere / "wireproto.toml").write_text(f'[nodes]\na = "redis://:{SECRET}@h"\n')
    (elsewhere / "wireproto.toml").chmod(0o644)
    assert cli.main(["doctor", "--config", "wireproto.toml"]) == 2
    said = capsys.readouterr().err
    assert "it holds a secret, and other users can use it (mode 0644); run: chmod 600 wireproto.toml" in said
    assert SECRET not in said


def test_the_door(elsewhere: Path) -> None:
    repository = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "wireproto", "doctor"],
        env={"PYTHONPATH": str(repository), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ok       host: 127.0.0.1 can be reached from this machine only\n")


def test_a_check_that_fails_does_not_end_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Case) -> list[Finding]:
        raise KeyError(SECRET)

    def unreadable(_: Case) -> list[Finding]:
        return [Finding(*Path("no/such/file").read_text())]  # type: ignore[arg-type]

    monkeypatch.setattr(doctor, "CHECKS", (broken, unreadable, *doctor.CHECKS))
    found = doctor.examine(case(tmp_path))
    assert [finding.line() for finding in found[:2]] == [
        "problem  broken: this check has failed: KeyError; report it as a bug",
        "problem  unreadable: no/such/file: No such file or directory; run this as the server's user",
    ]
    assert len(found) > 8


# -- a server that runs


def asked(url: str, folder: Path, **environment: str) -> list[Finding]:
    given = case(folder)
    with_url = Case(given.settings, None, {"WIREPROTO_URL": url, **environment}, given.now)
    return running_server.running_server(with_url)


def test_a_server_that_is_well(server: RunningServer, elsewhere: Path) -> None:
    found = asked(server.url(), elsewhere)
    lines = [finding.line() for finding in found]
    assert bad(found) == []
    assert lines[0] == f"ok       server localhost:{server.port}: it answers, its certificate is verified"
    assert lines[1].startswith(f"ok       server localhost:{server.port}: version ")
    assert server.api_key not in str(lines)
    without_authority = server.url().partition("?")[0]
    (line,) = bad(asked(without_authority, elsewhere))
    assert "is not trusted" in line
    (elsewhere / "certs").symlink_to(server.folder / "certs")
    assert bad(asked(without_authority, elsewhere)) == []
    assert running_server.running_server(case(elsewhere)) == []


def test_servers_that_are_not_well(server: RunningServer, elsewhere: Path) -> None:
    (line,) = bad(asked(server.url().replace(server.api_key, SECRET * 2), elsewhere))
    assert f"problem  server localhost:{server.port}: no login: " in line
    assert SECRET not in line
    (line,) = bad(asked(f"wireproto://{SECRET}@localhost:{free_port()}", elsewhere))
    assert "connection refused" in line
    assert SECRET not in line
    (line,) = bad(asked(f"wireproto+plain://{SECRET}@127.0.0.1:{server.port}", elsewhere))
    assert line.startswith("problem  ")


def test_a_server_of_another_version(server: RunningServer, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_server, "__version__", "99.0")
    (line,) = bad(asked(server.plain_url(), elsewhere))
    assert ", and this is 99.0; " in line


def test_a_server_that_is_not_asked_in_the_clear(elsewhere: Path) -> None:
    found = bad(asked("wireproto+plain://key@192.0.2.1?timeout=0.1&connect_timeout=0.1", elsewhere))
    assert found[0].startswith("problem  server 192.0.2.1:7379: keys and values travel in the clear; ")
