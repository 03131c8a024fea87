"""Nodes and Sentinels as they are: real ones, well and ill."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis

from tests.admin.cases import bad, case, levels
from tests.core.scripted_node import ENGINES
from tests.live.fake_node import FakeNode, RealNode, free_port
from tests.live.running import wait_until
from tests.live.test_node_rights import ALWAYS
from wireproto.admin.checks import nodes
from wireproto.admin.checks.findings import Finding
from wireproto.admin.checks.node_facts import NodeFacts, ask_node
from wireproto.server.certificates import ensure_development_certificates
from wireproto.server.embedded import EmbeddedNodes, find_program
from wireproto.server.node_endpoint import NodeEndpoint
from wireproto.settings import ShardAddress

Start = Callable[..., RealNode]
BOUNDED = ("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lfu")
SECRET = "a-secret-of-nodes"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts nodes."""
    started: list[RealNode] = []

    def start_one(*options: str, program: str | None = None) -> RealNode:
        folder = tmp_path / f"node-{len(started)}"
        folder.mkdir()
        started.append(RealNode(folder, *options, program=program))
        return started[-1]

    yield start_one
    for node in started:
        node.kill()


def shard(url: str, *replicas: str) -> list[str]:
    return bad(nodes.check_shard(ShardAddress("s", url, 1.0, replicas)))


def test_a_node_that_is_well(start: Start, tmp_path: Path) -> None:
    node = start(*BOUNDED, "--requirepass", SECRET)
    url = node.url.replace("//", f"//:{SECRET}@")
    found = nodes.shards(case(tmp_path, nodes=(ShardAddress("s", url),)))
    assert levels(found) == ["ok"] * 3
    lines = [finding.line() for finding in found]
    assert f"shard s, node 127.0.0.1:{node.port}: master, valkey " in lines[0]
    assert "maxmemory 64 MiB, allkeys-lfu" in lines[1]
    assert SECRET not in str(found) + str(lines)


def test_nodes_that_are_ill(start: Start) -> None:
    endless, full, locked = start(), start("--maxmemory", "64mb", "--appendonly", "yes"), start("--requirepass", SECRET)
    (line,) = shard(endless.url)
    assert "it has no limit of memory" in line
    (line,) = shard(full.url)
    assert "it evicts nothing: when it is full, writes are answered BUSY" in line
    for url in (locked.url, locked.url.replace("//", "//:not-it@")):
        (line,) = shard(url)
        assert line.startswith(f"problem  shard s, node 127.0.0.1:{locked.port}: it refuses the user or the password")
        assert "not-it" not in line
    (line,) = shard(f"redis://127.0.0.1:{free_port()}")
    assert "it cannot be reached: connection refused" in line
    (line,) = shard("rediss://h?ssl_ca_certs=none.pem")
    assert line.startswith("problem  shard s: the certificates of a node's URL cannot be loaded: ")


def test_a_node_that_is_loading_says_so() -> None:
    fake = FakeNode()
    info = b"role:master\r\nredis_version:7.0.0\r\nloading:1\r\n"
    fake.behaviour = lambda words: b"-LOADING Redis is loading the dataset in memory\r\n"
    fake.greetings = {b"INFO": b"$%d\r\n%b\r\n" % (len(info), info), b"CLIENT": b"+OK\r\n"}
    fake.greetings.update(dict.fromkeys((b"PING", b"SCRIPT", b"ROLE"), fake.behaviour([])))
    try:
        (line,) = shard(fake.url)
        assert "it is loading its data" in line
    finally:
        fake.stop()


@pytest.mark.parametrize("keys", ["~sessions:*", "%R~default:*"])
def test_a_user_who_may_not_use_the_keys(start: Start, keys: str) -> None:
    node = start(*BOUNDED)
    with redis.Redis(port=node.port) as admin:
        admin.execute_command("ACL", "SETUSER", "u", "reset", "on", ">p", keys, "+@all")
        (line,) = shard(node.url.replace("//", "//u:p@"))
    assert line.startswith("warning ")
    assert ": its user may not read and write all keys of the namespace default; " in line


