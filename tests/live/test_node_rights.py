"""A node's user who may do what `docs/OPERATIONS.md` says and no more, or less; and what comes of requests then."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from tests.core.scripted_node import ENGINES
from tests.core.test_keyring import key
from tests.live.fake_node import RealNode
from tests.live.running import REPOSITORY, RunningServer, wait_until
from wireproto.admin.node_rewrap import NodeRewrap
from wireproto.core.keyring import Keyring
from wireproto.core.sealing import Sealer
from wireproto.server.process_sealer import new_prefix


def documented() -> list[set[str]]:
    """The commands that the page names: what every node's user needs, what `sync` needs besides, and `rewrap`."""
    text = " ".join((REPOSITORY / "docs/OPERATIONS.md").read_text().split())
    found = re.search(r"The node's user needs (.*?); for `sync` also (.*?); for `wireproto rewrap` also (.*?)\.", text)
    assert found is not None
    return [set(re.findall(r"[A-Z|]{3,}", part)) for part in found.groups()]


ALWAYS, FOR_SYNC, FOR_REWRAP = documented()


READ_REPLICA = b"READ 1:r replica ttl trace\n"


def allow(admin: redis.Redis, commands: set[str]) -> None:
    """Let the user do this, and nothing else."""
    words = (
        "reset",
        "on",
        ">p",
        "~default:*",
        "resetchannels",
        "&wireproto:sync",
        *(f"+{name.lower()}" for name in commands),
    )
    admin.execute_command("ACL", "SETUSER", "u", *words)


@dataclass
class Restricted:
    """A server whose node lets it do only what `allow` has said last."""

    node: RealNode
    admin: redis.Redis
    server: RunningServer

    def allow(self, commands: set[str]) -> None:
        allow(self.admin, commands)


@pytest.fixture(scope="module", params=ENGINES, ids=lambda path: path.rpartition("/")[2])
def restricted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restricted]:
    node = RealNode(tmp_path_factory.mktemp("node"), program=request.param)
    try:
        with redis.Redis(port=node.port) as admin:
            allow(admin, ALWAYS)
            server = RunningServer(tmp_path_factory.mktemp("server"), environment=with_user(node.url))
            yield Restricted(node, admin, server)
            server.stop()
        assert "Traceback" not in server.log()
    finally:
        node.kill()


def with_user(master: str, *replicas: str) -> dict[str, str]:
    """What names these nodes, with the user, to a server."""
    return {"WIREPROTO_NODES": ";replica=".join(["n=" + master, *replicas]).replace("//", "//u:p@")}


REQUESTS = {
    b"WRITE 1:a 1:v ex=100 stale=9": b"OK",
    b"READ 1:a": b"OK 1:v",
    b"READ 1:a ttl": b"OK 1:v ttl=",
    b"READ 1:a ver": b"OK 1:v ver=",
    b"TOUCH 1:a ex=50": b"OK",
    b"WRITE 1:a 1:w xx": b"OK",
    b"TOUCH 1:a ex=50 deadline=1000": b"OK",
    b"WRITE 1:a 1:x keepttl": b"OK",
    b"WRITE 1:a 1:v nx": b"CONFLICT",
    b"WRITE 1:a 1:v ver=x": b"CONFLICT",
    b"INCR 1:c": b"OK 1:1",
    b"INCR 1:d ex=9": b"OK 1:1",
    b"READ 1:m lease=900000": b"MISS lease=",
    b"READ 1:m lease=900000 ttl": b"MISS held=",
    b"DELETE 1:m lease=x": b"CONFLICT",
    b"DELETE 1:a": b"OK",
    b"DELETE 1:a ver=x": b"MISS",
    b"WHERE 1:a": b"OK 1:n 30:master up ",
}


def refused(restricted: Restricted) -> dict[bytes, bytes]:
    """The requests that are not answered as they should be, and what they are answered."""
    restricted.admin.flushall()
    with restricted.server.plain() as client:
        answers = {request: client.ask(request + b"\n") for request in REQUESTS}
    return {
        request: answer
        for request, answer in answers.items()
        if not answer.startswith(REQUESTS[request].replace(b"30:master up ", b""))
    }


def test_what_is_documented_is_enough(restricted: Restricted) -> None:
    restricted.allow(ALWAYS)
    assert refused(restricted) == {}
    restricted.admin.script_flush()
    assert len(refused(restricted)) == 1, "the first that needs a script; the node is told them again"
    assert refused(restricted) == {}


@pytest.mark.parametrize("command", sorted(ALWAYS - {"PING", "ROLE", "INFO", "SCRIPT|LOAD"}))
def test_each_of_them_is_needed(restricted: Restricted, command: str) -> None:
    restricted.allow(ALWAYS - {command})
    try:
        missing = refused(restricted)
    finally:
        restricted.allow(ALWAYS)
    assert missing
    denied = b"ERR DOWN :the node does not permit this to its user"
    assert denied in missing.values()
    # What comes of those behind it, which find something else than they should, is not told in these words.
    assert all(answer == denied or answer.split()[0] in (b"MISS", b"OK", b"CONFLICT") for answer in missing.values())


