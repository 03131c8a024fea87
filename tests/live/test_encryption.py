"""Values encrypted at rest, in a real server with two workers: what nodes hold, and keys that change under load."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.live.process_memory import memory_holds
from tests.live.running import RunningServer, wait_until
from wireproto import Client
from wireproto.admin.cli import main
from wireproto.errors import CorruptError

Start = Callable[..., RunningServer]
SHARDS = 2
TAKEN = "the keys that encrypt values have changed; the new ones are in force"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a server with two workers, whose state folder holds a keyring unless it is told otherwise."""
    started: list[RunningServer] = []

    def start_server(*, encrypted: bool = True) -> RunningServer:
        if encrypted:
            assert keyring(tmp_path / "state", "add") == 0
        started.append(RunningServer(tmp_path, "--workers", "2", "--shards", str(SHARDS)))
        return started[-1]

    yield start_server
    for server in started:
        assert server.stop() == 0
        assert "Traceback" not in server.log()


def keyring(state: Path, *words: str) -> int:
    return main(["keyring", *words, "--state-folder", str(state)])


class Operator:
    """Changes keys as an operator does, and waits until the server has taken them."""

    def __init__(self, server: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
        self._server = server
        self._capsys = capsys
        self._taken = 0

    def change(self, *words: str) -> str:
        """What the command has said."""
        self._capsys.readouterr()
        assert keyring(self._server.folder / "state", *words) == 0
        self._taken += 1
        wait_until(lambda: self._server.log().count(TAKEN) == self._taken)
        return "".join(self._capsys.readouterr())

    def rewrap(self, *words: str) -> int:
        addresses: Any = self._server.stats()["nodes"]
        nodes = [word for node in addresses for word in ("--node", f"{node['shard']}=unix://{node['address']}")]
        return main(["rewrap", "--state-folder", str(self._server.folder / "state"), *nodes, *words])


def key_ids(server: RunningServer) -> list[str]:
    """The ids of the keys under which the nodes' values are sealed; `plain` where they are not."""
    found = set()
    for node in server.stats()["nodes"]:  # type: ignore[attr-defined]
        with redis.Redis(unix_socket_path=node["address"]) as client:
            for key in client.scan_iter():
                stored = client.get(key)
                assert isinstance(stored, bytes)
                found.add(stored[3 : 3 + stored[2]].decode() if stored.startswith(b"\xff\x01") else "plain")
    return sorted(found)


def test_no_value_is_found_in_the_memory_of_a_node(start: Start) -> None:
    server = start()
    assert "values: encrypted" in server.lines
    start_of_all = secrets.token_hex(8).encode()
    markers = {b"%b-%04d" % (start_of_all, number): b"key-%d" % number for number in range(1000)}
    with Client(server.url()) as client:
        assert all(client.write_many({key: marker for marker, key in markers.items()}, ex=60).values())
        assert client.read_many(list(markers.values())) == {key: marker for marker, key in markers.items()}
        pids: Any = [node["pid"] for node in server.stats()["nodes"]]  # type: ignore[attr-defined]
        assert len(pids) == SHARDS
        for pid in pids:
            assert not memory_holds(pid, markers)
            # The names of keys are not hidden, so the look was at the right memory.
            assert memory_holds(pid, [b"default:key-"])


class Load:
    """Clients that write and read their own keys, until they are stopped."""

    def __init__(self, server: RunningServer, clients: int = 4) -> None:
        self.problems: list[object] = []
        self.reads = 0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(server, number)) for number in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, server: RunningServer, number: int) -> None:
        try:
            # Each writes by one worker and reads by both, as connections are shared out.
            with Client(server.url()) as writer, Client(server.url()) as reader:
                turn = 0
                while not self._over.is_set():
                    turn += 1
                    key, value = b"load-%d-%d" % (number, turn % 50), b"value-%d-%d" % (number, turn)
                    writer.write(key, value)
                    for client in (writer, reader):
                        found = client.read(key)
                        self.reads += 1
                        if found != value:
                            self.problems.append((key, value, found))
        except Exception as error:
            self.problems.append(error)


