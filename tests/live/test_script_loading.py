"""Nodes that do not know the scripts any more: they are told again, and nobody sees more than a short DOWN."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.live.fake_node import RealNode
from tests.live.running import RawClient, RunningServer, wait_until
from tests.live.test_replication import FAILOVER, TOPOLOGY, Cluster

Start = Callable[..., RunningServer]
ERR_DOWN = b"ERR DOWN :"
BRIEFLY = 1.0
"""Seconds for which a node may be without its scripts; it takes a few milliseconds."""

SCRIPTED = {
    "READ ttl": b"READ 1:v ttl\n",
    "READ ver": b"READ 1:v ver\n",
    "READ lease": b"READ 7:nothing lease=1\n",
    "WRITE nx": b"WRITE 1:v 1:w nx\n",
    "WRITE stale": b"WRITE 1:s 1:w ex=60 stale=60 nx\n",
    "WRITE ver": b"WRITE 1:v 1:w ver=none\n",
    "DELETE ver": b"DELETE 1:v ver=none\n",
    "DELETE lease": b"DELETE 1:v lease=none\n",
    "TOUCH": b"TOUCH 1:v ex=60\n",
    "INCR": b"INCR 1:n\n",
}
"""Requests that are answered by a script, each of which succeeds or finds a condition that does not hold."""


class OneNode:
    """A server before one node, which can be hurt."""

    def __init__(self, folder: Path) -> None:
        self.node = RealNode(folder)
        self.server = RunningServer(folder, "--node", f"only={self.node.url}")

    def flush_scripts(self) -> None:
        """Have the node forget them."""
        with redis.Redis(port=self.node.port) as straight:
            straight.script_flush()


@pytest.fixture(scope="module")
def only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneNode]:
    made = OneNode(tmp_path_factory.mktemp("scripts"))
    yield made
    assert made.server.stop() == 0
    assert "Traceback" not in made.server.log()
    made.node.kill()


@pytest.fixture
def client(only: OneNode) -> Iterator[RawClient]:
    with only.server.plain() as made:
        assert made.ask(b"WRITE 1:v 1:v\n") == b"OK"
        yield made


def is_served(client: RawClient, request: bytes) -> bool:
    """Whether a request is answered; what it may be answered otherwise is DOWN."""
    reply = client.ask(request)
    if reply.startswith(ERR_DOWN):
        return False
    assert not reply.startswith(b"ERR "), reply
    return True


@pytest.mark.parametrize("name", SCRIPTED)
def test_after_script_flush_each_kind_of_request_has_the_scripts_loaded_again(
    client: RawClient, only: OneNode, name: str
) -> None:
    assert is_served(client, SCRIPTED[name])
    only.flush_scripts()
    took = wait_until(lambda: is_served(client, SCRIPTED[name]), timeout=BRIEFLY)
    print(f"served again after {took * 1000:.1f} ms")
    assert all(is_served(client, request) for request in SCRIPTED.values()), "all are loaded, not only what was missed"


def test_a_pipeline_that_finds_no_scripts_is_answered_in_order(client: RawClient, only: OneNode) -> None:
    only.flush_scripts()
    client.send(b"".join(b"#a READ 1:v\n%bREAD 1:v\n" % request for request in SCRIPTED.values()))
    replies = [client.line() for _ in range(3 * len(SCRIPTED))]
    assert [reply for reply in replies if reply.startswith(b"#a")] == [b"#a OK 1:v"] * len(SCRIPTED)
    untagged = [reply for reply in replies if not reply.startswith(b"#a")]
    assert untagged[1::2] == [b"OK 1:v"] * len(SCRIPTED)
    wait_until(lambda: all(is_served(client, request) for request in SCRIPTED.values()), timeout=BRIEFLY)


class Counting(threading.Thread):
    """Counts, in packets, until it is stopped; `replies` is how often each was given."""

    def __init__(self, client: RawClient) -> None:
        super().__init__()
        self.replies: Counter[bytes] = Counter()
        self.over = threading.Event()
        self._client = client

    def run(self) -> None:
        with self._client as client:
            while not self.over.is_set():
                client.send(b"INCR 5:count\n" * 5 + b"READ 1:v\n")
                for _ in range(6):
                    reply = client.line()
                    self.replies[b"counted" if reply.startswith(b"OK ") and reply != b"OK 1:v" else reply] += 1


def counted(counting: list[Counting]) -> int:
    return sum(one.replies[b"counted"] for one in counting)


def test_flushes_under_load_lose_no_count_and_count_nothing_twice(client: RawClient, only: OneNode) -> None:
    counting = [Counting(only.server.plain()) for _ in range(4)]
    for one in counting:
        one.start()
    replies: Counter[bytes] = Counter()
    try:
        for _ in range(20):
            enough = counted(counting) + 50
            only.flush_scripts()
            wait_until(lambda enough=enough: counted(counting) > enough, timeout=BRIEFLY)
    finally:
        for one in counting:
            one.over.set()
        for one in counting:
            one.join()
            replies += one.replies
    told = {reply for reply in replies if reply.startswith(b"ERR ")}
    assert replies.keys() - told == {b"counted", b"OK 1:v"}
    assert all(reply.startswith(ERR_DOWN) for reply in told), told
    print(f"{replies[b'counted']} counted, {sum(replies[reply] for reply in told)} times DOWN")
    assert client.ask(b"READ 5:count\n").split(b":")[1] == b"%d" % replies[b"counted"]


def test_a_node_that_was_started_again_has_the_scripts(client: RawClient, only: OneNode) -> None:
    for _ in range(3):
        wait_until(lambda: all(is_served(client, request) for request in SCRIPTED.values()))
        only.node.kill()
        wait_until(lambda: client.ask(b"READ 1:v\n").startswith(ERR_DOWN))
        only.node.start()
        wait_until(lambda: client.ask(b"WRITE 1:v 1:v\n") == b"OK")
        assert [name for name, request in SCRIPTED.items() if not is_served(client, request)] == []


def test_a_replica_that_was_made_the_master_has_the_scripts(start_server: Start) -> None:
    cluster = Cluster(start_server(*TOPOLOGY))
    cluster.wait_until_whole()
    with cluster.server.plain() as client:
        assert client.ask(b"WRITE 1:v 1:v\n") == b"OK"
        assert client.ask(b"INCR 1:n\n") == b"OK 1:1"
        version = client.ask(b"READ 1:v ver\n").partition(b"ver=")[2]
        lease = client.ask(b"READ 1:l lease=60000\n").partition(b"lease=")[2]
        assert client.ask(b"WRITE 1:t 1:w px=1 stale=60 sync=2\n") == b"OK"
        master: dict[str, Any] = cluster.master()
        os.kill(master["pid"], signal.SIGKILL)
        wait_until(lambda: client.ask(b"WRITE 1:k 1:v\n") == b"OK", timeout=FAILOVER)
        started = time.monotonic()
        assert cluster.master()["address"] != master["address"]
        assert [name for name, request in SCRIPTED.items() if not is_served(client, request)] == []
        # What the replica had got by then is as good as on the old master.
        assert client.ask(b"READ 1:n\n") == b"OK 1:2"
        assert client.ask(b"READ 1:l lease=60000\n").startswith(b"MISS held=")
        assert client.ask(b"WRITE 1:l 1:v lease=%b\n" % lease) == b"OK"
        assert client.ask(b"WRITE 1:l 1:v lease=%b\n" % lease) == b"CONFLICT"
        assert client.ask(b"WRITE 1:v 1:w ver=%b\n" % version).startswith(b"OK ver=")
        assert client.ask(b"READ 1:t lease=60000\n").startswith(b"OK 1:w stale lease=")
        print(f"all of it within {time.monotonic() - started:.2f} s of the first write")
