"""Keys that would be something else in a log or a list of metrics, and values that other hands have put on a node."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.live.fake_node import FakeNode, RealNode
from tests.live.running import RunningServer, keys_by_node, wait_until

MIB = 1024 * 1024
PREFIX = b"default:"
"""What stands before the keys of the namespace that a server makes its first API key for."""
FORGED = b'forged\n2026-01-01 00:00:00 CRITICAL wireproto: forged\r\n\x1b[31mforged\x1b[0m\0 {forged="1"} %s%n forged'
"""A key that looks like a line of the log, colours a terminal, is a label of a metric, and is a format."""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RealNode]:
    made = RealNode(tmp_path)
    yield made
    made.kill()


def test_no_key_and_no_value_is_in_the_log_or_in_the_metrics(
    start_server: Callable[..., RunningServer], node: RealNode
) -> None:
    fake = FakeNode()
    try:
        server = start_server(
            *("--node", f"real={node.url}", "--node", f"fake={fake.url}", "--log-level", "debug"),
            *("--node-timeout", "300ms"),
        )
        with server.plain() as client:
            beginnings = keys_by_node(client, 1)
            for (beginning,) in beginnings.values():
                key = b"{%b}%b" % (beginning, FORGED)
                argument = b"%d:%b" % (len(key), key)
                for behaviour in (
                    b"-OOM %b\r\n" % b"forged",
                    b"-ERR forged\r\n",
                    b"-WRONGTYPE forged\r\n",
                    None,
                    b"forged\r\n",
                ):
                    fake.behaviour = lambda _, behaviour=behaviour: behaviour  # type: ignore[misc]
                    for request in (
                        b"WRITE %b %b",
                        b"READ %b",
                        b"READ %b ttl",
                        b"TOUCH %b ex=9",
                        b"WHERE %b",
                        b"DELETE %b",
                    ):
                        client.send(request.replace(b"%b", argument) + b"\n")
                        client.reply()
                    wait_until(lambda: server.node("fake")["state"] == "up", timeout=4)
            for bad in (b"FROB %b", b"READ %b %b", b"READ %b forged", b"READ %b ttl=forged"):
                client.send(bad.replace(b"%b", argument) + b"\n")
                assert client.line().startswith(b"ERR ")
            client.send(b"AUTH %b\n" % argument)
            assert client.line().startswith(b"ERR AUTH ")
            client.send(b"forged\0\n")
            assert client.line().startswith(b"ERR PROTO ")
        assert "forged" not in json.dumps(server.stats())
        log = server.log()
        assert "node fake" in log, "there was something to write down"
        assert "forged" not in log
        assert "\x1b" not in log
    finally:
        fake.stop()


def test_values_of_other_hands(start_server: Callable[..., RunningServer], node: RealNode) -> None:
    """What is no value of this cache is CORRUPT, can be written over and deleted, and harms nobody else."""
    server = start_server("--node", f"only={node.url}")
    hands = redis.Redis(port=node.port)
    with server.plain() as client, hands:
        assert client.ask(b"WRITE 4:mine 1:v\n") == b"OK"
        hands.rpush(PREFIX + b"list", "a")
        hands.sadd(PREFIX + b"set", "a")
        hands.hset(PREFIX + b"hash", "a", "b")
        hands.zadd(PREFIX + b"zset", {"a": 1})
        hands.xadd(PREFIX + b"stream", {"a": "b"})
        kinds = [b"list", b"set", b"hash", b"zset", b"stream"]
        for form in (b"\xff", b"\xff\x01sealed", b"\xff\x7f", b"\xff\xff\x00"):
            kinds.append(b"form-" + form)
            hands.set(PREFIX + kinds[-1], form)
        for kind in kinds:
            argument = b"%d:%b" % (len(kind), kind)
            for tail in (b"", b" ttl", b" trace"):
                assert client.ask(b"READ %b%b\n" % (argument, tail)).startswith(b"ERR CORRUPT"), (kind, tail)
            assert client.ask(b"TOUCH %b ex=9\n" % argument) == b"OK"
            assert client.ask(b"WRITE %b 1:v xx\n" % argument) == b"OK", kind
            assert client.ask(b"READ %b\n" % argument) == b"OK 1:v"
            assert client.ask(b"DELETE %b\n" % argument) == b"OK"
        assert client.ask(b"READ 4:mine\n") == b"OK 1:v"
    assert "Traceback" not in server.log()


def test_a_value_of_other_hands_that_is_longer_than_any(
    start_server: Callable[..., RunningServer], node: RealNode
) -> None:
    """Whoever asks for it loses the connection to its node, since nothing so long can be an answer; and that is all."""
    server = start_server("--node", f"only={node.url}")
    hands = redis.Redis(port=node.port)
    with server.plain() as client, server.plain() as other, hands:
        assert client.ask(b"WRITE 4:mine 1:v\n") == b"OK"
        hands.set(PREFIX + b"long", b"v" * 3 * MIB)
        client.send(b"READ 4:long\n")
        assert client.reply() == b"OK %d:%b" % (3 * MIB, b"v" * 3 * MIB)
        hands.set(PREFIX + b"longer", b"v" * 20 * MIB)
        assert client.ask(b"READ 6:longer\n").startswith((b"ERR LOST :", b"ERR TIMEOUT :"))
        wait_until(lambda: other.ask(b"READ 4:mine\n") == b"OK 1:v", timeout=3)
        wait_until(lambda: client.ask(b"DELETE 6:longer\n") in (b"OK", b"MISS"), timeout=3)
        assert client.ask(b"READ 6:longer\n") == b"MISS"
    assert "a reply that is longer than any value" in server.log() or "has not answered" in server.log()
