"""`wireproto rewrap` on real nodes: all values under the present key, no write lost, times to live as they were."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
import redis

from tests.core.scripted_node import L1, NOW, V1, envelope, vacancy
from tests.core.test_keyring import key
from tests.live.fake_node import RealNode
from tests.live.running import REPOSITORY, RunningServer, wait_until
from tests.live.test_sentinels import NODE, Processes, processes, sentinel_lines
from wireproto.admin import node_rewrap
from wireproto.admin.cli import main
from wireproto.admin.node_rewrap import NodeRewrap
from wireproto.core.envelope import HEAD_LENGTH
from wireproto.core.keyring import Keyring
from wireproto.core.sealing import NamespaceSealer, Sealer
from wireproto.core.stored_values import to_stored
from wireproto.server.keyring_file import change_keyring, keyring_path
from wireproto.server.process_sealer import new_prefix
from wireproto.settings import Settings

__all__ = ["processes"]

OLD = Keyring((key("old", 1), key("own", 1, namespace="shop")))
NEW = Keyring((*OLD.keys, key("new", 2)))
HEADS = {"default": b"\xff\x01\x03new", "shop": b"\xff\x01\x03own"}


@dataclass
class Finished:
    """A command that has ended."""

    code: int
    said: str

    def counts(self, node: str = "n") -> dict[str, int]:
        """The numbers of a node's last line, each by the words behind it."""
        line = [line for line in self.said.splitlines() if line.startswith(f"wireproto rewrap: {node}: ")][-1]
        found = re.findall(r"([\d,]+) ([a-z, ]+?)(?=,? [\d]|;)", line.partition(f"{node}: ")[2])
        return {words.rstrip(","): int(number.replace(",", "")) for number, words in found}


