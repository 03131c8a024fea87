"""Nodes that die, hang, return, or talk nonsense: what their clients are told, and that nobody else notices."""

from __future__ import annotations

import os
import random
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.live.fake_node import INFO, ROLE, Answer, FakeNode, HangUp, RealNode, echo
from tests.live.running import RawClient, RunningServer, keys_by_node, wait_until

Start = Callable[..., RunningServer]
NODE_TIMEOUT = 0.3
FLAGS = ("--node-timeout", "300ms", "--node-connect-timeout", "300ms")


def read(key: bytes, tail: bytes = b"") -> bytes:
    return b"READ %d:%b%b\n" % (len(key), key, tail)


def write(key: bytes, value: bytes) -> bytes:
    return b"WRITE %d:%b %d:%b\n" % (len(key), key, len(value), value)


def code(reply: bytes) -> str:
    """The status of a reply, or its error's code."""
    words = reply.decode("latin-1").split()
    return words[1] if words[0] == "ERR" else words[0]


def fill(client: RawClient, keys: list[bytes]) -> None:
    """Each value names its key."""
    client.send(b"".join(write(key, b"is " + key) for key in keys))
    assert [client.line() for _ in keys] == [b"OK"] * len(keys)


def is_value_of(reply: bytes, key: bytes) -> bool:
    return reply == b"OK %d:is %b" % (len(key) + 3, key)


class SteadyReader:
    """A client that pipelines reads of some keys all the time and checks each answer."""

    def __init__(self, client: RawClient, keys: list[bytes]) -> None:
        self.answers = 0
        self.wrong: list[bytes] = []
        self._client = client
        self._keys = keys
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> SteadyReader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._client.connection.close()

    def _run(self) -> None:
        while not self._over.is_set():
            self._client.send(b"".join(map(read, self._keys)))
            for key in self._keys:
                reply = self._client.line()
                self.answers += 1
                if not is_value_of(reply, key):
                    self.wrong.append(reply)


# -- real nodes


@pytest.fixture
def real_nodes(tmp_path: Path) -> Iterator[dict[str, RealNode]]:
    """Four nodes that stay dead when they are killed."""
    nodes = {f"shard-{number}": RealNode(tmp_path) for number in range(1, 5)}
    yield nodes
    for node in nodes.values():
        node.kill()


def test_a_killed_node_is_down_at_once_and_the_others_never_notice(
    start_server: Start, real_nodes: dict[str, RealNode]
) -> None:
    server = start_server(*(word for name, node in real_nodes.items() for word in ("--node", f"{name}={node.url}")))
    with server.plain() as client:
        keys = keys_by_node(client, 20)
        mine, others = keys["shard-2"], [key for name, many in keys.items() if name != "shard-2" for key in many]
        fill(client, mine + others)
        with SteadyReader(server.tls(), others) as reader:
            wait_until(lambda: reader.answers > 500)
            real_nodes["shard-2"].kill()
            took = wait_until(lambda: code(client.ask(read(mine[0]))) == "DOWN", timeout=1)
            before = reader.answers
            client.send(b"".join(map(read, mine)))
            assert [client.line() for _ in mine] == [b"ERR DOWN :node shard-2 cannot be reached"] * len(mine)
            wait_until(lambda: reader.answers > before + 500)
        print(f"DOWN after {took * 1000:.0f} ms")
        assert reader.wrong == []
        assert server.node("shard-2")["state"] in ("down", "probing")
        assert {server.node(name)["state"] for name in keys if name != "shard-2"} == {"up"}
        assert b"state=up" not in client.ask(b"WHERE %d:%b\n" % (len(mine[0]), mine[0]))
    assert "the connection to node shard-2 broke" in server.log()


