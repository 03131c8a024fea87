"""Shards with replicas, against real nodes and real Sentinels: who is read, who is written, what survives."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from tests.live.fake_node import RealNode
from tests.live.running import RawClient, RunningServer, keys_by_node, wait_until
from wireproto import Client
from wireproto.client.aio import AsyncClient
from wireproto.errors import Effect, NotReplicatedError, RequestError

Start = Callable[..., RunningServer]
TOPOLOGY = ("--shards", "1", "--replicas", "2", "--sentinels", "3")
FAILOVER = 6.0
"""Seconds that a test waits for a failover at most, on a busy machine."""


class Cluster:
    """A server of which each node can be found, looked into, stopped and killed."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server

    def nodes(self, shard: str = "shard-1") -> list[dict[str, Any]]:
        """What STATS tells of a shard's nodes, the master first."""
        nodes = self.server.stats()["nodes"]
        assert isinstance(nodes, list)
        return [node for node in nodes if node["shard"] == shard]

    def master(self, shard: str = "shard-1") -> dict[str, Any]:
        return self.nodes(shard)[0]

    def replicas(self, shard: str = "shard-1") -> list[dict[str, Any]]:
        return self.nodes(shard)[1:]

    def failovers(self, shard: str = "shard-1") -> int:
        shards = self.server.stats()["shards"]
        assert isinstance(shards, list)
        return next(int(entry["failovers"]) for entry in shards if entry["shard"] == shard)

    def wait_until_whole(self, timeout: float = 15.0) -> None:
        """Wait until every node is up, and every replica may be read."""
        wait_until(
            lambda: all(node["state"] == "up" and node.get("read", True) for node in self._all_nodes()), timeout=timeout
        )

    def _all_nodes(self) -> list[dict[str, Any]]:
        nodes = self.server.stats()["nodes"]
        assert isinstance(nodes, list)
        return nodes

    def at(self, node: dict[str, Any]) -> redis.Redis:
        """A client straight to a node."""
        folder = Path(psutil.Process(node["pid"]).cwd())
        port = node["address"].rpartition(":")[2]
        for path in folder.glob("*.conf"):
            text = path.read_text()
            if re.search(rf"^port {port}$", text, re.MULTILINE):
                password = re.search(r"^requirepass \"?([^\"\s]+)", text, re.MULTILINE)
                assert password is not None
                return redis.Redis(port=int(port), password=password[1])
        raise AssertionError(f"no configuration has port {port}")


@contextmanager
def stopped(*nodes: dict[str, Any]) -> Iterator[None]:
    """Processes that are alive and silent."""
    for node in nodes:
        os.kill(node["pid"], signal.SIGSTOP)
    try:
        yield
    finally:
        for node in nodes:
            os.kill(node["pid"], signal.SIGCONT)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    server = RunningServer(
        tmp_path_factory.mktemp("replication"), *TOPOLOGY, "--sync-timeout", "300ms", "--namespace-sync", "careful=2"
    )
    yield Cluster(server)
    assert server.stop() == 0
    assert "Traceback" not in server.log()


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    shared.wait_until_whole()
    return shared


def code(reply: bytes) -> str:
    words = reply.split()
    return words[1].decode() if words[0] == b"ERR" else words[0].decode()


def role_that_answers(client: RawClient, key: bytes) -> str:
    reply = client.ask(b"READ %d:%b replica trace\n" % (len(key), key))
    found = re.search(rb"role=(\w+)", reply)
    assert found is not None, reply
    return found[1].decode()


# -- what is told


def test_where_and_stats_name_every_node_with_its_role_and_lag(cluster: Cluster) -> None:
    master, *replicas = cluster.nodes()
    assert [master["role"], *(node["role"] for node in replicas)] == ["master", "replica", "replica"]
    assert "lag_ms" not in master
    assert all(isinstance(node["lag_ms"], int) for node in replicas)
    assert len({node["pid"] for node in (master, *replicas)}) == 3
    for node in (master, *replicas):
        with cluster.at(node) as straight:
            assert straight.role()[0] == (b"master" if node is master else b"slave")
    with cluster.server.plain() as client:
        told = client.ask(b'where "a"\n').decode()
    assert told.startswith(f"OK 7:shard-1 {len(master['address']) + 10}:master up {master['address']} ")
    for node in replicas:
        assert re.search(rf" \d+:replica up lag_ms=\d+ {node['address']} ", told)
    assert " role=master state=up place=" in told
    with Client(cluster.server.url()) as client:
        # Sentinels may name the replicas in another order between two looks.
        wait_until(
            lambda: [node.address for node in client.where("a").nodes] == [node["address"] for node in cluster.nodes()]
        )


