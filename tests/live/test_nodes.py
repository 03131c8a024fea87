"""Connections to nodes: how many there are, and that each client keeps to its own."""

from __future__ import annotations

from collections.abc import Callable

from tests.live.running import RunningServer


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