class Rewrap:
    """Runs the command with a keyring of its own: in this process, or in one that can be interrupted."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.settings = Settings(state_folder=folder)
        self._capsys = capsys
        self.use(NEW)

    def use(self, keyring: Keyring) -> None:
        change_keyring(self.settings, lambda _: keyring)
        # As if that had been a while ago: else the command waits for servers.
        os.utime(keyring_path(self.settings), (0, 0))

    def start(self, *flags: str, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        command = [*before, sys.executable, "-m", "wireproto.admin.cli", "rewrap", "--state-folder"]
        return subprocess.Popen(
            [*command, str(self.settings.state_folder), *flags],
            stderr=subprocess.PIPE,
            cwd=REPOSITORY,
            text=True,
        )

    def run(self, *flags: str) -> Finished:
        self._capsys.readouterr()
        code = main(["rewrap", "--state-folder", str(self.settings.state_folder), *flags])
        return Finished(code, self._capsys.readouterr().err)


def finished(process: subprocess.Popen[str]) -> Finished:
    _, said = process.communicate(timeout=50)
    assert "Traceback" not in said, said
    return Finished(process.returncode, said)


@pytest.fixture
def rewrap(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Rewrap:
    for name in [name for name in os.environ if name.startswith("WIREPROTO_")]:
        monkeypatch.delenv(name)
    return Rewrap(tmp_path / "state", capsys)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RealNode]:
    running = RealNode(tmp_path, "--unixsocket", str(tmp_path / "socket"))
    yield running
    running.kill()


@pytest.fixture
def client(node: RealNode) -> Iterator[redis.Redis]:
    with redis.Redis(port=node.port) as connection:
        yield connection


def sealer(keyring: Keyring) -> Sealer:
    return Sealer(keyring, new_prefix)


def fill(client: redis.Redis, count: int, size: int = 100) -> dict[str, bytes]:
    """Values of two namespaces: plain, under the old key, under the present one; the values by their stored names."""
    old, new = sealer(OLD), sealer(NEW)
    values: dict[str, bytes] = {}
    pipeline = client.pipeline(transaction=False)
    for number in range(count):
        namespace = ("default", "shop")[number % 2]
        name, value = f"key:{number}", secrets.token_bytes(size - 1) + b"."
        values[f"{namespace}:{name}"] = value
        form = [lambda _, plain: to_stored(plain), old.for_namespace(namespace).seal, new.for_namespace(namespace).seal]
        pipeline.set(f"{namespace}:{name}", form[number % 3](name.encode(), value))
    pipeline.execute()
    return values


def all_stored(client: redis.Redis, names: Sequence[str]) -> dict[str, bytes]:
    return dict(zip(names, client.mget(names), strict=True))


def opened(stored: dict[str, bytes], keyring: Keyring = NEW) -> dict[str, bytes | None]:
    everything = sealer(keyring)
    found = {}
    for stored_name, data in stored.items():
        namespace, _, name = stored_name.partition(":")
        found[stored_name] = everything.for_namespace(namespace).open(name.encode(), data)
    return found


def is_under_the_present_key(stored: dict[str, bytes]) -> bool:
    return all(data.startswith(HEADS[name.partition(":")[0]]) for name, data in stored.items())


def test_all_values_come_under_the_present_key(rewrap: Rewrap, node: RealNode, client: redis.Redis) -> None:
    values = fill(client, 3000)
    first = rewrap.run("--node", f"n={node.url}")
    assert first.code == 0, first.said
    stored = all_stored(client, list(values))
    assert is_under_the_present_key(stored)
    # Of "shop" the old keyring's key is the present one.
    assert opened(stored) == opened(stored, replace(NEW, keys=NEW.keys[1:])) == values
    counts = first.counts()
    assert (counts["moved"], counts["were in order"], counts["failed"]) == (1500, 1500, 0)
    second = rewrap.run("--node", f"n={node.url}")
    assert second.code == 0
    assert (second.counts()["moved"], second.counts()["were in order"]) == (0, 3000)
    assert all_stored(client, list(values)) == stored, "nothing was written again"


def test_all_values_become_plain(rewrap: Rewrap, node: RealNode, client: redis.Redis) -> None:
    values = fill(client, 300)
    client.set("default:marked", sealer(NEW).for_namespace("default").seal(b"marked", b"\xff\x01."))
    outcome = rewrap.run("--node", f"n={node.url}", "--plain")
    assert outcome.code == 0, outcome.said
    assert all_stored(client, list(values)) == {name: to_stored(value) for name, value in values.items()}
    assert client.get("default:marked") == b"\xff\x00\xff\x01."
    assert outcome.counts()["moved"] == 201


def test_one_namespace_only(rewrap: Rewrap, node: RealNode, client: redis.Redis) -> None:
    for namespace in ("shop", "shop-2", "sho"):
        client.set(f"{namespace}:a", "plain")
    assert rewrap.run("--node", f"n={node.url}", "--namespace", "shop").code == 0
    assert client.get("shop:a").startswith(HEADS["shop"])
    assert client.mget("shop-2:a", "sho:a") == [b"plain", b"plain"]


def test_times_to_live_stay(rewrap: Rewrap, node: RealNode, client: redis.Redis) -> None:
    client.set("default:short", "value", px=100_000)
    client.set("default:for-ever", "value")
    client.set("default:stopped", sealer(OLD).for_namespace("default").seal(b"stopped", b"value"), px=200_000)
    due = [client.pexpiretime(f"default:{name}") for name in ("short", "for-ever", "stopped")]
    assert rewrap.run("--node", f"n={node.url}").code == 0
    assert [client.pexpiretime(f"default:{name}") for name in ("short", "for-ever", "stopped")] == due
    assert due[1] == -1
    assert is_under_the_present_key(all_stored(client, ["default:short", "default:for-ever", "default:stopped"]))


def test_what_is_no_value_or_may_be_a_counter_stays(rewrap: Rewrap, node: RealNode, client: redis.Redis) -> None:
    client.rpush("default:list", "a")
    client.hset("default:hash", "a", "b")
    client.set("without-namespace", "a")
    client.set(":no-namespace", "a")
    client.set("no key:", "a")
    client.incrby("default:counter", -(2**63))
    client.set("default:zero", "0")
    client.set("default:no-counter", "007")
    client.set("default:empty", "")
    before = {name: client.dump(name) for name in client.scan_iter()}
    outcome = rewrap.run("--node", f"n={node.url}")
    assert outcome.code == 0, outcome.said
    after = {name: client.dump(name) for name in client.scan_iter()}
    assert {name for name in before if before[name] != after[name]} == {b"default:no-counter", b"default:empty"}
    counts = outcome.counts()
    assert (counts["no values"], counts["plain numbers left"], counts["moved"]) == (5, 2, 2)


def test_a_namespace_that_is_kept_plain_is_left(rewrap: Rewrap, node: RealNode, client: redis.Redis) -> None:
    rewrap.use(replace(NEW, plain=("shop",)))
    client.set("shop:a", "plain")
    outcome = rewrap.run("--node", f"n={node.url}")
    assert outcome.code == 0
    assert outcome.counts()["of namespaces without a sealing key"] == 1
    assert client.get("shop:a") == b"plain"


def test_what_cannot_be_opened_is_counted_and_stays(rewrap: Rewrap, node: RealNode, client: redis.Redis) -> None:
    lost = Sealer(Keyring((key("lost"),)), new_prefix).for_namespace("default").seal(b"a", b"value")
    client.set("default:a", lost)
    client.set("default:b", "value")
    for flags in ((), ("--plain",)):
        outcome = rewrap.run("--node", f"n={node.url}", *flags)
        assert outcome.code == 1
        assert outcome.counts()["failed"] == 1
        assert client.get("default:a") == lost
    assert client.get("default:b") == b"value"


def test_large_values(rewrap: Rewrap, node: RealNode, client: redis.Redis) -> None:
    values = {f"default:{number}": secrets.token_bytes(size << 20) for number, size in enumerate([64, 5, 5, 1])}
    for name, value in values.items():
        client.set(name, value)
    outcome = rewrap.run("--node", f"n={node.url}")
    assert outcome.code == 0, outcome.said
    stored = all_stored(client, list(values))
    assert is_under_the_present_key(stored)
    assert opened(stored) == values


# --- Envelopes --------------------------------------------------------------------------------------------------------


def test_what_is_in_an_envelope_is_moved_and_the_envelope_stays(
    rewrap: Rewrap, node: RealNode, client: redis.Redis
) -> None:
    old, new = sealer(OLD).for_namespace("default"), sealer(NEW).for_namespace("default")
    inside = {
        b"plain": b"v",
        b"marked": b"\xff\x00\xff",
        b"empty": b"",
        b"old": old.seal(b"old", b"v"),
        b"like-an-envelope": b"\xff\x00" + envelope(b"v"),
    }
    inside[b"as-it-is-to-be"] = new.seal(b"as-it-is-to-be", b"v")
    expected = {name: opened_value(new, name, stored) for name, stored in inside.items()}
    for name, stored in inside.items():
        client.set(b"default:" + name, around(stored), px=100_000)
    due = {name: client.pexpiretime(b"default:" + name) for name in inside}
    for flags, moved in (((), 5), ((), 0), (("--plain",), 6), (("--plain",), 0), ((), 6)):
        outcome = rewrap.run("--node", f"n={node.url}", *flags)
        assert outcome.code == 0, outcome.said
        assert (outcome.counts()["moved"], outcome.counts()["were in order"]) == (moved, 6 - moved)
        for name, value in expected.items():
            stored = client.get(b"default:" + name)
            assert stored[:HEAD_LENGTH] == around(b""), name
            assert stored[HEAD_LENGTH:].startswith(HEADS["default"]) != bool(flags), name
            assert opened_value(new, name, stored[HEAD_LENGTH:]) == value
            assert not flags or stored[HEAD_LENGTH:] == to_stored(value)
    assert {name: client.pexpiretime(b"default:" + name) for name in inside} == due


def around(stored: bytes) -> bytes:
    """An envelope that has everything."""
    return envelope(stored, version=V1, fresh=NOW, stale=5, lease=L1, until=NOW + 7)


def opened_value(opener: NamespaceSealer, name: bytes, stored: bytes) -> bytes:
    value = opener.open(name, stored)
    assert value is not None
    return value


def test_what_is_no_value_yet_and_counters_in_envelopes_stay(
    rewrap: Rewrap, node: RealNode, client: redis.Redis
) -> None:
    client.set("default:leased", vacancy(L1, NOW), px=100_000)
    client.set("shop:leased", vacancy(L1, NOW), px=100_000)
    client.set("default:counter", around(b"-42"))
    before = {name: client.dump(name) for name in client.scan_iter()}
    for flags, counters in (((), 1), (("--plain",), 0)):
        outcome = rewrap.run("--node", f"n={node.url}", *flags)
        assert outcome.code == 0, outcome.said
        counts = outcome.counts()
        assert (counts["without a value yet"], counts.get("plain numbers left", 0)) == (2, counters)
        assert (counts["moved"], counts["were in order"]) == (0, 1 - counters)
        assert {name: client.dump(name) for name in client.scan_iter()} == before


def test_a_damaged_envelope_is_counted_and_stays(rewrap: Rewrap, node: RealNode, client: redis.Redis) -> None:
    old = sealer(OLD).for_namespace("default")
    whole = {name: around(old.seal(name, b"v")) for name in (b"times", b"cut", b"marker", b"inside", b"lost")}
    client.set("default:times", whole[b"times"].replace(b"%014d" % NOW, b"%013dx" % NOW))
    client.set("default:cut", whole[b"cut"][: HEAD_LENGTH - 1])
    client.set("default:marker", b"\xfe" + whole[b"marker"][1:])
    client.set("default:inside", whole[b"inside"][:-1] + b"?")
    client.set("default:moved", whole[b"lost"])
    before = {name: client.dump(name) for name in client.scan_iter()}
    outcome = rewrap.run("--node", f"n={node.url}")
    assert outcome.code == 1
    assert (outcome.counts()["failed"], outcome.counts()["moved"]) == (5, 0)
    assert {name: client.dump(name) for name in client.scan_iter()} == before


@pytest.mark.parametrize("flags", [(), ("--plain",)])
def test_versions_leases_and_stale_values_go_on_behind_it(
    rewrap: Rewrap, node: RealNode, client: redis.Redis, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    """What a server has given out before holds after."""
    rewrap.use(OLD)
    before = RunningServer(tmp_path, "--node", f"n={node.url}")
    try:
        with before.plain() as talk:
            talk.send(b"".join(b"WRITE 1:%b 5:value ex=900\n" % name for name in (b"v", b"w", b"e")))
            talk.send(b"WRITE 1:s 5:stale px=1 stale=900\nWRITE 1:f 5:fresh ex=900 stale=900\nINCR 1:c ex=900\n")
            assert [talk.line() for _ in range(6)] == [b"OK"] * 5 + [b"OK 1:1"]
            wait_until(lambda: talk.ask(b"READ 1:s\n") == b"MISS")
            version, other, of_counter = (
                word(talk.ask(b"READ 1:%b ver\n" % name), b"ver") for name in (b"v", b"w", b"c")
            )
            stale, early, missing = (
                word(talk.ask(line), b"lease")
                for line in (
                    b"READ 1:s lease=900000\n",
                    b"READ 1:e lease=900000 early=86400000\n",
                    b"READ 1:m lease=900000\n",
                )
            )
    finally:
        before.stop()
    rewrap.use(NEW)
    due = {name: client.pexpiretime(name) for name in client.scan_iter()}
    outcome = rewrap.run("--node", f"n={node.url}", *flags)
    assert outcome.code == 0, outcome.said
    assert outcome.counts()["moved"] == 5
    assert {name: client.pexpiretime(name) for name in client.scan_iter()} == due
    after = RunningServer(tmp_path, "--node", f"n={node.url}")
    after.api_key = before.api_key
    try:
        with after.plain() as talk:
            assert talk.ask(b"READ 1:v ver\n") == b"OK 5:value ver=" + version
            assert talk.ask(b"WRITE 1:v 3:new ver=%b\n" % other) == b"CONFLICT"
            assert talk.ask(b"WRITE 1:v 3:new ver=%b\n" % version).startswith(b"OK ver=")
            assert talk.ask(b"DELETE 1:w ver=%b\n" % other) == b"OK"
            assert talk.ask(b"READ 1:f\n") == b"OK 5:fresh"
            assert talk.ask(b"READ 1:s\n") == b"MISS"
            assert talk.ask(b"READ 1:s lease=5\n").startswith(b"OK 5:stale stale held=")
            for name, lease in ((b"s", stale), (b"e", early), (b"m", missing)):
                assert talk.ask(b"WRITE 1:%b 3:new lease=%b\n" % (name, lease)) == b"OK", name
            assert talk.ask(b"READ 1:c ver\n") == b"OK 1:1 ver=" + of_counter
            assert talk.ask(b"INCR 1:c\n") == b"OK 1:2"
    finally:
        after.stop()


def word(reply: bytes, name: bytes) -> bytes:
    """The value of an option in a reply."""
    assert b" " + name + b"=" in reply, reply
    return reply.partition(b" " + name + b"=")[2].partition(b" ")[0]


# --- Under load, and interrupted --------------------------------------------------------------------------------------


def test_no_write_is_lost_under_concurrent_writers(node: RealNode, client: redis.Redis) -> None:
    """Few keys and many writers, so that values change between the look and the store."""
    names = [f"default:{number}" for number in range(40)]
    stop = threading.Event()
    last: dict[str, bytes] = {}

    def write(own: list[str], seal: Callable[[bytes, bytes], bytes]) -> None:
        with redis.Redis(port=node.port) as connection:
            number = 0
            while not stop.is_set():
                number += 1
                for name in own:
                    value = b"%b %d" % (name.encode(), number)
                    connection.set(name, seal(name.partition(":")[2].encode(), value))
                    last[name] = value

    forms = [lambda _, value: value, sealer(OLD).for_namespace("default").seal]
    writers = [threading.Thread(target=write, args=(names[part::4], forms[part % 2])) for part in range(4)]
    for writer in writers:
        writer.start()
    everything = sealer(NEW)
    moved = rounds = 0
    try:
        wait_until(lambda: len(last) == len(names))
        while (moved < 2000 or rounds < 20) and rounds < 2000:
            rewrap = NodeRewrap(client, everything, namespace=None, to_plain=rounds % 2 == 1)
            rewrap.run(lambda: None)
            moved, rounds = moved + rewrap.counts.moved, rounds + 1
            assert rewrap.counts.failed == 0
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert moved >= 2000
    assert opened(all_stored(client, names)) == last


def test_it_can_be_interrupted_and_begun_again(rewrap: Rewrap, node: RealNode, client: redis.Redis) -> None:
    values = fill(client, 12_000)
    process = rewrap.start("--node", f"n={node.url}")

    def has_begun() -> bool:
        return client.info("commandstats").get("cmdstat_eval", {}).get("calls", 0) > 500

    wait_until(has_begun, timeout=20)
    process.send_signal(signal.SIGINT)
    outcome = finished(process)
    assert outcome.code == 130
    assert outcome.said.endswith("interrupted; what is done stays done, and it can be begun again\n")
    counts = outcome.counts()
    assert 0 < counts["moved"] < 6_000, "it was in the middle"
    stored = all_stored(client, list(values))
    assert opened(stored) == values
    assert not is_under_the_present_key(stored)
    again = rewrap.run("--node", f"n={node.url}")
    assert again.code == 0
    stored = all_stored(client, list(values))
    assert is_under_the_present_key(stored)
    assert opened(stored) == values
    assert again.counts()["moved"] <= 6_000 - counts["moved"]


def test_where_interruptions_are_ignored_they_are(rewrap: Rewrap, node: RealNode, client: redis.Redis) -> None:
    """As in a script that has started it with `&`."""
    fill(client, 12_000)
    process = rewrap.start("--node", f"n={node.url}", before=("sh", "-c", 'trap "" INT; exec "$@"', "sh"))
    wait_until(lambda: client.info("commandstats").get("cmdstat_eval", {}).get("calls", 0) > 500, timeout=20)
    process.send_signal(signal.SIGINT)
    assert finished(process).code == 0


def test_it_can_stop_after_every_few_values(
    client: redis.Redis, node: RealNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(client, 90)
    monkeypatch.setattr(node_rewrap, "BYTES_AT_ONCE", 300)
    told: list[int] = []
    rewrap = NodeRewrap(client, sealer(NEW), namespace=None, to_plain=False)
    rewrap.run(lambda: told.append(rewrap.counts.moved))
    assert rewrap.counts.moved > 30
    assert max(after - before for before, after in pairwise(told)) <= 3


def test_a_second_interruption_does_not_wait_for_the_node(rewrap: Rewrap, node: RealNode, client: redis.Redis) -> None:
    fill(client, 12_000)
    process = rewrap.start("--node", f"n={node.url}")
    wait_until(lambda: client.info("commandstats").get("cmdstat_eval", {}).get("calls", 0) > 500, timeout=20)
    node.process.send_signal(signal.SIGSTOP)
    time.sleep(0.5)  # until it waits for an answer
    try:
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
        process.send_signal(signal.SIGINT)
        outcome = finished(process)
    finally:
        node.process.send_signal(signal.SIGCONT)
    assert outcome.code == 130
    assert outcome.said.endswith("interrupted; what is done stays done, and it can be begun again\n")


def test_a_node_that_goes_away(rewrap: Rewrap, node: RealNode, client: redis.Redis) -> None:
    fill(client, 12_000)
    process = rewrap.start("--node", f"n={node.url}")
    wait_until(lambda: client.info("commandstats").get("cmdstat_eval", {}).get("calls", 0) > 500, timeout=20)
    node.kill()
    outcome = finished(process)
    assert outcome.code == 2
    assert "wireproto: node n: ConnectionError: " in outcome.said
    assert outcome.said.endswith("; what is done stays done, so begin again\n")


# --- Where the nodes are ----------------------------------------------------------------------------------------------


def test_a_node_on_a_unix_socket(rewrap: Rewrap, tmp_path: Path, client: redis.Redis) -> None:
    client.set("default:a", "value")
    assert rewrap.run("--node", f"n=unix://{tmp_path}/socket").code == 0
    assert client.get("default:a").startswith(HEADS["default"])


def test_the_nodes_of_a_configuration(rewrap: Rewrap, tmp_path: Path, node: RealNode, client: redis.Redis) -> None:
    client.set("default:a", "value")
    (tmp_path / "wireproto.toml").write_text(f'[nodes]\nn = "{node.url}"\n')
    assert rewrap.run("--config", str(tmp_path / "wireproto.toml")).code == 0
    assert client.get("default:a").startswith(HEADS["default"])
    (tmp_path / "other.toml").write_text("shards = 2\n")
    outcome = rewrap.run("--config", str(tmp_path / "other.toml"), "--node", f"n={node.url}")
    assert outcome.code == 0, "nodes that a server has started itself are named beside its configuration"


def test_the_master_is_found_among_the_nodes(rewrap: Rewrap, tmp_path: Path, node: RealNode) -> None:
    (tmp_path / "replica").mkdir()
    replica = RealNode(tmp_path / "replica", "--replicaof", f"127.0.0.1 {node.port}")
    try:
        with redis.Redis(port=node.port) as one, redis.Redis(port=replica.port) as two:
            one.set("default:a", "value")
            assert rewrap.run("--node", f"n={replica.url};replica={node.url}").code == 0
            assert one.get("default:a").startswith(HEADS["default"])
            assert rewrap.run("--node", f"n={replica.url}").code == 2
            two.replicaof("NO", "ONE")
            outcome = rewrap.run("--node", f"n={replica.url};replica={node.url}")
            assert outcome.said == "wireproto: node n: several of its nodes say that they are the master\n"
    finally:
        replica.kill()


def test_the_master_is_asked_of_sentinels(rewrap: Rewrap, processes: Processes) -> None:
    master = processes.start(*NODE, "requirepass node-secret")
    sentinel = processes.start(*sentinel_lines(master, "sentinel auth-pass cache node-secret"), sentinel=True)
    with redis.Redis(port=master, password="node-secret") as client:
        client.set("default:a", "value")
        url = f"sentinel://127.0.0.1:{sentinel}/cache?password=node-secret"
        outcome = rewrap.run("--node", f"n={url}")
        assert outcome.code == 0, outcome.said
        assert client.get("default:a").startswith(HEADS["default"])
        outcome = rewrap.run("--node", f"n={url.replace('cache', 'other')}")
        assert (outcome.code, outcome.said) == (2, "wireproto: node n: none of its nodes is a master\n")


@pytest.mark.parametrize(
    ("keyring", "flags", "message"),
    [
        (NEW, (), "no nodes: name the server's settings with --config, or each node with --node NAME=URL; STATS tells"),
        (NEW, ("--node", "n=h:1"), "argument --node: node n: the URL must look like"),
        (NEW, ("--node", "n=redis://h:1", "--namespace", "a b"), "argument --namespace: must be 1-64"),
        (Keyring(), ("--node", "n=redis://h:1"), "there are no encryption keys; make one with: wireproto keyring add"),
        (Keyring((key("a", 1, "open"),)), ("--node", "n=redis://h:1"), "no key seals any more; --plain opens"),
        (replace(NEW, plain=("x",)), ("--node", "n=redis://h:1", "--namespace", "x"), "no key seals the values of"),
        (NEW, ("--node", "n=redis://127.0.0.1:1"), "node n: none of its nodes is a master; one cannot be asked: "),
    ],
)
def test_what_cannot_be_done(rewrap: Rewrap, keyring: Keyring, flags: tuple[str, ...], message: str) -> None:
    rewrap.use(keyring)
    outcome = rewrap.run(*flags)
    assert outcome.code == 2
    assert outcome.said.startswith(f"wireproto: {message}")
    assert outcome.said.count("\n") == 1
