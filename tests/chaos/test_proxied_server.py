"""The fault proxy before and behind a real server, with a real node."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.chaos.fault_proxy import FaultProxy
from bench.chaos.faults import Faults, Silence
from tests.live.fake_node import RealNode
from tests.live.running import RunningServer, wait_until
from tests.live.test_cuts import REPLIES, REQUESTS, ordered_and_tagged


class Chain:
    """Clients, a proxy, the server, a proxy, a node."""

    def __init__(self, server: RunningServer, before: FaultProxy, behind: FaultProxy) -> None:
        self.server = server
        self.before = before
        self.behind = behind


@pytest.fixture(scope="module", params=["plain", "tls"])
def chain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    folder: Path = tmp_path_factory.mktemp("chain")
    with contextlib.ExitStack() as everything:
        node = RealNode(folder)
        everything.callback(node.kill)
        behind = everything.enter_context(FaultProxy(("127.0.0.1", node.port)))
        server = RunningServer(folder, "--node", f"only=redis://127.0.0.1:{behind.port}")
        everything.callback(server.stop)
        name = "port" if request.param == "tls" else "plain_port"
        before = everything.enter_context(FaultProxy(("127.0.0.1", getattr(server, name))))
        # What a test connects to is the proxy.
        setattr(server, name, before.port)
        server.kind = request.param
        yield Chain(server, before, behind)


def transcript(chain: Chain) -> tuple[bytes, list[bytes]]:
    """What the server answers to all kinds of requests."""
    with getattr(chain.server, chain.server.kind)() as client:
        client.send(REQUESTS + b"QUIT\n")
        return ordered_and_tagged(client.everything())


EXPECTED = ordered_and_tagged(REPLIES + b"OK\n")


def test_every_byte_in_a_packet_of_its_own(chain: Chain) -> None:
    before = chain.before.counters, chain.behind.counters
    for sliced in ([chain.before], [chain.behind], [chain.before, chain.behind]):
        for proxy in sliced:
            proxy.faults = Faults(piece=1)
        assert transcript(chain) == EXPECTED
        chain.before.heal()
        chain.behind.heal()
    after = chain.before.counters, chain.behind.counters
    assert after[0].to_server - before[0].to_server > 3 * len(REQUESTS)
    assert after[1].to_client > before[1].to_client


def test_latency_jitter_and_pieces_on_both_sides(chain: Chain) -> None:
    chain.before.faults = Faults(latency=0.02, jitter=0.02, piece=5)
    chain.behind.faults = Faults(latency=0.02, jitter=0.02, piece=3)
    assert transcript(chain) == EXPECTED
    chain.before.heal()
    chain.behind.heal()


def test_a_silent_node_is_waited_for_no_longer_than_its_time(chain: Chain) -> None:
    with getattr(chain.server, chain.server.kind)() as client:
        assert client.ask(b"WRITE 1:k 5:value\n") == b"OK"
        chain.behind.faults = Faults(silence=Silence.HOLD)
        assert client.ask(b"READ 1:k deadline=200\n").startswith(b"ERR ")
        chain.behind.heal()
        wait_until(lambda: client.ask(b"READ 1:k\n") == b"OK 5:value", timeout=15)


def test_a_reset_of_the_node_is_an_answer_and_it_comes_back(chain: Chain) -> None:
    with getattr(chain.server, chain.server.kind)() as client:
        assert client.ask(b"WRITE 1:k 5:value\n") == b"OK"
        chain.behind.reset()
        wait_until(lambda: client.ask(b"READ 1:k\n") == b"OK 5:value", timeout=15)
        assert chain.behind.counters.connections >= 2