@pytest.mark.parametrize("program", ENGINES, ids=lambda path: path.rpartition("/")[2])
def test_a_user_who_may_do_too_little(start: Start, program: str) -> None:
    node = start(*BOUNDED, program=program)
    url = node.url.replace("//", "//u:p@")
    with redis.Redis(port=node.port) as admin:

        def allow(*commands: str) -> None:
            words = (f"+{command.lower()}" for command in commands)
            admin.execute_command("ACL", "SETUSER", "u", "reset", "on", ">p", "~default:*", *words)

        allow(*ALWAYS)
        changes = admin.info()["rdb_changes_since_last_save"]
        assert shard(url) == []
        assert admin.info()["rdb_changes_since_last_save"] == changes
        for command in ALWAYS - {"INFO"}:
            allow(*ALWAYS - {command})
            (line,) = shard(url)
            is_basic = command in ("PING", "GET", "SET", "UNLINK")
            assert line.startswith("problem " if is_basic else "warning ")
            assert f": its user may not give {command}: " in line
            assert ("answered DOWN" in line) == (command != "ROLE")
            assert line.endswith(f"ACL SETUSER name +{command.lower()}")
        allow("INFO")
        (line,) = shard(url)
        assert {"INFO", *line.partition("may not give ")[2].partition(":")[0].split(", ")} == ALWAYS


def test_what_a_node_chooses_to_say_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeNode()
    fake.behaviour = lambda words: b"+OK\r\n"
    hello = b"%1\r\n$5\r\nproto\r\n:3"
    texts = (f"-ERR {SECRET}", f"-NOAUTH {SECRET}", f"+{SECRET}", f"${len(SECRET)}\r\n{SECRET}", ":1", SECRET)
    texts += (f">4\r\n+MOVING\r\n:1\r\n:2\r\n+{SECRET}\r\n+OK",)
    try:
        for text in texts:
            for greetings in ({b"HELLO": text}, {b"HELLO": hello.decode(), b"INFO": text}):
                fake.greetings = {word: f"{said}\r\n".encode() for word, said in greetings.items()}
                lines = [finding.line() for finding in nodes.check_shard(ShardAddress("s", fake.url))]
                assert lines
                assert SECRET not in str(lines) + caplog.text
    finally:
        fake.stop()


def test_a_list_of_nodes_has_one_master(start: Start) -> None:
    first, second = start(*BOUNDED), start(*BOUNDED)
    (line,) = shard(first.url, second.url)
    assert line.startswith(
        f"problem  shard s: several of its nodes are masters: 127.0.0.1:{first.port}, 127.0.0.1:{second.port}; "
    )
    with redis.Redis(port=second.port) as client:
        client.replicaof("127.0.0.1", first.port)
        wait_until(lambda: client.info("replication")["master_link_status"] == "up", timeout=15)
    with redis.Redis(port=first.port) as client:
        wait_until(lambda: client.info("replication")["slave0"]["state"] == "online", timeout=15)
    assert shard(first.url, second.url) == []
    first.kill()
    with redis.Redis(port=second.port) as client:
        wait_until(lambda: client.info("replication")["master_link_status"] == "down", timeout=15)
    lines = shard(first.url, second.url)
    assert [line.split("; ")[0] for line in lines] == [
        f"problem  shard s, node 127.0.0.1:{first.port}: it cannot be reached: connection refused",
        f"problem  shard s, node 127.0.0.1:{second.port}: it has lost its master 127.0.0.1:{first.port}",
        "problem  shard s: none of its nodes is a master: it is answered DOWN",
    ]


