"""What was sent to a server, or lies in its nodes, stands in no line that it writes and in no error that it answers."""

from __future__ import annotations

import base64
import json
import os
import select
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.live.fake_node import Answer, FakeNode, RealNode
from tests.live.running import RawClient, RunningServer, keys_by_node, wait_until
from wireproto.core.api_keys import make_api_key

Start = Callable[..., RunningServer]

KEY, VALUE, PAYLOAD, VERB, OPTION, TAG = (
    "marker-key",
    "marker-value",
    "marker-load",
    "MARKERVERB",
    "markeropt",
    "mark-tag",
)
WRONG_KEY, WRONG_TOKEN, NODE_WORDS = "marker-wrong-api-key", "marker.wrong.token", "marker-of-the-node"
FORGED = "\n2026-01-01 00:00:00,000 WARNING wireproto.audit: forged-line\n"
NODE_PASSWORD, WRONG_PASSWORD, SENTINEL_PASSWORD = "marker-node-pw", "marker-wrong-pw", "marker-sentinel-pw"
MARKERS = (KEY, VALUE, PAYLOAD, VERB, OPTION, WRONG_KEY, WRONG_TOKEN, NODE_WORDS, NODE_PASSWORD, WRONG_PASSWORD)


def argument(text: str) -> bytes:
    """As it travels."""
    return b"%d:%b" % (len(text.encode()), text.encode())


def echo(words: list[bytes]) -> Answer:
    """As Redis speaks of what it does not know; and as it does not."""
    said = b" ".join(words).replace(b"\r", b" ").replace(b"\n", b" ")
    return b"-ERR unknown command '%b', with args beginning with: '%b'\r\n" % (words[0], said)


def nonsense(words: list[bytes]) -> Answer:
    return b"+%b%b\r\n" % (NODE_WORDS.encode(), FORGED.strip().encode())


def garbage(words: list[bytes]) -> Answer:
    return NODE_WORDS.encode() + FORGED.encode() + b"".join(words) + b"\r\n"


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[RealNode, FakeNode, FakeNode]]:
    folder = tmp_path / "node"
    folder.mkdir()
    real, hostile, silent = RealNode(folder, "--requirepass", NODE_PASSWORD), FakeNode(), FakeNode()
    hostile.behaviour = echo
    # It refuses the greeting in words of its own, in which stands what it was sent.
    silent.greetings = {b"PING": b"-ERR unknown command '%b', with args: %b\r\n" % (b"PING", NODE_WORDS.encode())}
    yield real, hostile, silent
    real.kill()
    hostile.stop()
    silent.stop()


def everything_written(server: RunningServer, audit: Path) -> str:
    """Standard error, standard output and the audit log, after the server has ended."""
    assert server.process.stdout is not None
    output = server.process.stdout.fileno()
    said = b""
    while select.select([output], [], [], 0)[0] and (data := os.read(output, 65536)):
        said += data
    assert server.stop() == 0
    return "\n".join([server.log(), audit.read_text(), said.decode(), *server.lines])


def provoke(client: RawClient, keys: list[bytes]) -> list[bytes]:
    """Ask for everything, right and wrong, about these keys; the errors."""
    key, value = [b"%d:%b" % (len(name), name) for name in keys], argument(VALUE)
    requests = [
        *(b"%b %b\n" % (verb, name) for verb in (b"READ", b"DELETE", b"WHERE", b"READ ttl") for name in key),
        *(b"WRITE %b %b%b\n" % (name, value, end) for name in key for end in (b"", b" ex=60", b" nx", b" sync=1")),
        *(b"TOUCH %b ex=60\n" % name for name in key),
        *(b"#%b READ %b trace\n" % (TAG.encode(), name) for name in key),
        b"PING %b\n" % argument(PAYLOAD),
        b"STATS\n",
        b"%b %b\n" % (VERB.encode(), value),
        b"READ %b %b=1\n" % (key[0], OPTION.encode()),
        b"WRITE %b %b ex=%b\n" % (key[0], value, VALUE.encode()),
        b"WRITE %b\n" % key[0],
        b"READ %b%b\n" % (argument(KEY * 200), b""),
        b"WRITE %b %d:%b\n" % (key[0], 2 << 20, VALUE.encode().ljust(2 << 20, b"x")),
        b"AUTH %b\n" % argument(WRONG_KEY),
        b"AUTH %b\n" % argument(WRONG_TOKEN + FORGED),
    ]
    errors = []
    for request in requests:
        client.send(request)
        reply = client.reply()
        if reply.removeprefix(b"#%b " % TAG.encode()).startswith(b"ERR "):
            errors.append(reply)
    return errors