# -- replica reads


def test_a_key_that_was_written_a_moment_ago_is_read_from_the_master(cluster: Cluster) -> None:
    with cluster.server.plain() as writer, cluster.server.plain() as other:
        assert writer.ask(b"WRITE 6:fresh1 1:v\n") == b"OK"
        assert role_that_answers(writer, b"fresh1") == "master"
        assert role_that_answers(other, b"fresh1") == "replica"
        # Bounded: a node's time-out and two looks at the replicas later the replica may answer this connection too.
        took = wait_until(lambda: role_that_answers(writer, b"fresh1") == "replica", timeout=4)
        assert took > 0.9
        assert writer.ask(b"WRITE 6:fresh2 1:v\n") == b"OK"
        assert role_that_answers(writer, b"fresh2") == "master"
        # (1,024 slots: one key in a thousand shares the slot of another.)
        assert role_that_answers(writer, b"fresh1") == "replica"


def test_reads_of_a_key_stay_with_one_replica_and_keys_spread_over_all(cluster: Cluster) -> None:
    replicas = cluster.replicas()
    with cluster.server.plain() as client:
        role_that_answers(client, b"warm")
        served: dict[int, list[str]] = {}
        for number in range(40):
            before = [gets(cluster, node) for node in replicas]
            for _ in range(3):
                assert role_that_answers(client, b"steady%d" % number) == "replica"
            after = [gets(cluster, node) for node in replicas]
            deltas = [late - early for early, late in zip(before, after, strict=True)]
            assert sorted(deltas) == [0, 3], "reads of a key go to one replica"
            served[number] = [node["address"] for node, delta in zip(replicas, deltas, strict=True) if delta]
    assert len({addresses[0] for addresses in served.values()}) == 2


def gets(cluster: Cluster, node: dict[str, Any]) -> int:
    with cluster.at(node) as straight:
        return int(straight.info("commandstats").get("cmdstat_get", {}).get("calls", 0))


def test_a_replica_that_is_silent_is_not_read_and_is_back_soon_after(cluster: Cluster) -> None:
    with cluster.server.plain() as client, cluster.server.plain() as writer:
        keys = [b"lagging%d" % number for number in range(20)]
        for key in keys:
            assert writer.ask(b"WRITE %d:%b 3:old\n" % (len(key), key)) == b"OK"
        wait_until(lambda: all(role_that_answers(client, key) == "replica" for key in keys))
        with stopped(*cluster.replicas()):
            time.sleep(1.2)  # the bound: max_replica_lag, 1 s
            for key in keys:
                assert writer.ask(b"WRITE %d:%b 3:new\n" % (len(key), key)) == b"OK"
                assert client.ask(b"READ %d:%b replica trace\n" % (len(key), key)).startswith(b"OK 3:new")
                assert role_that_answers(client, key) == "master"
            assert not any(node["read"] for node in cluster.replicas())
            assert b" read=no " in client.ask(b'where "a"\n')
        took = wait_until(lambda: role_that_answers(client, keys[0]) == "replica", timeout=5)
        print(f"read again {took:.2f} s after it went on")
        for key in keys:
            assert client.ask(b"READ %d:%b replica\n" % (len(key), key)) == b"OK 3:new"


def test_the_configuration_can_send_all_reads_to_replicas(start_server: Start) -> None:
    cluster = Cluster(start_server(*TOPOLOGY[:4], "--sentinels", "0", "--reads", "replica"))
    cluster.wait_until_whole()
    with cluster.server.plain() as client, cluster.server.plain() as writer:
        assert writer.ask(b"WRITE 1:k 1:v\n") == b"OK"
        assert writer.ask(b"READ 1:k\n") == b"OK 1:v", "its own write, from the master"
        wait_until(lambda: client.ask(b"READ 1:k trace\n").startswith(b"OK 1:v node=shard-1 role=replica "))


# -- sync