def reconnect(restricted: Restricted) -> None:
    """Have the server greet the node anew."""
    before = restricted.server.node("n")["connects"]
    restricted.admin.client_kill_filter(_type="normal", skipme=True)
    wait_until(lambda: restricted.server.node("n")["connects"] != before)


def test_what_the_greeting_asks_is_needed(restricted: Restricted) -> None:
    try:
        restricted.allow(ALWAYS - {"PING"})
        restricted.admin.client_kill_filter(_type="normal", skipme=True)
        wait_until(lambda: "NOPERM in answer to PING" in restricted.server.log())
        restricted.allow(ALWAYS)
        wait_until(lambda: restricted.server.node("n")["state"] == "up")
        restricted.allow(ALWAYS - {"ROLE"})
        reconnect(restricted)
        with restricted.server.plain() as client:
            assert b" role=unknown " in client.ask(b"WHERE 1:a\n")
    finally:
        restricted.allow(ALWAYS)
        reconnect(restricted)


def test_without_scripts_plain_values_are_served(restricted: Restricted) -> None:
    restricted.admin.script_flush()
    restricted.allow(ALWAYS - {"SCRIPT|LOAD", "EVALSHA"})
    try:
        reconnect(restricted)
        with restricted.server.plain() as client:
            assert client.ask(b"WRITE 1:p 1:v ex=9\n") == b"OK"
            assert client.ask(b"READ 1:p\n") == b"OK 1:v"
            assert client.ask(b"READ 1:p lease=5\n") == b"OK 1:v"
            assert client.ask(b"DELETE 1:p\n") == b"OK"
            assert client.ask(b"READ 1:p lease=5\n").startswith(b"ERR DOWN :the node does not permit this")
            assert client.ask(b"TOUCH 1:p ex=5\n").startswith(b"ERR DOWN :the node does not permit this")
            assert client.ask(b"READ 1:p\n") == b"MISS"
        restricted.allow(ALWAYS - {"SCRIPT|LOAD"})
        with restricted.server.plain() as client:
            for _ in range(3):
                assert client.ask(b"TOUCH 1:p ex=5\n").startswith(b"ERR DOWN :the node does not know the scripts")
    finally:
        restricted.allow(ALWAYS)
    with restricted.server.plain() as client:
        client.ask(b"TOUCH 1:p ex=5\n")
        assert client.ask(b"TOUCH 1:p ex=5\n") == b"MISS", "it was told them as soon as that was permitted"


def test_what_sync_needs(start_server: Callable[..., RunningServer], tmp_path: Path) -> None:
    master = RealNode(tmp_path, "--repl-diskless-sync-delay", "0")
    (tmp_path / "replica").mkdir()
    replica = RealNode(tmp_path / "replica", "--replicaof", f"127.0.0.1 {master.port}")
    everything = ALWAYS | FOR_SYNC
    try:
        with redis.Redis(port=master.port) as admin, redis.Redis(port=replica.port) as other:
            wait_until(lambda: admin.info("replication")["connected_slaves"] == 1, timeout=15)
            allow(admin, everything)
            allow(other, everything)
            server = start_server(environment=with_user(master.url, replica.url))
            with server.plain() as client:

                def outcome() -> bytes:
                    return client.ask(b"INCR 1:c sync=1\n")

                wait_until(lambda: outcome().startswith(b"OK "), timeout=15)
                assert client.ask(b"WRITE 1:r 1:v ex=900\n") == b"OK"
                for command in FOR_SYNC | {"INFO"}:
                    allow(admin, everything - {command})
                    assert outcome().startswith(b"ERR NOSYNC :"), command
                    allow(admin, everything)
                    wait_until(lambda: outcome().startswith(b"OK "))
                wait_until(lambda: b" ttl=" in (reply := client.ask(READ_REPLICA)) and b"role=replica" in reply)
    finally:
        master.kill()
        replica.kill()


def test_what_rewrap_needs(restricted: Restricted) -> None:
    restricted.admin.flushall()
    restricted.admin.set("default:a", "v")
    sealer = Sealer(Keyring((key("new", 1),)), new_prefix)
    with redis.Redis(port=restricted.node.port, username="u", password="p") as client:

        def run() -> NodeRewrap:
            rewrap = NodeRewrap(client, sealer, namespace=None, to_plain=False)
            rewrap.run(lambda: None)
            return rewrap

        for command in FOR_REWRAP | {"GET", "GETRANGE", "SET"}:
            restricted.allow((ALWAYS | FOR_REWRAP) - {command})
            with pytest.raises(redis.ResponseError):
                run()
        restricted.allow(ALWAYS | FOR_REWRAP)
        assert run().counts.moved == 1
    restricted.allow(ALWAYS)