def test_a_stopped_node_is_timed_out_set_aside_and_back_when_it_goes_on(start_server: Start) -> None:
    server = start_server(*FLAGS)
    with server.plain() as client, server.plain() as tagged:
        keys = {name: many[0] for name, many in keys_by_node(client).items()}
        slow, quick = keys["shard-1"], keys["shard-3"]
        fill(client, [slow, quick])
        pid = server.node_pid("shard-1")
        late, back, paces = [], [], []
        for _ in range(3):
            undisturbed = rate_of_tagged_reads(tagged, quick)
            os.kill(pid, signal.SIGSTOP)
            try:
                started = time.monotonic()
                client.send(read(quick) + read(slow) + read(quick))
                assert is_value_of(client.line(), quick)
                assert time.monotonic() - started < NODE_TIMEOUT / 2, "what stands before a slow request is held up"
                tagged.send(b"#slow " + read(slow))
                paces.append(rate_of_tagged_reads(tagged, quick) / undisturbed)
                assert tagged.line().startswith((b"#slow ERR TIMEOUT :", b"#slow ERR LOST :"))
                assert client.line().startswith(b"ERR TIMEOUT :")
                late.append(time.monotonic() - started - NODE_TIMEOUT)
                assert is_value_of(client.line(), quick)
                started = time.monotonic()
                assert client.ask(read(slow)).startswith(b"ERR DOWN :")
                assert time.monotonic() - started < 0.1
            finally:
                os.kill(pid, signal.SIGCONT)
            back.append(wait_until(lambda: is_value_of(client.ask(read(slow)), slow), timeout=3))
        print(
            f"told {[f'{seconds * 1000:.0f}' for seconds in late]} ms late; back after {[f'{s:.2f}' for s in back]} s"
        )
        print(f"pace of tagged requests: {[f'{pace:.2f}' for pace in paces]}")
        assert max(paces) > 0.5, "a slow node slows down requests to others"
        assert min(late) >= -0.01
        assert sorted(late)[1] < 0.1
        assert max(late) < 0.4
        assert max(back) < 2
    assert "node shard-1 has not answered for 300 ms" in server.log()


def rate_of_tagged_reads(client: RawClient, key: bytes, seconds: float = NODE_TIMEOUT * 0.6) -> float:
    """Requests a second, in a time that is shorter than the time-out of nodes."""
    started, count = time.monotonic(), 0
    while time.monotonic() - started < seconds:
        for _ in range(10):
            client.send(b"#t " + read(key))
            assert is_value_of(client.line().removeprefix(b"#t "), key)
        count += 10
    return count / (time.monotonic() - started)


def test_ten_stops_under_mixed_load_and_never_a_wrong_answer(start_server: Start) -> None:
    server = start_server(*FLAGS)
    with server.plain() as client:
        pids = [server.node_pid(f"shard-{number}") for number in (1, 2)]
        keys = [key for many in keys_by_node(client, 10).values() for key in many]
    over = threading.Event()
    codes: set[str] = set()
    answers = 0

    def load(number: int) -> None:
        nonlocal answers
        dice = random.Random(number)
        with server.plain() if number % 2 else server.tls() as client:
            while not over.is_set():
                asked: list[tuple[bytes, bytes]] = []
                requests = b""
                for place in range(dice.randrange(1, 100)):
                    key, tag = dice.choice(keys), dice.choice((b"", b"#%d " % place))
                    asked.append((tag, key))
                    requests += tag + (read(key) if dice.random() < 0.8 else write(key, b"is " + key))
                client.send(requests)
                in_order = [key for tag, key in asked if not tag]
                by_tag = {tag: key for tag, key in asked if tag}
                for _ in asked:
                    reply = client.line()
                    answers += 1
                    if reply.startswith(b"#"):
                        tag, _, reply = reply.partition(b" ")
                        key = by_tag.pop(tag + b" ")
                    else:
                        key = in_order.pop(0)
                    codes.add(code(reply))
                    assert reply in (b"OK", b"MISS") or reply.startswith(b"ERR ") or is_value_of(reply, key)

    with ThreadPoolExecutor(4) as threads:
        loads = [threads.submit(load, number) for number in range(4)]
        dice = random.Random(1)
        try:
            for _ in range(10):
                pid = dice.choice(pids)
                os.kill(pid, signal.SIGSTOP)
                time.sleep(dice.choice((0.02, 0.25, 0.3, 0.33, 0.5)))
                os.kill(pid, signal.SIGCONT)
                time.sleep(dice.uniform(0.02, 0.3))
        finally:
            over.set()
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        for each in loads:
            each.result()
    print(f"{answers} answers: {sorted(codes)}")
    assert answers > 2000
    assert codes >= {"OK", "TIMEOUT", "DOWN"}
    assert codes <= {"OK", "MISS", "TIMEOUT", "DOWN", "LOST", "BUSY"}
    wait_until(lambda: {node["state"] for node in server.stats()["nodes"]} == {"up"}, timeout=3)  # type: ignore[attr-defined]
    assert "Traceback" not in server.log()


