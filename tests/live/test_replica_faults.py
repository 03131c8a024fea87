"""Replicas that talk nonsense when they are read, and masters that do when they are asked what replicas have."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.fake_node import Answer, FakeNode, RealNode
from tests.live.running import RawClient, RunningServer, keys_by_node, wait_until
from tests.live.test_faults import (
    DROPPED,
    FLAGS,
    KEPT,
    READ_ANSWERS,
    SteadyReader,
    code,
    fill,
    pieces,
    read,
    then_close,
    write,
)

SLAVE = b"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:1\r\n$9\r\nconnected\r\n:5\r\n"


def info(*lines: bytes) -> bytes:
    """An answer to INFO replication."""
    text = b"".join(line + b"\r\n" for line in (b"# Replication", *lines))
    return b"$%d\r\n%b\r\n" % (len(text), text)


MASTER_INFO = info(b"role:master", b"connected_slaves:1", b"master_replid:aaaa", b"master_repl_offset:10")
REPLICA_INFO = info(
    b"role:slave",
    b"master_link_status:up",
    b"master_sync_in_progress:0",
    b"slave_repl_offset:10",
    b"master_replid:aaaa",
)
OTHER_HISTORY = info(b"role:master", b"connected_slaves:1", b"master_replid:bbbb", b"master_repl_offset:10")
UNKNOWN = b"-ERR unknown command\r\n"
HELLO = b"%1\r\n$5\r\nproto\r\n:3\r\n"
REPLICA: dict[bytes, Answer] = {b"HELLO": HELLO, b"GET": b"$7\r\nreplica\r\n"}
GOOD: dict[bytes, Answer | Callable[[], Answer]] = {
    b"HELLO": HELLO,
    b"GET": b"$6\r\nmaster\r\n",
    b"SET": b"+OK\r\n",
    b"PUBLISH": b":0\r\n",
    b"WAIT": b":1\r\n",
}


class FakePair:
    """A master and its replica, both fake, as one shard beside a real node; a key of each shard."""

    def __init__(self, folder: Path) -> None:
        self.master, self.replica, self.real = FakeNode(), FakeNode(), RealNode(folder)
        self.behave()
        nodes = ("--node", f"pair={self.master.url};replica={self.replica.url}", "--node", f"good={self.real.url}")
        self.server = RunningServer(folder, *nodes, *FLAGS, "--sync-timeout", "300ms")
        with self.server.plain() as client:
            keys = keys_by_node(client, 10)
            self.good, self.keys = keys["good"], keys["pair"]
            fill(client, self.good)

    def behave(self) -> None:
        """Have both be good nodes."""
        self.answer_of_the_master(GOOD)
        self.replica.behaviour = lambda command: REPLICA.get(command[0], UNKNOWN)
        self.replica.greetings = {b"ROLE": SLAVE, b"INFO": REPLICA_INFO}

    def answer_of_the_master(self, answers: dict[bytes, Answer | Callable[[], Answer]]) -> None:
        """Have the master answer these commands so, INFO only where it follows a WAIT over the same connection."""
        asked_here = threading.local()

        def answer(name: bytes) -> Answer:
            # What else the server's client for INFO says to begin with may be refused.
            found = {**GOOD, **answers}.get(name, UNKNOWN)
            return found() if callable(found) else found

        def behaviour(command: list[bytes]) -> Answer:
            asked_here.is_confirming = command[0] == b"WAIT"
            return answer(command[0])

        def inform() -> Answer:
            if getattr(asked_here, "is_confirming", False) and b"INFO" in answers:
                return answer(b"INFO")
            return MASTER_INFO

        self.master.behaviour = behaviour
        self.master.greetings = {b"INFO": inform}

    def is_whole(self) -> bool:
        nodes = self.server.stats()["nodes"]
        assert isinstance(nodes, list)
        return all(node["state"] == "up" and node.get("read", True) for node in nodes)

    def stop(self) -> None:
        self.server.stop()
        self.real.kill()
        self.master.stop()
        self.replica.stop()


@pytest.fixture(scope="module")
def shared_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakePair]:
    made = FakePair(tmp_path_factory.mktemp("pair"))
    yield made
    made.stop()


@pytest.fixture
def pair(shared_pair: FakePair) -> Iterator[FakePair]:
    """Both good; a reader of the real node's keys watches all the time."""
    shared_pair.behave()
    wait_until(shared_pair.is_whole)
    with SteadyReader(shared_pair.server.plain(), shared_pair.good) as reader:
        yield shared_pair
        answers = reader.answers
        wait_until(lambda: reader.answers > answers)
    assert reader.wrong == []
    assert "Traceback" not in shared_pair.server.log()


# -- reads of replicas


@pytest.mark.parametrize("name", READ_ANSWERS)
def test_what_a_replica_may_answer_to_a_read(pair: FakePair, name: str) -> None:
    answer, expected, fate = READ_ANSWERS[name]
    key, masters = pair.keys[0], pair.master.connections
    with pair.server.plain() as client:
        wait_until(lambda: client.ask(read(key, b" replica")) == b"OK 7:replica")
        connections = pair.replica.connections
        pair.replica.behaviour = lambda _: answer()
        client.send(read(pair.good[0]) + b"#r " + read(key, b" replica") + b"#m " + read(key) + read(pair.good[1]))
        replies = tagged_replies(client, 4)
        assert code(replies.pop(b"#r")) in expected.split("|")
        # The master's answer, over its own connection, is nobody else's business.
        assert replies.pop(b"#m") == b"OK 6:master"
        assert sorted(replies.values()) == sorted(b"OK %d:is %b" % (len(k) + 3, k) for k in pair.good[:2])
        pair.behave()
        if fate == DROPPED:
            wait_until(lambda: pair.replica.connections > connections)
        wait_until(lambda: client.ask(read(key, b" replica")) == b"OK 7:replica")
        assert (pair.replica.connections == connections) is (fate == KEPT)
    assert pair.master.connections == masters