@pytest.mark.parametrize(
    ("url", "texts"),
    [
        ("redis://10.0.0.1", ["travel in the clear", "there is no password"]),
        ("redis://:p@10.0.0.1", ["travel in the clear"]),
        ("rediss://:p@10.0.0.1", []),
        ("rediss://:p@10.0.0.1?ssl_cert_reqs=none", ["its certificate is not verified"]),
        ("rediss://:p@10.0.0.1?ssl_check_hostname=false", ["the name in its certificate is not verified"]),
        ("redis://localhost", []),
        ("redis://[::1]", []),
        ("unix:///run/redis.sock", []),
    ],
)
def test_the_way_to_a_node(start: Start, url: str, texts: list[str]) -> None:
    endpoint = NodeEndpoint.from_url(url)
    lines = bad(nodes.check_node("s", NodeFacts(endpoint, {"role": "master", "redis_version": "7.2.0"})))
    assert len(lines) == len(texts)
    assert all(text in line for text, line in zip(texts, lines, strict=True))


def test_a_node_whose_certificate_is_not_trusted(tmp_path: Path) -> None:
    files = ensure_development_certificates(tmp_path, datetime.now(UTC))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(files.cert, files.key)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def shake_hands() -> None:
            client, _ = listening.accept()
            try:
                tls.wrap_socket(client, server_side=True).close()
            except OSError:
                client.close()

        thread = threading.Thread(target=shake_hands)
        thread.start()
        facts = ask_node(f"rediss://localhost:{listening.getsockname()[1]}")
        thread.join()
    assert facts.problem == "its certificate is not trusted, or is for another name"


# -- Sentinels


def until_well(shard: ShardAddress) -> list[Finding]:
    """What is found when a replica that was just started has its copy."""
    found: list[Finding] = []

    def is_well() -> bool:
        # The same look is judged and given back: Sentinels may have a replica copy once more behind it.
        found[:] = nodes.check_shard(shard)
        return not bad(found)

    wait_until(is_well, timeout=15)
    return found


async def test_sentinels_and_the_nodes_that_they_name() -> None:
    started = await EmbeddedNodes.start(
        shards=1, replicas=1, program=find_program(None), memory="64mb", eviction="allkeys-lfu", sentinels=3
    )
    try:
        password = started.nodes[0].url.partition(":")[2].partition(":")[2].partition("@")[0]
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in started.sentinels)
        url = f"sentinel://:{started.sentinel_password}@{hosts}/%s?password={password}"
        found = await asyncio.to_thread(until_well, ShardAddress("s", url % "shard-1"))
        lines = [finding.line() for finding in found]
        assert bad(found) == []
        assert len([line for line in lines if "3 Sentinels, quorum 2, down after 1 s" in line]) == 3
        for node in started.nodes:
            assert any(line.startswith(f"ok       shard s, node 127.0.0.1:{node.port}: ") for line in lines)
        assert password not in str(lines)
        missing = await asyncio.to_thread(nodes.check_shard, ShardAddress("s", url % "another"))
        assert [line.partition(": it")[2] for line in bad(missing)] == [
            " does not watch another; have it watch: SENTINEL MONITOR, or correct the name"
        ] * 3
    finally:
        await started.stop()
    gone = await asyncio.to_thread(nodes.check_shard, ShardAddress("s", url % "shard-1"))
    assert all("it cannot be reached: connection refused" in line for line in bad(gone))
    assert len(bad(gone)) == 3


STATE = {"num-other-sentinels": 2, "quorum": 2, "down-after-milliseconds": 1000, "num-slaves": 2, "flags": {"master"}}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"quorum": 4}, "problem  x: the quorum is 4, and there are 3 Sentinels: there is never a failover"),
        ({"quorum": 1}, "warning  x: the quorum is 1 of 3: a minority that is cut off takes the master for down"),
        ({"num-other-sentinels": 1}, "warning  x: there are only 2: if one is lost there is no failover"),
        ({"down-after-milliseconds": 30000}, "warning  x: a master must be silent for 30 s before another takes over"),
        ({"num-slaves": 0}, "warning  x: the master has no replica: nobody can take over"),
        ({"flags": "master,s_down"}, "problem  x: it takes the master for down"),
    ],
)
def test_sentinels_that_would_not_help(change: dict[str, object], text: str) -> None:
    assert bad(nodes.check_sentinel("x", STATE)) == []
    (line,) = bad(nodes.check_sentinel("x", {**STATE, **change}))
    assert line.startswith(text + "; ")
