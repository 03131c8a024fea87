"""API keys and signing keys as an operator handles them, with a real server that goes by them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jwt

from tests.live.running import REPOSITORY, RunningServer


def wireproto(folder: Path, *words: str) -> str:
    """What a command prints; it takes the state folder of the server in `folder`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WIREPROTO_")}
    done = subprocess.run(
        [sys.executable, "-m", "wireproto", *words],
        env={**clean, "WIREPROTO_STATE_FOLDER": str(folder / "state"), "PYTHONPATH": str(REPOSITORY)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout.strip()


def login(server: RunningServer, credential: str) -> bytes:
    with server.plain(log_in=False) as client:
        return client.ask(b"AUTH %d:%b\n" % (len(credential), credential.encode()))


def test_a_server_goes_by_what_was_made_before_its_start(tmp_path: Path) -> None:
    kept, revoked = wireproto(tmp_path, "keys", "create", "shop"), wireproto(tmp_path, "keys", "create", "desk")
    wireproto(tmp_path, "tokens", "rotate", "--algorithm", "EdDSA")
    wireproto(tmp_path, "keys", "revoke", "desk")
    for flags in ((), ("--workers", "2")):
        server = RunningServer(tmp_path, "--shards", "1", *flags)
        try:
            assert not any("shown this once" in line for line in server.lines), "it makes no key of its own"
            assert login(server, revoked) == b"ERR AUTH :the credential is not accepted"
            answer = login(server, kept)
            assert answer.startswith(b"OK ")
            token = answer.split()[1].partition(b":")[2].decode()
            keys = jwt.PyJWKSet.from_dict(json.loads(wireproto(tmp_path, "tokens", "public")))
            key = keys[jwt.get_unverified_header(token)["kid"]]
            assert jwt.decode(token, key, ["EdDSA"], audience="wireproto", issuer="wireproto")["sub"] == "shop"
            assert login(server, token).startswith(b"OK ttl=")
        finally:
            assert server.stop() == 0


def test_a_server_without_keys_starts_and_lets_nobody_in(tmp_path: Path) -> None:
    api_key = wireproto(tmp_path, "keys", "create", "shop")
    (tmp_path / "state" / "api-keys.json").write_text('{"keys": []}')
    server = RunningServer(tmp_path, "--shards", "1")
    try:
        assert "API key: there is none; make one with: wireproto keys create CLIENT" in server.lines
        assert login(server, api_key) == b"ERR AUTH :the credential is not accepted"
    finally:
        assert server.stop() == 0