def test_a_key_is_replaced_under_load_and_no_read_fails(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    server = start()
    (old,) = _ids_of(server)
    operator = Operator(server, capsys)
    with Client(server.url()) as client, Load(server) as load:
        client.write("kept", b"value")
        operator.change("add")
        (new,) = set(_ids_of(server)) - {old}
        wait_until(lambda: client.write("probe", b"p") and new in key_ids(server))
        assert old in key_ids(server)
        before = load.reads
        wait_until(lambda: load.reads > before + 100)
        wait_until(lambda: operator.rewrap() == 0 and key_ids(server) == [new])
        operator.change("retire", old)
        operator.change("drop", old, "--yes")
        before = load.reads
        wait_until(lambda: load.reads > before + 100)
        assert client.read("kept") == b"value"
    assert not load.problems
    print(f"{load.reads} reads")


def test_a_key_is_replaced_by_commands_in_a_row_and_no_value_is_lost(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start()
    (old,) = _ids_of(server)
    operator = Operator(server, capsys)
    state = server.folder / "state"
    written: list[bytes] = []
    over = threading.Event()

    def write() -> None:
        with Client(server.url()) as client:
            while not over.is_set():
                key = b"row-%d" % len(written)
                client.write(key, b"value")
                written.append(key)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_until(lambda: len(written) > 10)
        # Nothing waits for the server between these, as in a script.
        assert keyring(state, "add") == operator.rewrap() == keyring(state, "retire", old) == 0
        assert keyring(state, "drop", old, "--yes") == 0
        dropped_at = len(written)
        wait_until(lambda: len(written) > dropped_at + 10 and server.log().count(TAKEN) >= 2)
    finally:
        over.set()
        writer.join()
    (new,) = _ids_of(server)
    assert key_ids(server) == [new]
    with Client(server.url()) as client:
        assert set(client.read_many(written).values()) == {b"value"}


def _ids_of(server: RunningServer) -> list[str]:
    content = json.loads((server.folder / "state" / "keyring.json").read_text())
    return [key["id"] for key in content["keys"]]


def test_encryption_is_switched_on_and_off_while_it_serves(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    server = start(encrypted=False)
    assert "values: stored as they are; to encrypt them: wireproto keyring add" in server.lines
    operator = Operator(server, capsys)
    with Client(server.url()) as client, Load(server) as load:
        client.write("first", b"1")
        operator.change("add")
        (made,) = _ids_of(server)
        wait_until(lambda: client.write("second", b"2") and made in key_ids(server))
        assert (client.read("first"), client.read("second")) == (b"1", b"2")
        operator.change("retire", made)
        wait_until(
            lambda: client.write("third", b"3") and client.write("second-b", b"2") and "plain" in key_ids(server)
        )
        wait_until(lambda: operator.rewrap("--plain") == 0 and key_ids(server) == ["plain"])
        assert client.read_many(["first", "second", "third"]) == {"first": b"1", "second": b"2", "third": b"3"}
    assert not load.problems


def test_without_its_key_a_namespace_is_unreadable(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    server = start()
    operator = Operator(server, capsys)
    (made,) = _ids_of(server)
    with Client(server.url()) as client:
        client.write("k", b"secret")
        operator.change("add")
        operator.change("retire", made)
        operator.change("drop", made, "--yes")
        wait_until(lambda: _is_corrupt(client, "k"))
        client.write("k", b"anew")
        assert client.read("k") == b"anew"


def _is_corrupt(client: Client, key: str) -> bool:
    try:
        client.read(key)
    except CorruptError:
        return True
    return False


def test_a_damaged_keyring_changes_nothing(start: Start) -> None:
    server = start()
    path = server.folder / "state" / "keyring.json"
    good = path.read_bytes()
    with Client(server.url()) as client:
        client.write("k", b"v")
        for bad in (b"{", b"", None):
            if bad is None:
                path.unlink()
            else:
                path.write_bytes(bad)
            refused = server.log().count("the keys that encrypt values stay as they are")
            wait_until(lambda count=refused: server.log().count("stay as they are") > count)
            assert client.read("k") == b"v"
            client.write("l", b"w")
            assert "plain" not in key_ids(server)
            path.write_bytes(good)
            path.chmod(0o600)
