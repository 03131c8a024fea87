"""Connections to nodes: how many there are, and that each client keeps to its own."""

from __future__ import annotations

from collections.abc import Callable

from tests.live.fake_node import FakeNode
from tests.live.running import RunningServer, wait_until


def test_a_pool_of_connections_keeps_every_clients_order(start_server: Callable[..., RunningServer]) -> None:
    server = start_server("--pool-size", "3")
    nodes = server.stats()["nodes"]
    assert isinstance(nodes, list)
    assert [node["connections"] for node in nodes] == [3, 3, 3, 3]
    clients = [server.plain() for _ in range(7)]
    rounds = 300
    for number, client in enumerate(clients):
        key = b"own-%d" % number
        write_and_read = b"".join(
            b"WRITE 5:%b %d:%d\n#t READ 5:%b\nREAD 5:%b\n" % (key, len(str(turn)), turn, key, key)
            for turn in range(rounds)
        )
        client.send(write_and_read + b"QUIT\n")
    for client in clients:
        lines = client.everything().splitlines()
        expected = [b"OK %d:%d" % (len(str(turn)), turn) for turn in range(rounds)]
        assert [line for line in lines if line.startswith(b"OK ")] == expected
        assert [line for line in lines if line.startswith(b"#t ")] == [b"#t " + line for line in expected]
        client.connection.close()


def test_without_a_pool_there_is_one_connection_to_each_node(server: RunningServer) -> None:
    nodes = server.stats()["nodes"]
    assert isinstance(nodes, list)
    assert [(node["connections"], node["connects"], node["state"]) for node in nodes] == [(1, 1, "up")] * 4


def test_an_attempt_that_hangs_does_not_hold_up_the_next(start_server: Callable[..., RunningServer]) -> None:
    """However long it may take, and though none of those that hang is ever answered."""
    node = FakeNode()
    try:
        server = start_server("--node", f"n={node.url}", "--node-connect-timeout", "30s")
        node.greetings = {b"PING": None, b"ROLE": None, b"INFO": None}
        connections = node.connections
        node.say(b"+drop me\r\n")
        wait_until(lambda: node.connections >= connections + 6)
        assert server.node("n")["state"] == "probing"
        assert len(node.open) <= 5, "four attempts at once, and one that is being ended"
        node.behave()
        took = wait_until(lambda: server.node("n")["state"] == "up")
        print(f"back after {took:.2f} s")
        assert took < 1
        wait_until(lambda: len(node.open) == 1)
    finally:
        node.stop()