def test_a_synced_write_is_on_the_replicas_when_it_is_answered(cluster: Cluster) -> None:
    with (
        cluster.server.plain() as client,
        cluster.at(cluster.replicas()[0]) as one,
        cluster.at(cluster.replicas()[1]) as two,
    ):
        wait_until(lambda: client.ask(b"WRITE 6:synced 3:000 sync=2\n") == b"OK")
        for number in range(100):
            assert client.ask(b"WRITE 6:synced 3:%03d sync=2\n" % number) == b"OK"
            assert one.get("default:synced") == two.get("default:synced") == b"%03d" % number
        assert client.ask(b"DELETE 6:synced sync=2\n") == b"OK"
        assert one.get("default:synced") is two.get("default:synced") is None
        assert client.ask(b"DELETE 6:synced sync=2\n") == b"MISS"
        assert client.ask(b"WRITE 6:synced 1:v xx sync=2\n") == b"CONFLICT"


def test_a_write_that_too_few_replicas_have_says_so_and_stands(cluster: Cluster) -> None:
    with cluster.server.plain() as client, Client(cluster.server.url()) as library:
        wait_until(lambda: client.ask(b"WRITE 4:kept 1:v sync=2\n") == b"OK")
        replicas = cluster.replicas()
        with stopped(*replicas):
            started = time.monotonic()
            assert client.ask(b"WRITE 4:kept 1:v sync=1\n") == b"ERR NOSYNC :0 of 1 replicas have it"
            assert 0.28 < time.monotonic() - started < 0.6
            assert client.ask(b"READ 4:kept\n") == b"OK 1:v"
            with pytest.raises(NotReplicatedError) as caught:
                library.write("kept", b"w", sync=1)
            assert caught.value.took_effect is Effect.YES
            assert library.read("kept") == b"w"
        with stopped(replicas[0]):
            assert client.ask(b"WRITE 4:kept 1:x sync=2\n") == b"ERR NOSYNC :1 of 2 replicas have it"
            assert client.ask(b"WRITE 4:kept 1:y sync=1\n") == b"OK"


def test_plain_traffic_is_not_slowed_by_writes_that_wait(cluster: Cluster) -> None:
    with cluster.server.plain() as waiting, cluster.server.plain() as plain:
        with stopped(*cluster.replicas()):
            waiting.send(b"WRITE 4:wait 1:v sync=1\nREAD 4:wait\n#t READ 4:wait\n")
            assert waiting.line() == b"#t OK 1:v", "tagged, it overtakes"
            slowest, deadline = 0.0, time.monotonic() + 0.2
            while time.monotonic() < deadline:
                started = time.monotonic()
                assert plain.ask(b"WRITE 4:wait 1:v\n") == b"OK"
                slowest = max(slowest, time.monotonic() - started)
            assert code(waiting.line()) == "NOSYNC"
            assert waiting.line() == b"OK 1:v", "untagged, it keeps its place"
        assert slowest < 0.15


def test_many_synced_writes_share_their_questions(cluster: Cluster) -> None:
    with cluster.server.plain() as client, cluster.at(cluster.master()) as master:
        wait_until(lambda: client.ask(b"WRITE 1:k 1:v sync=1\n") == b"OK")
        before = master.info("commandstats")["cmdstat_wait"]["calls"]
        client.send(b"".join(b"WRITE 6:many%02d 1:v sync=1\n" % (number % 100) for number in range(1000)))
        assert [client.line() for _ in range(1000)] == [b"OK"] * 1000
        questions = master.info("commandstats")["cmdstat_wait"]["calls"] - before
    print(f"{questions} questions for 1,000 writes")
    assert questions < 200


def test_a_namespace_can_want_sync_for_all_its_writes(start_server: Start) -> None:
    careful = ("--namespace", "careful", "--namespace-sync", "careful=2", "--sync-timeout", "300ms")
    server = start_server(*TOPOLOGY, *careful)
    cluster = Cluster(server)
    cluster.wait_until_whole()
    with server.plain() as client:
        # For a second after a replica has come, its master counts nothing that it says.
        wait_until(lambda: client.ask(b"WRITE 1:k 1:v\n") == b"OK")
        with stopped(cluster.replicas()[0]):
            assert client.ask(b"WRITE 1:k 1:v\n") == b"ERR NOSYNC :1 of 2 replicas have it"
            assert client.ask(b"DELETE 1:k\n") == b"ERR NOSYNC :1 of 2 replicas have it"
            assert client.ask(b"WRITE 1:k 1:v sync=1\n") == b"OK"
            assert client.ask(b"WRITE 1:k 1:v sync=0\n") == b"OK"


