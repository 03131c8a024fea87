"""The connection to a node ends at every offset of what it carries: whole answers or none, no part of a value."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bench.chaos.fault_proxy import FaultProxy
from bench.chaos.faults import Cut, Ending, Faults
from tests.live.fake_node import RealNode
from tests.live.running import RunningServer, wait_until

FIRST, SECOND = b"first", b"the second"
REQUESTS = b"WRITE 1:k 5:%b\nWRITE 1:k 10:%b\nREAD 1:k\n" % (FIRST, SECOND)
ANSWERS = (b"OK", b"OK", b"OK 10:%b" % SECOND)
COMMANDS = len(
    b"*3\r\n$3\r\nSET\r\n$9\r\ndefault:k\r\n$5\r\nfirst\r\n"
    b"*3\r\n$3\r\nSET\r\n$9\r\ndefault:k\r\n$10\r\nthe second\r\n"
    b"*2\r\n$3\r\nGET\r\n$9\r\ndefault:k\r\n"
)
REPLIES = len(b"+OK\r\n+OK\r\n$10\r\nthe second\r\n")
CUT_OFF = (b"ERR LOST :the connection to node only broke",)


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, FaultProxy]]:
    """A server whose only node stands behind a proxy."""
    folder: Path = tmp_path_factory.mktemp("behind")
    node = RealNode(folder)
    try:
        with FaultProxy(("127.0.0.1", node.port)) as proxy:
            server = RunningServer(folder, "--node", f"only=redis://127.0.0.1:{proxy.port}")
            try:
                yield server, proxy
            finally:
                server.stop()
    finally:
        node.kill()


@pytest.mark.parametrize("ending", Ending)
@pytest.mark.parametrize("direction", ["to_client", "to_server"])
def test_a_node_whose_connection_ends_at_any_offset(
    behind: tuple[RunningServer, FaultProxy], direction: str, ending: Ending
) -> None:
    server, proxy = behind
    process = psutil.Process(server.process.pid)
    offsets = range(REPLIES) if direction == "to_client" else range(0, COMMANDS, 3)
    with server.plain() as client:
        wait_until(lambda: client.ask(b"READ 1:k\n") in (b"MISS", ANSWERS[2]))
        descriptors = process.num_fds()
        for offset in offsets:
            assert client.ask(b"DELETE 1:k\n") in (b"OK", b"MISS")
            setattr(proxy, direction, Faults(cut=Cut(offset, ending)))
            client.send(REQUESTS)
            heard = [client.line() for _ in ANSWERS]
            proxy.heal()
            assert all(reply in (answer, *CUT_OFF) for reply, answer in zip(heard, ANSWERS, strict=True)), heard
            # What was answered is so many replies from the first on, and the others are lost.
            whole = [reply not in CUT_OFF for reply in heard]
            assert whole == sorted(whole, reverse=True)
            if direction == "to_client" and ending is Ending.FIN:
                # With a reset, what has arrived may be lost with it.
                assert sum(whole) == (offset >= 5) + (offset >= 10)
            wait_until(lambda: server.node("only")["state"] == "up")
            stored = client.ask(b"READ 1:k\n")
            assert stored in (b"MISS", b"OK 5:%b" % FIRST, ANSWERS[2])
            assert stored != b"MISS" or not whole[0]
        wait_until(lambda: process.num_fds() <= descriptors, timeout=2)
    assert "Traceback" not in server.log()