def test_a_node_that_was_killed_and_started_again_is_back_soon(start_server: Start, tmp_path: Path) -> None:
    nodes = [RealNode(tmp_path), RealNode(tmp_path)]
    try:
        server = start_server("--node", f"a={nodes[0].url}", "--node", f"b={nodes[1].url}", *FLAGS)
        with server.plain() as client:
            keys = {name: many[0] for name, many in keys_by_node(client).items()}
            fill(client, list(keys.values()))
            nodes[0].kill()
            wait_until(lambda: code(client.ask(read(keys["a"]))) == "DOWN", timeout=1)
            assert is_value_of(client.ask(read(keys["b"])), keys["b"])
            time.sleep(0.5)
            nodes[0].start()
            took = wait_until(lambda: client.ask(read(keys["a"])) == b"MISS", timeout=5)
        print(f"back after {took:.2f} s")
        assert took < 2
        assert server.node("a")["connects"] == 2
    finally:
        for node in nodes:
            node.kill()


def test_clients_that_leave_with_requests_in_flight_leave_no_answer_to_others(start_server: Start) -> None:
    server = start_server()
    with server.plain() as client:
        keys = [key for many in keys_by_node(client, 8).values() for key in many]
        fill(client, keys)
        before = psutil.Process(server.process.pid).num_fds()
        token = client.ask(b"AUTH %d:%b\n" % (len(server.api_key), server.api_key.encode())).split()[1]
        over = threading.Event()

        def leave(number: int) -> int:
            dice, left = random.Random(number), 0
            requests = b"AUTH " + token + b"\n" + b"".join(read(dice.choice(keys)) for _ in range(60))
            while not over.is_set():
                with socket.create_connection(("127.0.0.1", server.plain_port), timeout=10) as connection:
                    connection.sendall(requests[: dice.randrange(len(token) + 10, len(requests))])
                    if dice.random() < 0.5:
                        connection.settimeout(dice.choice((0.0005, 0.002)))
                        try:
                            connection.recv(dice.choice((1, 1000)))
                        except TimeoutError:
                            pass
                    if dice.random() < 0.5:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                left += 1
            return left

        with ThreadPoolExecutor(3) as threads:
            leaving = [threads.submit(leave, number) for number in range(3)]
            with SteadyReader(server.plain(), keys) as first, SteadyReader(server.tls(), keys[::-1]) as second:
                wait_until(lambda: first.answers > 15_000 and second.answers > 15_000, timeout=30)
            over.set()
            left = sum(each.result() for each in leaving)
        print(f"{first.answers + second.answers} answers while {left} clients left")
        assert first.wrong + second.wrong == []
        assert left > 50
        # Some wait in the kernel to be accepted at all.
        wait_until(lambda: client.stats()["connections"]["accepted"] >= left + 3, timeout=20)  # type: ignore[index]
        wait_until(lambda: psutil.Process(server.process.pid).num_fds() <= before, timeout=2)
        assert client.ask(read(keys[0])) == b"OK %d:is %b" % (len(keys[0]) + 3, keys[0])
    assert "Traceback" not in server.log()


# -- nodes that talk nonsense


class Company:
    """A server with a real node and a fake one, and a key of each."""

    def __init__(self, folder: Path) -> None:
        self.fake = FakeNode()
        self.real = RealNode(folder)
        self.server = RunningServer(folder, "--node", f"good={self.real.url}", "--node", f"bad={self.fake.url}", *FLAGS)
        with self.server.plain() as client:
            keys = keys_by_node(client, 10)
            self.good, self.bad = keys["good"], keys["bad"]
            fill(client, self.good)

    def stop(self) -> None:
        self.server.stop()
        self.real.kill()
        self.fake.stop()


@pytest.fixture(scope="module")
def shared_company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    made = Company(tmp_path_factory.mktemp("company"))
    yield made
    made.stop()


@pytest.fixture
def company(shared_company: Company) -> Iterator[Company]:
    """With the fake node up and good; a reader of the other node's keys watches all the time."""
    shared_company.fake.behave()
    wait_until(lambda: shared_company.server.node("bad")["state"] == "up", timeout=3)
    with SteadyReader(shared_company.server.plain(), shared_company.good) as reader:
        yield shared_company
        answers = reader.answers
        wait_until(lambda: reader.answers > answers)
    assert reader.wrong == []
    assert "Traceback" not in shared_company.server.log()


