"""The command line: values unchanged, outcomes as exit codes."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client import scripts
from tests.client.fake_server import Cache, FakeServer
from wireproto.client import cli

CHECKOUT = Path(__file__).resolve().parents[2]
BINARY = bytes(range(256))


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(Cache()) as running:
        yield running


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without certificates."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(server: FakeServer, *arguments: str) -> int:
    return cli.main(["--url", server.url, *arguments])


def test_write_read_delete(server: FakeServer, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run(server, "write", "my_key", "my_value", "--ex", "60") == 0
    assert run(server, "read", "my_key") == 0
    assert capsysbinary.readouterr().out == b"my_value"
    assert run(server, "touch", "my_key", "--px", "5") == 0
    assert run(server, "delete", "my_key") == 0
    assert run(server, "delete", "my_key") == 1
    assert run(server, "touch", "my_key", "--ex", "5") == 1
    assert run(server, "read", "my_key") == 1
    assert capsysbinary.readouterr() == (b"", b"wireproto: no such key\n" * 3)


def test_conditions(server: FakeServer) -> None:
    assert run(server, "write", "k", "v", "--xx") == 1
    assert run(server, "write", "k", "v", "--nx") == 0
    assert run(server, "write", "k", "v", "--nx") == 1
    assert run(server, "write", "k", "v", "--xx", "--keepttl") == 0


def test_versions(server: FakeServer, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run(server, "read", "k", "--version") == 1
    assert run(server, "write", "k", "v") == 0
    capsysbinary.readouterr()
    assert run(server, "read", "k", "--version") == 0
    assert capsysbinary.readouterr() == (b"v", b"version stamp-1\n")
    assert run(server, "read", "k", "--ttl", "--version") == 0
    assert capsysbinary.readouterr() == (b"v", b"1.500 s left\nversion stamp-1\n")
    assert run(server, "write", "k", "w", "--if-version", "stamp-1", "--ex", "5") == 0
    assert run(server, "write", "k", "x", "--if-version", "stamp-1") == 1
    assert run(server, "delete", "k", "--if-version", "stamp-1") == 1
    said = capsysbinary.readouterr().err.splitlines()
    assert said == [
        b"wireproto: not written: the key is not what it was",
        b"wireproto: not removed: the key is not what it was",
    ]
    assert run(server, "delete", "k", "--if-version", "stamp-2") == 0
    assert run(server, "delete", "k", "--if-version", "stamp-2") == 1
    assert run(server, "delete", "k") == 1
    said = capsysbinary.readouterr().err.splitlines()
    assert said == [b"wireproto: not removed: the key is not what it was", b"wireproto: no such key"]


def test_an_empty_version_is_not_left_out(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    """As of a shell's variable that is not set."""
    assert run(server, "write", "k", "v") == 0
    assert run(server, "write", "k", "w", "--if-version", "") == 2
    assert run(server, "delete", "k", "--if-version", "") == 2
    assert capsys.readouterr().err.splitlines() == ["wireproto: --if-version is empty"] * 2
    assert server.heard == ["WRITE"]