def tagged_replies(client: RawClient, count: int) -> dict[bytes, bytes]:
    """So many replies by their tags; those without one by their numbers."""
    replies: dict[bytes, bytes] = {}
    while len(replies) < count:
        tag = client.exactly(1)
        if tag == b"#":
            while not tag.endswith(b" "):
                tag += client.exactly(1)
            replies[tag[:-1]] = client.reply()
        else:
            client.held = tag + client.held
            replies[b"%d" % len(replies)] = client.reply()
    return replies


@pytest.mark.parametrize("unasked", [b"+OK\r\n", b"$1\r\nv\r\n", b"hello\r\n"])
def test_an_answer_of_a_replica_to_nothing_drops_the_connection(pair: FakePair, unasked: bytes) -> None:
    with pair.server.plain() as client:
        wait_until(lambda: client.ask(read(pair.keys[0], b" replica")) == b"OK 7:replica")
        connections = pair.replica.connections
        pair.replica.say(unasked)
        wait_until(lambda: pair.replica.connections > connections)
        pair.replica.behaviour = lambda _: b"$5\r\nright\r\n"
        wait_until(lambda: client.ask(read(pair.keys[0], b" replica")) == b"OK 5:right")


# -- questions what replicas have

REFUSALS = (
    "OOM",
    "LOADING",
    "READONLY",
    "MISCONF",
    "NOAUTH",
    "NOPERM",
    "MASTERDOWN",
    "NOREPLICAS",
    "BUSY",
    "secret123",
)
WRONG_TYPES: dict[str, bytes] = {
    "a status": b"+OK\r\n",
    "a value": b"$1\r\nv\r\n",
    "nothing": b"$-1\r\n",
    "an array": b"*1\r\n:1\r\n",
    "true": b"#t\r\n",
    "a map": b"%1\r\n$1\r\nk\r\n:1\r\n",
}
BROKEN: dict[str, Callable[[], Answer]] = {
    "garbage": lambda: b"hello there\r\n",
    "two answers": lambda: b":1\r\n:1\r\n",
    "silence": lambda: None,
    "half an answer": lambda: b":",
    "too slow a trickle": lambda: pieces(b":" + b"0" * 30 + b"1\r\n", 0.05),
    "endless": lambda: b"$1000000000\r\n" + b"v" * 20_000_000,
    "closed": lambda: then_close(b""),
    "closed in mid-answer": lambda: then_close(b":1"),
}


@pytest.mark.parametrize("command", [b"PUBLISH", b"WAIT", b"INFO"])
def test_a_question_that_is_refused_or_answered_with_something_else_is_no_confirmation(
    pair: FakePair, command: bytes
) -> None:
    answers = {word: b"-%b no\r\n" % word.encode() for word in REFUSALS} | WRONG_TYPES
    answers |= {"too few": b":0\r\n", "fewer than none": b":-1\r\n"} if command == b"WAIT" else {}
    answers |= {"another history": OTHER_HISTORY, "an integer": b":1\r\n"} if command == b"INFO" else {}
    with pair.server.plain() as client:
        wait_until_confirmed(pair, client)
        connections = pair.master.connections
        for name, answer in answers.items():
            pair.answer_of_the_master({command: answer})
            replies = ask_for_sync(pair, client)
            assert replies[b"#s"].startswith(b"ERR NOSYNC :"), name
            assert b"secret" not in replies[b"#s"]
        assert pair.master.connections == connections
        wait_until_confirmed(pair, client)


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("command", [b"PUBLISH", b"WAIT", b"INFO"])
def test_a_question_whose_answer_breaks_off_is_no_confirmation_and_ends_its_connection(
    pair: FakePair, command: bytes, name: str
) -> None:
    with pair.server.plain() as client:
        wait_until_confirmed(pair, client)
        connections = pair.master.connections
        pair.answer_of_the_master({command: BROKEN[name]})
        replies = ask_for_sync(pair, client)
        assert replies[b"#s"].startswith(b"ERR NOSYNC :")
        pair.behave()
        wait_until(lambda: pair.master.connections > connections)
        wait_until_confirmed(pair, client)
        assert pair.server.node("pair")["connects"] == 1, "the requests' own connection is another"


def ask_for_sync(pair: FakePair, client: RawClient) -> dict[bytes, bytes]:
    """Replies to a write with sync (#s), and to what others ask of the same master, which is answered as ever."""
    key = pair.keys[1]
    synced = write(key, b"v").removesuffix(b"\n") + b" sync=1\n"
    client.send(b"#s " + synced + b"#m " + read(key) + b"#w " + write(key, b"w"))
    replies = tagged_replies(client, 3)
    assert (replies[b"#m"], replies[b"#w"]) == (b"OK 6:master", b"OK")
    return replies


def wait_until_confirmed(pair: FakePair, client: RawClient) -> None:
    """Have both be good, and wait until a write with sync is answered OK."""
    pair.behave()
    wait_until(lambda: ask_for_sync(pair, client)[b"#s"] == b"OK")