# -- failover


def test_a_shard_survives_its_master_and_every_answer_says_what_happened(start_server: Start) -> None:
    cluster = Cluster(start_server("--shards", "2", "--replicas", "2", "--sentinels", "3"))
    cluster.wait_until_whole()
    server = cluster.server
    with server.plain() as client:
        keys = {name: many[0] for name, many in keys_by_node(client).items()}
        mine, other = keys["shard-1"], keys["shard-2"]
        wait_until(lambda: client.ask(b"WRITE %d:%b 4:kept sync=2\n" % (len(mine), mine)) == b"OK")
        old = cluster.master()
        os.kill(old["pid"], signal.SIGKILL)
        killed = time.monotonic()
        codes: Counter[str] = Counter()
        slowest = 0.0
        while codes["OK"] == 0:
            started = time.monotonic()
            codes[code(client.ask(b"WRITE %d:%b 1:w\n" % (len(mine), mine)))] += 1
            assert code(client.ask(b"READ %d:%b\n" % (len(other), other))) == "MISS"
            slowest = max(slowest, time.monotonic() - started)
            assert time.monotonic() - killed < FAILOVER, codes
            time.sleep(0.002)
        took = time.monotonic() - killed
        print(f"first accepted write after {took:.2f} s: {dict(codes)}, slowest answer {slowest * 1000:.0f} ms")
        assert took < 3
        assert set(codes) <= {"OK", "DOWN", "LOST"}
        assert codes["LOST"] <= 1
        assert slowest < 0.3
        assert cluster.failovers() == 1
        assert cluster.failovers("shard-2") == 0
        assert cluster.master()["address"] != old["address"]
        cluster.wait_until_whole()
        back = next(node for node in cluster.replicas() if node["address"] == old["address"])
        assert back["pid"] != old["pid"]
        with cluster.at(back) as straight:
            assert straight.role()[0] == b"slave"
            assert straight.get(b"default:" + mine) == b"w"
    log = server.log()
    assert f"shard shard-1: the master is {cluster.master()['address']}, after {old['address']}" in log
    assert log.count("shard shard-1: the master is ") == 2
    assert "shard shard-2: the master is " in log


def test_a_master_that_was_silent_and_comes_back_is_not_written_any_more(start_server: Start) -> None:
    cluster = Cluster(start_server(*TOPOLOGY, "--node-timeout", "300ms"))
    cluster.wait_until_whole()
    with cluster.server.plain() as client:
        assert client.ask(b"WRITE 1:k 1:0\n") == b"OK"
        old = cluster.master()
        codes: Counter[str] = Counter()
        number = 0

        def write() -> bytes:
            nonlocal number
            number += 1
            reply = client.ask(b"WRITE 1:k %d:%d\n" % (len(str(number)), number))
            codes[code(reply)] += 1
            return reply

        with stopped(old):
            took = wait_until(lambda: write() == b"OK", timeout=FAILOVER)
        # It goes on, and takes itself for the master until the Sentinels have told it otherwise.
        deadline = time.monotonic() + 3.5
        while time.monotonic() < deadline:
            assert write() == b"OK"
            assert client.ask(b"READ 1:k\n") == b"OK %d:%d" % (len(str(number)), number)
        cluster.wait_until_whole()
        for node in cluster.nodes():
            with cluster.at(node) as straight:
                wait_until(lambda straight=straight: straight.get("default:k") == b"%d" % number)
    print(f"first accepted write {took:.2f} s after the stop: {dict(codes)}")
    assert took < 3
    assert set(codes) <= {"OK", "DOWN", "TIMEOUT"}
    assert codes["TIMEOUT"] <= 5
    assert cluster.failovers() == 1