def broken_streams(server: RunningServer) -> list[bytes]:
    """What ends a connection; the last words of the server about each."""
    said = []
    for data in (
        f"GET / HTTP/1.1\r\nAuthorization: {WRONG_KEY}\r\n\r\n".encode(),
        b"READ %d:%b\n" % (3, KEY.encode()),
        f'WRITE "{KEY}" "{VALUE}{FORGED}'.encode() + b"\xff\xfe\x00" * 3000,
        b"\x16\x03\x01" + VALUE.encode(),
        FORGED.encode(),
    ):
        with server.plain() as client:
            client.send(data + b"\n\n")
            client.connection.shutdown(1)
            said.append(client.everything())
    with server.plain(log_in=False) as client:
        for credential in (WRONG_KEY, WRONG_TOKEN, WRONG_KEY + FORGED):
            client.send(b"AUTH %b\n" % argument(credential))
        said.append(client.everything())
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(VALUE.encode() + FORGED.encode())
    return said


def tokens(server: RunningServer, known: list[str]) -> None:
    """Log in by key and by the token that it gives, and with a key that only looks like one."""
    with server.tls(log_in=False) as client:
        token = client.ask(b"AUTH %b\n" % argument(server.api_key)).split(b" ")[1].partition(b":")[2].decode()
        known.append(token)
        assert client.ask(b"AUTH %b\n" % argument(token)).startswith(b"OK ")
    made = make_api_key(b"x" * 30)[0]
    known.append(made)
    with server.tls(log_in=False) as client:
        assert client.ask(b"AUTH %b\n" % argument(made)).startswith(b"ERR AUTH ")
        assert client.ask(b"AUTH %b\n" % argument(token[:-10] + "A" * 10)).startswith(b"ERR AUTH ")
        known.append(token[:-10])