def pieces(data: bytes, pause: float) -> Iterator[bytes]:
    for index in range(len(data)):
        yield data[index : index + 1]
        time.sleep(pause)


def then_close(data: bytes) -> Iterator[bytes]:
    yield data
    raise HangUp


KEPT, DROPPED = "kept", "dropped"
READ_ANSWERS: dict[str, tuple[Callable[[], Answer], str, str]] = {
    "garbage": (lambda: b"hello there\r\n", "LOST", DROPPED),
    "binary garbage": (lambda: bytes(range(128, 256)) * 10, "LOST", DROPPED),
    "a length that is none": (lambda: b"$x\r\n", "LOST", DROPPED),
    "a negative length": (lambda: b"$-5\r\n", "LOST", DROPPED),
    "arrays in arrays in arrays": (lambda: b"*1\r\n" * 100, "TIMEOUT|LOST", DROPPED),
    "an answer and garbage": (lambda: b"$1\r\nv\r\nhello\r\n", "LOST", DROPPED),
    "two answers": (lambda: b"$5\r\nfirst\r\n$6\r\nsecond\r\n", "OK", DROPPED),
    "longer than our values": (lambda: b"$3000000\r\n" + b"v" * 3_000_000 + b"\r\n", "OK", KEPT),
    # On a busy machine 20 MB may take longer than a node has time for its answer.
    "longer than anybody's values": (lambda: b"$20000000\r\n" + b"v" * 20_000_000 + b"\r\n", "LOST|TIMEOUT", DROPPED),
    "endless": (lambda: b"$1000000000\r\n" + b"v" * 20_000_000, "LOST|TIMEOUT", DROPPED),
    "an endless line": (lambda: b"+" + b"v" * 20_000_000, "LOST|TIMEOUT", DROPPED),
    "an array without an end": (lambda: b"*2000000\r\n" + b":1\r\n" * 10, "TIMEOUT", DROPPED),
    "closed without an answer": (lambda: then_close(b""), "LOST", DROPPED),
    "closed in mid-answer": (lambda: then_close(b"$10\r\nabc"), "LOST", DROPPED),
    "closed behind the answer": (lambda: then_close(b"$1\r\nv\r\n"), "OK", DROPPED),
    "silence": (lambda: None, "TIMEOUT", DROPPED),
    "half an answer": (lambda: b"$10\r\nabc", "TIMEOUT", DROPPED),
    "too slow a trickle": (lambda: pieces(b"$5\r\nvalue\r\n", 0.05), "TIMEOUT", DROPPED),
    "a trickle": (lambda: pieces(b"$5\r\nvalue\r\n", 0.005), "OK", KEPT),
    "out of memory": (lambda: b"-OOM command not allowed\r\n", "BUSY", KEPT),
    "busy": (lambda: b"-BUSY script\r\n", "BUSY", KEPT),
    "loading": (lambda: b"-LOADING Redis is loading\r\n", "DOWN", KEPT),
    "a replica": (lambda: b"-READONLY You can't write\r\n", "DOWN", DROPPED),
    "cannot save": (lambda: b"-MISCONF Redis is configured\r\n", "DOWN", KEPT),
    "lost its master": (lambda: b"-MASTERDOWN Link with MASTER is down\r\n", "DOWN", KEPT),
    "too few replicas": (lambda: b"-NOREPLICAS Not enough good replicas\r\n", "DOWN", KEPT),
    "wants a password": (lambda: b"-NOAUTH Authentication required.\r\n", "DOWN", KEPT),
    "not permitted": (lambda: b"-NOPERM no\r\n", "DOWN", KEPT),
    "of a cluster": (lambda: b"-MOVED 1 127.0.0.1:1\r\n", "DOWN", KEPT),
    "unknown command": (lambda: b"-ERR unknown command\r\n", "INTERNAL", KEPT),
    "an error with a secret": (lambda: b"-secret123 password\r\n", "INTERNAL", KEPT),
    "an error without text": (lambda: b"-\r\n", "INTERNAL", KEPT),
    "an error that is no UTF-8": (lambda: b"-\xff\xfe\r\n", "INTERNAL", KEPT),
    "wrong type": (lambda: b"-WRONGTYPE Operation\r\n", "CORRUPT", KEPT),
    "an integer": (lambda: b":1\r\n", "INTERNAL", KEPT),
    "an array": (lambda: b"*1\r\n$1\r\nv\r\n", "INTERNAL", KEPT),
    "a map with a list for a key": (lambda: b"%1\r\n*0\r\n:1\r\n", "LOST", DROPPED),
    "a map": (lambda: b"%1\r\n$1\r\nk\r\n$1\r\nv\r\n", "INTERNAL", KEPT),
    "a value of an unknown form": (lambda: b"$3\r\n\xff\x09v\r\n", "CORRUPT", KEPT),
    "a value that looks like an answer": (lambda: b"$8\r\n\r\n:1\r\nOK\r\n", "OK", KEPT),
}