def test_a_planned_failover_is_not_noticed_where_requests_may_wait(start_server: Start) -> None:
    cluster = Cluster(start_server(*TOPOLOGY, "--failover-grace", "5s"))
    cluster.wait_until_whole()
    sentinel = sentinel_of(cluster)
    with cluster.server.plain() as client:
        # A replica is told nothing in the first second, until it has said that it has loaded what it was given first.
        wait_until(lambda: client.ask(b"WRITE 1:k 1:v sync=2\n") == b"OK")
        done, number, slowest = 0, 0, 0.0
        sentinel.execute_command("SENTINEL", "FAILOVER", "shard-1")
        deadline = time.monotonic() + FAILOVER
        while not (cluster_has_moved := done > 100 and number % 50 == 0 and cluster.failovers() == 1):
            number += 1
            started = time.monotonic()
            reply = client.ask(b"WRITE 8:k%07d 1:v\n" % number)
            slowest = max(slowest, time.monotonic() - started)
            assert reply == b"OK", "requests wait for the new master"
            done += 1
            assert time.monotonic() < deadline
        assert cluster_has_moved
        missing = [n for n in range(1, number + 1) if client.ask(b"READ 8:k%07d\n" % n) != b"OK 1:v"]
    print(f"{number} writes, the slowest took {slowest * 1000:.0f} ms, lost: {len(missing)}")
    # What the old master took between the order to the new one and the news of it: without `sync` it may be lost.
    assert len(missing) <= 20


def sentinel_of(cluster: Cluster) -> redis.Redis:
    """One of the Sentinels that were started with the nodes."""
    folder = Path(psutil.Process(cluster.master()["pid"]).cwd())
    text = (folder / "sentinel-1.conf").read_text()
    port, password = re.search(r"^port (\d+)", text, re.M), re.search(r'^requirepass "?([^"\s]+)', text, re.M)
    assert port is not None
    assert password is not None
    return redis.Redis(port=int(port[1]), password=password[1])


def test_requests_can_wait_for_the_new_master(start_server: Start) -> None:
    cluster = Cluster(start_server(*TOPOLOGY, "--failover-grace", "6s"))
    cluster.wait_until_whole()
    with cluster.server.plain() as client, cluster.server.plain() as hasty:
        assert client.ask(b"WRITE 1:k 1:v\n") == b"OK"
        os.kill(cluster.master()["pid"], signal.SIGKILL)
        wait_until(lambda: cluster.master()["state"] != "up")
        started = time.monotonic()
        client.send(b"WRITE 1:k 1:w\nREAD 1:k\n")
        hasty.send(b"#a READ 1:k deadline=50\nREAD 1:k deadline=100\n")
        assert code(hasty.line().removeprefix(b"#a ")) == "LATE"
        assert code(hasty.line()) == "LATE"
        assert time.monotonic() - started < 0.4
        assert client.line() == b"OK"
        assert time.monotonic() - started > 0.4
        assert client.line() == b"OK 1:w"


def test_both_clients_ride_through_a_failover(start_server: Start) -> None:
    cluster = Cluster(start_server(*TOPOLOGY))
    cluster.wait_until_whole()
    url = cluster.server.url()

    async def everything() -> tuple[Counter[str], Counter[str]]:
        over = asyncio.Event()
        blocking = asyncio.create_task(asyncio.to_thread(ride_blocking, url, over))
        riding = asyncio.create_task(ride(url, over))
        await asyncio.sleep(0.5)
        os.kill((await asyncio.to_thread(cluster.master))["pid"], signal.SIGKILL)
        await asyncio.sleep(FAILOVER)
        over.set()
        return await blocking, await riding

    for outcomes in asyncio.run(everything()):
        print(outcomes)
        assert outcomes.pop("longest gap, ms") < 3000
        assert outcomes["ok"] > 100
        assert set(outcomes) <= {"ok", "DOWN", "LOST", "TIMEOUT"}