def test_counters(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(server, "incr", "n") == 0
    assert run(server, "incr", "n", "--by", "41", "--ex", "60") == 0
    assert run(server, "incr", "n", "--by", "-50", "--px", "60") == 0
    assert capsys.readouterr() == ("1\n42\n-8\n", "")
    assert run(server, "write", "n", "word") == 0
    assert run(server, "incr", "n") == 3
    assert "TYPE: the value is no counter (took effect: no)" in capsys.readouterr().err
    assert run(server, "incr", "n", "--by", str(2**63)) == 2


def test_what_is_asked_of_replicas(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    heard: list[dict[str, Any]] = []
    with FakeServer(scripts.options_heard(heard)) as server:
        assert run(server, "read", "k", "--replica") == 0
        assert run(server, "read", "k", "--replica", "--ttl") == 0
        assert run(server, "write", "k", "v", "--sync", "1") == 0
        assert run(server, "delete", "k", "--sync", "2") == 0
        assert run(server, "delete", "k", "--sync", "9") == 2
        assert run(server, "write", "k", "v", "--ex", "60", "--stale", "300") == 0
        assert run(server, "write", "k", "v", "--stale", "300") == 2
    assert heard == [{"replica": 1}, {"replica": 1, "ttl": 1}, {"sync": 1}, {"sync": 2}, {"ex": 60, "stale": 300}]
    assert b"sync is a whole number from 0 to 8" in capsysbinary.readouterr().err
    with FakeServer(scripts.refuse(b"ERR NOSYNC :0 of 1 replicas")) as server:
        assert run(server, "write", "k", "v", "--sync", "1") == 3
    assert b"NOSYNC: 0 of 1 replicas (took effect: yes)" in capsysbinary.readouterr().err


@pytest.mark.parametrize("dash", [["-"], []])
def test_a_value_from_stdin_and_to_stdout_is_not_changed(
    server: FakeServer, dash: list[str], monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(BINARY)))
    assert run(server, "write", "k", *dash) == 0
    assert run(server, "read", "k") == 0
    assert capsysbinary.readouterr() == (BINARY, b"")


def test_keys_and_values_may_be_any_bytes(server: FakeServer, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run(server, "write", "--", "-k\udcff", "-v\udcfe") == 0
    assert run(server, "read", "--", "-k\udcff") == 0
    assert capsysbinary.readouterr().out == b"-v\xfe"


def test_the_time_left_goes_to_stderr(server: FakeServer, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run(server, "write", "k", "v") == 0
    assert run(server, "read", "k", "--ttl") == 0
    assert capsysbinary.readouterr() == (b"v", b"1.500 s left\n")
    assert run(server, "read", "none", "--ttl") == 1


def test_about_the_server(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(server, "ping") == 0
    assert " ms" in capsys.readouterr().out
    assert run(server, "where", "k") == 0
    assert capsys.readouterr().out == (
        "shard-2 role=master state=up\n  h:1 master, up\n  /s replica, up, at most 3 ms behind\n"
    )
    assert run(server, "stats") == 0
    assert json.loads(capsys.readouterr().out) == {"version": "0"}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["read"],
        ["read", "a", "b"],
        ["write"],
        ["write", "k", "v", "--ex", "soon"],
        ["write", "k", "v", "--ex", "1", "--px", "1"],
        ["write", "k", "v", "--nx", "--xx"],
        ["write", "k", "v", "--nx", "--if-version", "x"],
        ["write", "k", "v", "--stale", "soon"],
        ["incr"],
        ["incr", "n", "5"],
        ["incr", "n", "--by", "one"],
        ["incr", "n", "--ex", "1", "--px", "1"],
        ["read", "k", "--if-version", "x"],
        ["touch", "k"],
        ["ping", "x"],
        ["read", "k", "--timeout", "soon"],
        ["read", "k", "--nonsense"],
    ],
)
def test_wrong_usage_is_2(server: FakeServer, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(server, *arguments)
    assert caught.value.code == 2
    assert server.connections == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["read", ""],
        ["write", "k", "v", "--ex", "0"],
        ["ping", "--timeout", "0"],
        ["ping", "--ca", "none.pem", "--url", "wireproto://localhost"],
        ["ping", "--url", "http://localhost"],
    ],
)
def test_what_cannot_work_is_2_too(
    server: FakeServer, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(server, *arguments) == 2
    assert capsys.readouterr().err.startswith("wireproto: ")


def test_other_errors_are_3_and_say_what_may_have_happened(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeServer(scripts.refuse(b"ERR DENIED :not yours")) as server:
        assert run(server, "read", "k") == 3
    assert capsys.readouterr().err == "wireproto: DENIED: not yours (took effect: no)\n"
    with FakeServer(scripts.silence) as server:
        assert run(server, "write", "k", "v", "--timeout", "0.05") == 3
    assert "TIMEOUT" in (said := capsys.readouterr().err)
    assert "took effect: maybe" in said
    with FakeServer(Cache()) as server:
        url = server.url
    assert cli.main(["--url", url, "ping"]) == 3


def test_options_may_stand_before_or_after_the_command(server: FakeServer) -> None:
    assert cli.main(["ping", "--url", server.url, "--timeout", "2"]) == 0
    assert cli.main(["--url", server.url, "--timeout", "2", "ping"]) == 0


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeServer(Cache(needs_login=True)) as server:
        monkeypatch.setenv("WIREPROTO_URL", server.url)
        monkeypatch.setenv("WIREPROTO_API_KEY", "key")
        assert cli.main(["write", "k", "v"]) == 0
        monkeypatch.setenv("WIREPROTO_API_KEY", "wrong")
        assert cli.main(["write", "k", "v"]) == 3


@pytest.mark.parametrize("url", ["wireproto://{}@h", "wireproto://:{}@h:1/?ca=x", "wireproto+plain://u:{}@h", "x{}@y"])
def test_a_key_on_the_command_line_is_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ping", "--url", url.format("secret-of-mine")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("wireproto: --url holds an API key, ")
    assert "WIREPROTO_API_KEY" in said
    assert "secret-of-mine" not in said


def test_the_authority_of_this_folder_is_used_if_no_other_is_named(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def authority(*arguments: str) -> object:
        return cli._options(cli._parser().parse_args([*arguments, "ping"])).get("ca")

    assert authority() is None
    (elsewhere / "certs").mkdir()
    (elsewhere / "certs" / "ca.pem").write_text("")
    assert authority() == cli.LOCAL_AUTHORITY
    assert authority("--ca", "other.pem") == "other.pem"
    assert authority("--url", "wireproto://h?timeout=5&ca=x.pem") is None
    monkeypatch.setenv("WIREPROTO_URL", "wireproto://h?ca=x.pem")
    assert authority() is None
    assert authority("--url", "wireproto://h") == cli.LOCAL_AUTHORITY
    monkeypatch.setenv("WIREPROTO_CA", "y.pem")
    assert authority("--url", "wireproto://h") is None


def test_the_help_tells_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["write", "--help"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 0
    assert "exit codes" in capsys.readouterr().out


def test_the_door_of_the_checkout(server: FakeServer) -> None:
    command = [sys.executable, str(CHECKOUT / "client.py"), "--url", server.url]
    subprocess.run([*command, "write", "k", "-"], input=BINARY, check=True)
    assert subprocess.run([*command, "read", "k"], check=True, capture_output=True).stdout == BINARY
    missing = subprocess.run([*command, "read", "none"], check=False, capture_output=True)
    assert (missing.returncode, missing.stdout) == (1, b"")


def test_a_reader_that_goes_away_is_no_drama(server: FakeServer) -> None:
    run(server, "write", "k", "v" * 100_000)
    command = [sys.executable, str(CHECKOUT / "client.py"), "--url", server.url, "read", "k"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 3)