@pytest.mark.parametrize("name", READ_ANSWERS)
def test_what_a_node_may_answer_to_a_read(company: Company, name: str) -> None:
    answer, expected, fate = READ_ANSWERS[name]
    connections = company.fake.connections
    with company.server.plain() as client:
        company.fake.behaviour = lambda _: answer()
        client.send(read(company.good[0]) + b"#t " + read(company.bad[0]) + read(company.good[1]))
        replies = {}
        while len(replies) < 3:
            reply = client.reply() if not client.held.startswith(b"#") else client.line()
            if reply.startswith(b"#t "):
                replies["bad"] = reply.removeprefix(b"#t ")
            elif reply:
                replies[f"good {len(replies)}"] = reply
        assert code(replies["bad"]) in expected.split("|"), replies["bad"]
        assert b"secret" not in replies["bad"]
        if expected == "BUSY":
            assert b"retry=100 " in replies["bad"]
        company.fake.behave()
        if fate == DROPPED:
            wait_until(lambda: company.fake.connections > connections, timeout=3)
        wait_until(lambda: client.ask(read(company.bad[1])) == b"MISS", timeout=3)
        assert (company.fake.connections == connections) is (fate == KEPT)


OTHER_ANSWERS = {
    "WRITE: out of memory": (b"WRITE %d:%b 1:v\n", b"-OOM command not allowed\r\n", "BUSY"),
    "WRITE: cannot save": (b"WRITE %d:%b 1:v\n", b"-MISCONF no\r\n", "DOWN"),
    "WRITE: too few replicas": (b"WRITE %d:%b 1:v\n", b"-NOREPLICAS no\r\n", "DOWN"),
    "WRITE: loading": (b"WRITE %d:%b 1:v\n", b"-LOADING no\r\n", "DOWN"),
    "WRITE: wants a password": (b"WRITE %d:%b 1:v\n", b"-NOAUTH no\r\n", "DOWN"),
    "WRITE: lost its master": (b"WRITE %d:%b 1:v\n", b"-MASTERDOWN no\r\n", "DOWN"),
    "WRITE: a value": (b"WRITE %d:%b 1:v\n", b"$1\r\nv\r\n", "INTERNAL"),
    "WRITE: queued": (b"WRITE %d:%b 1:v\n", b"+QUEUED\r\n", "INTERNAL"),
    "WRITE: an integer": (b"WRITE %d:%b 1:v\n", b":1\r\n", "INTERNAL"),
    "DELETE: two": (b"DELETE %d:%b\n", b":2\r\n", "INTERNAL"),
    "DELETE: OK": (b"DELETE %d:%b\n", b"+OK\r\n", "INTERNAL"),
    "TOUCH: nothing": (b"TOUCH %d:%b ex=1\n", b"$-1\r\n", "INTERNAL"),
    "READ ttl: a value": (b"READ %d:%b ttl\n", b"$1\r\nv\r\n", "INTERNAL"),
    "READ ttl: one of two": (b"READ %d:%b ttl\n", b"*1\r\n$1\r\nv\r\n", "INTERNAL"),
    "READ ttl: the wrong way round": (b"READ %d:%b ttl\n", b"*2\r\n:1\r\n$1\r\nv\r\n", "INTERNAL"),
    "READ ttl: arrays": (b"READ %d:%b ttl\n", b"*2\r\n*0\r\n*0\r\n", "INTERNAL"),
    "READ ttl: no script": (b"READ %d:%b ttl\n", b"-NOSCRIPT no\r\n", "DOWN"),
}


def test_what_a_node_may_answer_to_other_requests(company: Company) -> None:
    key, connections = company.bad[0], company.fake.connections
    with company.server.plain() as client:
        for name, (request, answer, expected) in OTHER_ANSWERS.items():
            company.fake.behaviour = lambda _, answer=answer: answer  # type: ignore[misc]
            assert code(client.ask(request % (len(key), key))) == expected, name
    assert company.fake.connections == connections