class Rider:
    """Writes and reads one key in a loop, and checks what it reads against what may be there."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.outcomes: Counter[str] = Counter()
        self.possible = {b""}
        self.number = 0
        self._last_success = time.monotonic()

    def next_value(self) -> bytes:
        self.number += 1
        return b"%s %d" % (self.key.encode(), self.number)

    def failed(self, error: RequestError, value: bytes | None) -> None:
        self.outcomes[error.code] += 1
        if value is not None and error.took_effect is not Effect.NO:
            self.possible.add(value)

    def wrote(self, value: bytes) -> None:
        self.possible = {value}
        self._success()

    def read(self, value: bytes | None) -> None:
        # Without `sync`, the last writes before the kill may be lost: older values of this key may be seen once more.
        found = value or b""
        assert found in self.possible or found.startswith(self.key.encode() + b" "), found
        self._success()

    def _success(self) -> None:
        now = time.monotonic()
        gap = round((now - self._last_success) * 1000)
        self.outcomes["longest gap, ms"] = max(self.outcomes["longest gap, ms"], gap)
        self._last_success = now
        self.outcomes["ok"] += 1


def ride_blocking(url: str, over: asyncio.Event) -> Counter[str]:
    rider = Rider("blocking")
    with Client(url) as client:
        while not over.is_set():
            value: bytes | None = rider.next_value()
            try:
                client.write(rider.key, value)
                rider.wrote(value)  # type: ignore[arg-type]
                value = None
                rider.read(client.read(rider.key))
            except RequestError as error:
                rider.failed(error, value)
    return rider.outcomes


async def ride(url: str, over: asyncio.Event) -> Counter[str]:
    rider = Rider("asyncio")
    async with AsyncClient(url) as client:
        while not over.is_set():
            value: bytes | None = rider.next_value()
            try:
                await client.write(rider.key, value)
                rider.wrote(value)  # type: ignore[arg-type]
                value = None
                rider.read(await client.read(rider.key))
            except RequestError as error:
                rider.failed(error, value)
    return rider.outcomes


# -- a list of nodes, without Sentinels


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[RealNode, RealNode]]:
    """A master and its replica."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    options = ("--repl-diskless-sync-delay", "0")
    master = RealNode(folders[0], *options)
    replica = RealNode(folders[1], *options, "--replicaof", f"127.0.0.1 {master.port}")
    yield master, replica
    for node in (master, replica):
        node.kill()


def test_a_promotion_by_hand_is_followed(start_server: Start, pair: tuple[RealNode, RealNode]) -> None:
    first, second = pair
    # The master stands second in the list: who it is, is asked.
    server = start_server("--node", f"s={second.url};replica={first.url}")
    cluster = Cluster(server)
    cluster.wait_until_whole()
    assert [node["address"].rpartition(":")[2] for node in cluster.nodes("s")] == [str(first.port), str(second.port)]
    with server.plain() as client, redis.Redis(port=first.port) as one, redis.Redis(port=second.port) as two:
        wait_until(lambda: client.ask(b"WRITE 1:k 1:v sync=1\n") == b"OK")
        assert two.get("default:k") == b"v"
        one.replicaof("127.0.0.1", second.port)
        two.replicaof("NO", "ONE")
        took = wait_until(lambda: client.ask(b"WRITE 1:k 1:w\n") == b"OK", timeout=3)
        assert two.get("default:k") == b"w"
        print(f"followed after {took * 1000:.0f} ms")
        cluster.wait_until_whole()
        assert cluster.failovers("s") == 1
        # A second master is told of and not written.
        one.replicaof("NO", "ONE")
        wait_until(lambda: "another node says that it is the master" in server.log(), timeout=3)
        assert client.ask(b"WRITE 1:k 1:x\n") == b"OK"
        assert (one.get("default:k"), two.get("default:k")) == (b"w", b"x")


def test_two_masters_at_the_start_are_none(start_server: Start, tmp_path: Path) -> None:
    nodes = []
    try:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            nodes.append(RealNode(tmp_path / name))
        server = start_server("--node", f"s={nodes[0].url};replica={nodes[1].url}")
        with server.plain() as client:
            assert client.ask(b"WRITE 1:k 1:v\n") == b"ERR DOWN :node s cannot be reached"
            assert "several nodes say that they are the master" in server.log()
            with redis.Redis(port=nodes[1].port) as other:
                other.replicaof("127.0.0.1", nodes[0].port)
            wait_until(lambda: client.ask(b"WRITE 1:k 1:v\n") == b"OK", timeout=5)
    finally:
        for node in nodes:
            node.kill()


def test_nodes_without_replicas_are_started_again(start_server: Start) -> None:
    server = start_server("--shards", "1")
    with server.plain() as client:
        assert client.ask(b"WRITE 1:k 1:v\n") == b"OK"
        pid = server.node_pid("shard-1")
        os.kill(pid, signal.SIGKILL)
        took = wait_until(lambda: client.ask(b"READ 1:k\n") == b"MISS", timeout=5)
        assert client.ask(b"WRITE 1:k 1:v\n") == b"OK"
        print(f"back after {took:.2f} s")
        assert server.node_pid("shard-1") != pid