@pytest.mark.parametrize("workers", ["1", "2"])
def test_nothing_that_was_sent_is_written_anywhere(
    start_server: Start, nodes: tuple[RealNode, FakeNode, FakeNode], tmp_path: Path, workers: str
) -> None:
    real, hostile, silent = nodes
    audit = tmp_path / "audit.jsonl"
    urls = {
        "real": real.url.replace("//", f"//:{NODE_PASSWORD}@"),
        "locked": real.url.replace("//", f"//:{WRONG_PASSWORD}@"),
        "hostile": hostile.url,
        "silent": silent.url,
        "sentinel": f"sentinel://:{SENTINEL_PASSWORD}@127.0.0.1:{hostile.port}/m?password={NODE_PASSWORD}",
    }
    environment = {
        "WIREPROTO_NODES": ",".join(f"{name}={url}" for name, url in urls.items()),
        "WIREPROTO_AUDIT_LOG": str(audit),
    }
    flags = ("--log-level", "debug", "--workers", workers, "--sync-timeout", "100ms", "--node-timeout", "500ms")
    server = start_server(*flags, environment=environment)
    known: list[str] = []
    with server.plain() as client:
        names = keys_by_node(client)
        shards = {client.ask(b"WHERE %b\n" % argument(f"{KEY}{{{name.decode()}}}")) for (name,) in names.values()}
        assert len(shards) == len(urls)
        keys = [f"{KEY}{{{name.decode()}}}".encode() for (name,) in names.values()]
        errors = []
        for behaviour in (echo, nonsense, garbage):
            hostile.behaviour = behaviour
            wait_until(lambda: server.node("hostile")["state"] in ("up", "suspect"))
            with server.plain() as asking:
                errors += provoke(asking, keys)
    tokens(server, known)
    errors += broken_streams(server)
    assert {error.split(b"ERR ")[1].split(b" ")[0] for error in errors if b"ERR " in error} >= {
        *(b"AUTH", b"VERB", b"ARG", b"TOOBIG", b"DOWN", b"INTERNAL", b"PROTO"),
    }
    written = everything_written(server, audit)
    for marker in (*MARKERS, SENTINEL_PASSWORD, *known):
        encoded = (marker, base64.b64encode(marker.encode()).decode().rstrip("="), marker.encode().hex())
        assert not [form for form in encoded if form in written], marker
        # A tag is repeated, so that an answer can be told; it is no secret.
        assert not [error for error in errors if marker.encode() in error], marker
    shown = written.replace(server.api_key, "", 3)  # where it is shown, and the lines to paste
    assert server.api_key not in shown
    assert not [line for line in written.splitlines() if line.startswith(("2026-01-01", "forged"))]
    assert "node locked cannot be used: WRONGPASS" in written
    assert "node silent cannot be used: ERR in answer to PING" in written


# -- the audit log of a server


def events(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_who_came_and_who_was_refused_is_written_down(start_server: Start, tmp_path: Path) -> None:
    audit = tmp_path / "audit.jsonl"
    server = start_server("--shards", "1", "--audit-log", str(audit), "--workers", "2", "--auth-timeout", "300ms")
    with server.plain() as client:
        peer = "{}:{}".format(*client.connection.getsockname())
        assert client.ask(b"AUTH 20:%b\n" % (b"x" * 20)).startswith(b"ERR AUTH ")
    wait_until(lambda: len(events(audit)) == 3)
    assert [(event["event"], event["peer"]) for event in events(audit)] == [
        ("authenticated", peer),
        ("refused", peer),
        ("closed", peer),
    ]
    came, refused, closed = events(audit)
    assert (came["client"], came["namespace"]) == ("default", "default")
    assert refused["reason"] == "the API key is not known"
    assert (closed["reason"], closed["client"]) == ("client", "default")
    assert came["worker"] == closed["worker"]
    with server.plain(log_in=False) as client:
        assert client.everything() == b""
    wait_until(lambda: len(events(audit)) == 4)
    audit.rename(tmp_path / "audit.jsonl.1")
    with server.plain():
        pass
    wait_until(lambda: audit.exists() and len(events(audit)) == 2)
    late = events(tmp_path / "audit.jsonl.1")[-1]
    assert (late["event"], late["reason"], "client" in late) == ("closed", "auth_timeout", False)
    assert stat.S_IMODE(audit.stat().st_mode) == 0o600


def test_an_audit_log_that_cannot_be_is_refused(start_server: Start, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=f"wireproto: audit log {tmp_path}/none/a: there is no folder"):
        start_server("--shards", "1", "--audit-log", str(tmp_path / "none" / "a"))


# -- the processes


def test_no_process_of_a_server_leaves_a_core_dump(start_server: Start) -> None:
    server = start_server("--shards", "1", "--workers", "2")
    family = [server.process.pid, *(child.pid for child in psutil.Process(server.process.pid).children(recursive=True))]
    assert len(family) == 5, "the supervisor, two workers, the guard and a node"
    for pid in family:
        (line,) = [line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if "core file" in line]
        assert line.split()[4:6] == ["0", "0"]
        assert "\nUmask:\t0077\n" in Path(f"/proc/{pid}/status").read_text()