def test_a_node_that_refuses_writes_as_a_replica_is_asked_again_who_it_is(company: Company) -> None:
    key, connections = company.bad[0], company.fake.connections
    company.fake.behaviour = lambda _: b"-READONLY You can't write against a read only replica.\r\n"
    company.fake.greetings = {b"ROLE": b"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:1\r\n$9\r\nconnected\r\n:5\r\n"}
    with company.server.plain() as client:
        assert client.ask(b"WRITE %d:%b 1:v\n" % (len(key), key)) == b"ERR DOWN :the node is not a master"
        told = client.ask(read(key))
        assert told in (b"ERR DOWN :node bad is not a master any more", b"ERR DOWN :node bad cannot be reached")
        wait_until(lambda: "node bad cannot be used: it is a replica, not a master" in company.server.log(), timeout=3)
        assert code(client.ask(read(key))) == "DOWN"
        company.fake.behave()
        wait_until(lambda: client.ask(read(key)) == b"MISS", timeout=3)
    assert company.fake.connections > connections
    assert "node bad refuses writes: it is not a master any more" in company.server.log()


@pytest.mark.parametrize("unasked", [b"+OK\r\n", b"$1\r\nv\r\n", b">2\r\n+message\r\n+hello\r\n", b"hello\r\n"])
def test_an_answer_to_nothing_drops_the_connection(company: Company, unasked: bytes) -> None:
    connections = company.fake.connections
    with company.server.plain() as client:
        assert client.ask(read(company.bad[0])) == b"MISS"
        company.fake.say(unasked)
        wait_until(lambda: company.fake.connections > connections, timeout=3)
        company.fake.behaviour = lambda _: b"$5\r\nright\r\n"
        wait_until(lambda: client.ask(read(company.bad[0])) == b"OK 5:right", timeout=3)


def test_requests_behind_a_lost_answer_are_lost_too_and_never_answered_by_its_rest(company: Company) -> None:
    """Twenty clients share the connection on which an answer breaks off."""
    clients = [company.server.plain() for _ in range(20)]
    answered = threading.Event()

    def break_off(_: list[bytes]) -> Answer:
        if answered.is_set():
            return None
        answered.set()
        return then_break(b"$5\r\nfirst\r\n$9\r\nsec", 0.1)

    company.fake.behaviour = break_off
    for client in clients:
        client.send(read(company.bad[0]))
    replies = sorted(client.line() for client in clients)
    company.fake.behave()
    assert replies.count(b"OK 5:first") == 1
    assert {code(reply) for reply in replies} == {"OK", "LOST"}
    for client in clients:
        wait_until(lambda client=client: client.ask(read(company.bad[0])) == b"MISS", timeout=3)  # type: ignore[misc]
        client.connection.close()


def then_break(data: bytes, pause: float) -> Iterator[bytes]:
    yield data
    time.sleep(pause)
    raise HangUp


# -- nodes that are not fit from the start

GREETINGS: dict[str, tuple[dict[bytes, Answer | Callable[[], Answer]], str]] = {
    "loading": ({b"PING": b"-LOADING Redis is loading the dataset\r\n"}, "LOADING in answer to PING"),
    "no RESP": ({b"PING": b"SSH-2.0-OpenSSH_9.2\r\n"}, "it does not speak RESP"),
    "colourful": ({b"PING": b"-ERR forged \x1b[31mCRITICAL" + b"\x08" * 9999 + b"\r\n"}, "ERR in answer to PING"),
    "no keys": ({b"PING": b"%1\r\n*0\r\n:1\r\n"}, "it does not speak RESP"),
    "silent": ({b"PING": None, b"ROLE": None}, "TimeoutError"),
}


def test_a_node_that_cannot_be_greeted_is_down_and_the_log_says_why(start_server: Start, tmp_path: Path) -> None:
    fakes = {name.replace(" ", "-"): FakeNode() for name in GREETINGS}
    locked = RealNode(tmp_path, "--requirepass", "right")
    try:
        for fake, (greetings, _) in zip(fakes.values(), GREETINGS.values(), strict=True):
            fake.greetings = greetings
        nodes = {name: fake.url for name, fake in fakes.items()}
        nodes["no-password"] = locked.url
        nodes["wrong-password"] = locked.url.replace("//", "//:wrong@")
        nodes["nobody"] = "redis://127.0.0.1:1"
        nodes["no-name"] = "redis://a..b:1"
        nodes["good"] = locked.url.replace("//", "//:right@")
        environment = {"WIREPROTO_NODES": ",".join(f"{name}={url}" for name, url in nodes.items())}
        server = start_server(*FLAGS, environment=environment)
        with server.plain() as client:
            for name, (key,) in keys_by_node(client).items():
                assert code(client.ask(read(key))) == ("MISS" if name == "good" else "DOWN"), name
        log = server.log()
        for name, (_, reason) in zip(fakes, GREETINGS.values(), strict=True):
            assert f"node {name} cannot be used: {reason}" in log
        assert all(letter.isprintable() or letter == "\n" for letter in log)
        assert max(map(len, log.splitlines())) < 400
        assert "node no-password cannot be used: NOAUTH" in log
        assert "node wrong-password cannot be used: WRONGPASS" in log
        assert "node nobody cannot be used: " in log
        assert "node no-name cannot be used: a..b cannot be the name of a host" in log
        assert "wrong@" not in log
        assert "right" not in log
        for fake in fakes.values():
            fake.behave()
        for name in fakes:
            wait_until(lambda name=name: server.node(name)["state"] == "up", timeout=4)  # type: ignore[misc]
    finally:
        locked.kill()
        for fake in fakes.values():
            fake.stop()


def test_a_node_that_returns_unfit_is_told_in_the_log(company: Company) -> None:
    company.fake.greetings = {b"PING": b"-LOADING Redis came back empty\r\n"}
    company.fake.say(b"+drop me\r\n")
    wait_until(lambda: "node bad cannot be used: LOADING in answer to PING" in company.server.log(), timeout=3)
    with company.server.plain() as client:
        assert code(client.ask(read(company.bad[0]))) == "DOWN"


@pytest.mark.parametrize(
    "role",
    [b"*1\r\n$9\r\nmaster\nOK\r\n", b"*1\r\n$2\r\n\xff\xfe\r\n", b"*0\r\n", b":1\r\n", b"$-1\r\n", b"-ERR no\r\n"],
)
def test_a_role_that_is_none_is_unknown(company: Company, role: bytes) -> None:
    company.fake.greetings = {b"ROLE": role}
    connects = company.server.node("bad")["connects"]
    company.fake.say(b"+drop me\r\n")
    wait_until(lambda: company.server.node("bad")["connects"] != connects, timeout=3)
    key = company.bad[0]
    with company.server.plain() as client:
        assert b" role=unknown state=up " in client.ask(b"WHERE %d:%b\n" % (len(key), key))


@pytest.mark.parametrize("pause", [0.0, 0.05], ids=["at once", "late"])
def test_a_greeting_with_too_many_answers_is_no_greeting(company: Company, pause: float) -> None:
    def inform() -> Iterator[bytes]:
        time.sleep(pause)
        yield INFO

    company.fake.greetings = {b"ROLE": b"*0\r\n$5\r\nwrong\r\n", b"INFO": inform}
    company.fake.say(b"+drop me\r\n")
    wait_until(lambda: company.server.node("bad")["state"] != "up")
    with company.server.plain() as client:
        for _ in range(30):
            assert code(client.ask(read(company.bad[0]))) in ("DOWN", "LOST")
            time.sleep(0.01)


@pytest.mark.parametrize(
    "role", [lambda: then_close(b"*0\r\n"), lambda: then_close(b""), lambda: then_close(b"*0\r\n+more\r\n")]
)
def test_a_node_that_closes_around_its_greeting_does_not_end_the_server(
    company: Company, role: Callable[[], Answer]
) -> None:
    company.fake.greetings = {b"ROLE": role}
    connections = company.fake.connections
    company.fake.say(b"+drop me\r\n")
    wait_until(lambda: company.fake.connections > connections + 2, timeout=4)
    assert company.server.process.poll() is None


def test_a_greeting_that_trickles_in_is_a_greeting(company: Company) -> None:
    company.fake.greetings = {
        b"ROLE": lambda: pieces(ROLE, 0.005),
        b"PING": lambda: pieces(echo(company.fake.asked), 0.005),
    }
    connects = company.server.node("bad")["connects"]
    company.fake.say(b"+drop me\r\n")
    wait_until(lambda: company.server.node("bad")["connects"] != connects, timeout=3)
    with company.server.plain() as client:
        assert client.ask(read(company.bad[0])) == b"MISS"
