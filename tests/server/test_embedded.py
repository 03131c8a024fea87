"""Embedded nodes, with real processes: what they are, what they allow, and that they end with whatever started them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psutil
import pytest
import redis
import uvloop

from wireproto.errors import ConfigurationError
from wireproto.server import (
    embedded,
    embedded_guard,
    embedded_guard_link,
    embedded_keeper,
    embedded_plan,
    embedded_probe,
)
from wireproto.server.embedded import EmbeddedNode, EmbeddedNodes, EmbeddedSentinel, find_program
from wireproto.server.node_endpoint import NodeEndpoint

REPOSITORY = Path(__file__).resolve().parents[2]
GUARD = Path(embedded_guard.__file__)
Start = Callable[..., Coroutine[Any, Any, EmbeddedNodes]]

PARENT = """
import asyncio, json, os, signal, sys, time
from wireproto.server.embedded import EmbeddedNodes

async def main():
    shards, replicas, program, forks = json.loads(sys.argv[1])
    started = await EmbeddedNodes.start(
        shards=shards, replicas=replicas, program=program, memory="16mb", eviction="allkeys-lru"
    )
    forked = os.fork() if forks else 0
    if forks and not forked:
        time.sleep(600)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    nodes = [(node.pid, node.url, str(node.socket)) for node in started.nodes]
    print(json.dumps({"nodes": nodes, "forked": forked}), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


# --- Helpers ----------------------------------------------------------------------------------------------------------


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not yet waited for does not."""
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def family(pid: int) -> list[int]:
    """A process and all below it."""
    process = psutil.Process(pid)
    return [pid, *(child.pid for child in process.children(recursive=True))]


def guard_of(nodes: EmbeddedNodes) -> int:
    return psutil.Process(nodes.nodes[0].pid).ppid()


def wait_until(condition: Callable[[], bool], within: float) -> None:
    """For what happens outside of the event loop; it must not take longer than `within` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


async def becomes_true(condition: Callable[[], bool], within: float = 5.0) -> None:
    """The same inside of it."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - what it looks at are processes
            await asyncio.sleep(0.01)


@contextlib.contextmanager
def client(url: str) -> Iterator[Any]:
    """A redis-py client; its type is left open, as redis-py's own types are of both its kinds at once."""
    connection = redis.Redis.from_url(url, socket_timeout=5, decode_responses=True, retry=None)
    try:
        yield connection
    finally:
        connection.close()


def setting(node: EmbeddedNode, name: str) -> str:
    with client(node.url) as connection:
        return str(connection.config_get(name)[name])


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def password_of(node: EmbeddedNode) -> str:
    return unquote(urlsplit(node.url).password or "")


def sentinel_says(started: EmbeddedNodes, sentinel: EmbeddedSentinel, *words: str) -> Any:
    with client(f"unix://:{started.sentinel_password}@{sentinel.socket}") as connection:
        return connection.execute_command("SENTINEL", *words)


def roles(started: EmbeddedNodes) -> dict[str, tuple[str, int | None]]:
    """Of each node that answers, its role and the port of the master to which it is linked."""
    found = {}
    for node in started.nodes:
        with client(node.url) as connection, contextlib.suppress(redis.RedisError):
            said = connection.info("replication")
            linked = said.get("master_link_status") == "up"
            found[node.name] = (said["role"], said["master_port"] if linked else None)
    return found


def follow(started: EmbeddedNodes, master: str) -> bool:
    """Whether a node is the only master, and all others are linked to it."""
    port = next(node.port for node in started.nodes if node.name == master)
    wanted = {node.name: ("master", None) if node.name == master else ("slave", port) for node in started.nodes}
    return roles(started) == wanted


class Watched:
    """What Sentinel says of a shard, for `master_of`."""

    def __init__(self) -> None:
        self.started: EmbeddedNodes | None = None

    def master_of(self, shard: str) -> str | None:
        for sentinel in self.started.sentinels if self.started else ():
            with contextlib.suppress(redis.RedisError):
                _, port = sentinel_says(self.started, sentinel, "GET-MASTER-ADDR-BY-NAME", shard)  # type: ignore[arg-type]
                return next(node.name for node in self.started.nodes if node.port == int(port))  # type: ignore[union-attr]
        return None


def pid_of(started: EmbeddedNodes, name: str) -> int:
    return next(one.pid for one in (*started.nodes, *started.sentinels) if one.name == name)


def script(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


# --- Fixtures ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A temporary folder of the test's own, with a short name; nothing may be left in it."""
    tmp_path_factory.getbasetemp()  # pytest chooses its own folder before the name of the common one changes
    folder = Path(tempfile.mkdtemp(prefix="wp", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    left = os.listdir(folder)
    shutil.rmtree(folder)
    assert not left


@pytest.fixture
async def start(temporary: Path) -> AsyncIterator[Start]:
    """Starts nodes that are stopped at the test's end."""
    started: list[EmbeddedNodes] = []

    async def begin(shards: int = 1, replicas: int = 0, program: str | None = None, **others: Any) -> EmbeddedNodes:
        arguments = {"program": find_program(program), "memory": "16mb", "eviction": "allkeys-lru", **others}
        started.append(await EmbeddedNodes.start(shards=shards, replicas=replicas, **arguments))
        return started[-1]

    yield begin
    for nodes in started:
        await nodes.stop()


class Parent:
    """Another process that starts nodes."""

    def __init__(self, shards: int, replicas: int, program: str, *, forks: bool) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PARENT, json.dumps([shards, replicas, program, forks])],
            stdout=subprocess.PIPE,
            cwd=REPOSITORY,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        said = json.loads(self.process.stdout.readline())
        self.pids: list[int] = [pid for pid, _, _ in said["nodes"]]
        self.urls: list[str] = [url for _, url, _ in said["nodes"]]
        self.folder = Path(said["nodes"][0][2]).parent
        self.guard = psutil.Process(self.pids[0]).ppid()
        self.forked: int = said["forked"]
        # With whatever a program has started in its turn.
        self.everything = [self.guard, *(one for pid in self.pids for one in family(pid))]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def nothing_left(self) -> bool:
        return not any(map(alive, self.everything)) and not self.folder.exists()

    def close(self) -> None:
        """Leave nothing, whatever the test has found."""
        self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()
        for pid in [*self.everything, *([self.forked] if self.forked else [])]:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def parent(temporary: Path) -> Iterator[Callable[..., Parent]]:
    parents: list[Parent] = []

    def begin(shards: int = 2, replicas: int = 0, program: str | None = None, *, forks: bool = False) -> Parent:
        parents.append(Parent(shards, replicas, find_program(program), forks=forks))
        return parents[-1]

    yield begin
    for one in parents:
        one.close()


@pytest.fixture
def wrapper(tmp_path: Path) -> str:
    """A script around the real program, which stays there as its parent."""
    return script(tmp_path / "wrapper", f'#!/bin/sh\n"{find_program(None)}" "$@"\necho over\n')


# --- What is started --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", [None, "redis-server"], ids=["carried", "redis-server"])
async def test_masters_keep_nothing_and_evict(start: Start, program: str | None) -> None:
    if program is not None and shutil.which(program) is None:
        pytest.skip("not installed")
    started = await start(shards=3, program=program, memory="24mb", eviction="volatile-lfu")
    assert [(node.name, node.shard, node.role) for node in started.nodes] == [
        (f"shard-{number}", f"shard-{number}", "master") for number in (1, 2, 3)
    ]
    for node in started.nodes:
        with client(node.url) as connection:
            assert connection.ping()
            assert connection.info("server")["process_id"] == node.pid
        assert setting(node, "maxmemory") == str(24 * 1024 * 1024)
        assert setting(node, "maxmemory-policy") == "volatile-lfu"
        assert setting(node, "save") == ""
        assert setting(node, "appendonly") == "no"


async def test_masters_are_reached_only_through_private_sockets(start: Start) -> None:
    started = await start(shards=2)
    folder = started.nodes[0].socket.parent
    assert mode(folder) == 0o700
    for path in folder.iterdir():
        assert mode(path) == 0o600, path
    for node in started.nodes:
        assert stat.S_ISSOCK(node.socket.stat().st_mode)
        assert setting(node, "port") == "0"
        assert not psutil.Process(node.pid).net_connections("inet")


async def test_the_urls_are_understood_here_too(start: Start) -> None:
    (node, _) = (await start(replicas=1)).nodes
    endpoint = NodeEndpoint.from_url(node.url)
    assert (endpoint.path, endpoint.password, endpoint.database) == (str(node.socket), password_of(node), 0)


async def test_replicas_have_what_their_master_has(start: Start) -> None:
    started = await start(replicas=3)
    master, *replicas = started.nodes
    assert [node.name for node in replicas] == [f"shard-1-replica-{number}" for number in (1, 2, 3)]
    assert {(node.shard, node.role) for node in replicas} == {("shard-1", "replica")}
    with client(master.url) as connection:
        connection.set("key", "value")
        await becomes_true(lambda: connection.info("replication")["connected_slaves"] == 3, 10)
    for node in replicas:
        with client(node.url) as connection:
            await becomes_true(lambda connection=connection: connection.get("key") == "value", 10)  # type: ignore[misc]


async def test_replicas_demand_a_password_on_every_road(start: Start) -> None:
    started = await start(replicas=1)
    for node in started.nodes:
        password, port = password_of(node), setting(node, "port")
        assert len(password) >= 64
        listening = psutil.Process(node.pid).net_connections("inet")
        assert {(at.laddr.ip, at.laddr.port) for at in listening if at.status == psutil.CONN_LISTEN} == {
            ("127.0.0.1", int(port))
        }
        for url in (f"redis://127.0.0.1:{port}", f"unix://{node.socket}"):
            with client(url) as connection, pytest.raises(redis.AuthenticationError):
                connection.ping()
        with client(f"redis://:not-it@127.0.0.1:{port}") as connection, pytest.raises(redis.AuthenticationError):
            connection.ping()
        with client(f"redis://:{password}@127.0.0.1:{port}") as connection:
            assert connection.ping()


async def test_the_password_is_shown_nowhere(start: Start) -> None:
    started = await start(replicas=1)
    folder = started.nodes[0].socket.parent
    for node in started.nodes:
        password = password_of(node)
        assert password not in repr(node)
        for pid in (node.pid, guard_of(started)):
            assert password not in " ".join(psutil.Process(pid).cmdline())
            assert password not in str(psutil.Process(pid).environ())
        assert mode(folder / f"{node.name}.conf") == 0o600
    plan = embedded_plan.make_plan(embedded_plan.Order(1, 1, "1mb", "allkeys-lru", sentinels=1))
    assert not re.search("[0-9a-f]{64}", repr(plan))
    assert password_of((await start(replicas=1)).nodes[0]) != password_of(started.nodes[0])


async def test_a_port_that_is_taken_is_given_up_for_another(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    free_ports = embedded_plan._free_ports
    with socket.create_server(("127.0.0.1", 0)) as taken:
        answers = [[taken.getsockname()[1], *free_ports(1)]]
        monkeypatch.setattr(embedded_plan, "_free_ports", lambda count: answers.pop() if answers else free_ports(count))
        started = await start(replicas=1)
        assert not answers
    assert len(started.nodes) == 2


async def test_ports_that_are_always_taken_end_the_start(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(embedded_plan, "_free_ports", lambda count: [port] * count)
        with pytest.raises(ConfigurationError, match="in use"):
            await start(replicas=1)


@pytest.mark.parametrize("name", ["a b", 'it\'s "50%" #1?', "päth"])
async def test_any_name_of_the_temporary_folder_will_do(
    start: Start, temporary: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = temporary / name
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    started = await start()
    assert started.nodes[0].socket.parent.parent == folder
    with client(started.nodes[0].url) as connection:
        assert connection.ping()
    await started.stop()
    folder.rmdir()


async def test_a_temporary_folder_too_deep_for_sockets_is_not_used(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("x" * 90)))
    started = await start()
    assert str(started.nodes[0].socket).startswith("/tmp/wireproto-")
    await started.stop()
    assert not started.nodes[0].socket.parent.exists()


def test_the_path_of_a_socket_is_never_longer_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    for length in range(1, 120):
        monkeypatch.setattr(tempfile, "tempdir", "/" + "x" * length)
        for name in ("shard-1", "shard-1024-replica-8"):
            path = embedded_plan.new_folder(len(name)) / f"{name}.sock"
            assert len(os.fsencode(path)) <= embedded_plan.MAX_SOCKET_PATH


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_either_event_loop_will_do(factory: Callable[[], asyncio.AbstractEventLoop], temporary: Path) -> None:
    async def life() -> list[int]:
        started = await EmbeddedNodes.start(
            shards=2, replicas=1, program=find_program(None), memory="16mb", eviction="allkeys-lru"
        )
        pids = [guard_of(started), *(node.pid for node in started.nodes)]
        assert all(map(alive, pids))
        await started.stop()
        return pids

    with asyncio.Runner(loop_factory=factory) as runner:
        assert not any(map(alive, runner.run(life())))


# --- How it ends ------------------------------------------------------------------------------------------------------


async def test_stop_leaves_nothing_and_may_be_repeated(start: Start, temporary: Path) -> None:
    told: list[str] = []
    started = await start(shards=2, replicas=1, on_exit=told.append)
    pids = [guard_of(started), *(node.pid for node in started.nodes)]
    await asyncio.gather(started.stop(), started.stop())
    assert not any(map(alive, pids))
    assert not os.listdir(temporary)
    await started.stop()
    assert not told


async def test_stop_ends_nodes_that_are_stopped(start: Start) -> None:
    started = await start(shards=4)
    for node in started.nodes:
        os.kill(node.pid, signal.SIGSTOP)
    began = time.monotonic()
    await started.stop()
    assert time.monotonic() - began < 3
    assert not any(alive(node.pid) for node in started.nodes)


async def test_stop_ends_a_guard_that_hangs(start: Start, monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    monkeypatch.setattr(embedded_guard_link, "STOP_TIMEOUT", 0.2)
    started = await start(shards=2)
    os.kill(guard_of(started), signal.SIGSTOP)
    await started.stop()
    await becomes_true(lambda: not any(alive(node.pid) for node in started.nodes), 2)
    assert not os.listdir(temporary)


async def test_a_program_around_the_real_one_ends_with_it(start: Start, wrapper: str) -> None:
    started = await start(shards=2, program=wrapper)
    pids = [pid for node in started.nodes for pid in family(node.pid)]
    assert len(pids) == 4
    await started.stop()
    assert not any(map(alive, pids))


@pytest.mark.parametrize("replicas", [0, 1])
def test_killing_the_parent_leaves_nothing(parent: Callable[..., Parent], replicas: int) -> None:
    one = parent(replicas=replicas)
    one.kill()
    wait_until(one.nothing_left, 2)


def test_killing_the_parent_leaves_nothing_of_a_program_around_the_real_one(
    parent: Callable[..., Parent], wrapper: str
) -> None:
    one = parent(shards=1, program=wrapper)
    one.kill()
    wait_until(one.nothing_left, 2)


def test_killing_the_parent_ends_nodes_that_are_stopped(parent: Callable[..., Parent]) -> None:
    one = parent(shards=4)
    for pid in one.pids:
        os.kill(pid, signal.SIGSTOP)
    one.kill()
    wait_until(one.nothing_left, 2.5)


def test_a_forked_child_of_the_parent_keeps_nothing_alive(parent: Callable[..., Parent]) -> None:
    """It holds a copy of the guard's standard input."""
    one = parent(forks=True)
    one.kill()
    wait_until(one.nothing_left, 2)
    assert alive(one.forked)


def test_an_interrupt_from_the_terminal_does_not_reach_the_nodes(parent: Callable[..., Parent]) -> None:
    one = parent()
    os.killpg(one.process.pid, signal.SIGINT)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(one.guard, number)
    time.sleep(0.3)
    for url in one.urls:
        with client(url) as connection:
            assert connection.ping()
    assert os.getsid(one.guard) != os.getsid(one.process.pid)


@pytest.mark.parametrize("wrapped", [False, True], ids=["", "wrapper"])
async def test_killing_the_guard_is_noticed_and_leaves_nothing(
    start: Start, temporary: Path, wrapper: str, wrapped: bool, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    started = await start(shards=2, on_exit=told.append, program=wrapper if wrapped else None)
    pids = [pid for node in started.nodes for pid in family(node.pid)]
    with caplog.at_level(logging.ERROR, "wireproto.embedded"):
        os.kill(guard_of(started), signal.SIGKILL)
        await becomes_true(lambda: bool(told), 2)
    await becomes_true(lambda: not any(map(alive, pids)), 2)
    assert told == ["guard"]
    assert [record.getMessage() for record in caplog.records] == [
        "the guard of the nodes was killed, and with it the embedded nodes"
    ]
    assert not os.listdir(temporary)
    await started.stop()


def test_the_nodes_end_even_if_the_guard_and_the_parent_are_killed_together(parent: Callable[..., Parent]) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux's kernel does this")
    one = parent()
    os.kill(one.guard, signal.SIGKILL)
    one.kill()
    wait_until(lambda: not any(map(alive, one.pids)), 2)
    # The one case that leaves the folder, with a file or two and nothing of value in it: nobody is left to remove it.


async def test_a_node_that_ends_by_itself_is_told_of(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []
    started = await start(shards=3, on_exit=told.append)
    with caplog.at_level(logging.ERROR, "wireproto.embedded"):
        os.kill(started.nodes[1].pid, signal.SIGKILL)
        await becomes_true(lambda: bool(told), 2)
    assert told == ["shard-2"]
    (record,) = caplog.records
    assert record.getMessage().startswith("embedded node shard-2 was killed by signal 9")
    assert "\n" not in record.getMessage()
    for node in (started.nodes[0], started.nodes[2]):
        with client(node.url) as connection:
            assert connection.ping()


async def test_a_node_whose_log_was_cleared_away_takes_no_other_with_it(start: Start) -> None:
    """Old temporary files are removed on many systems, those of a server that still runs too."""
    told: list[str] = []
    started = await start(shards=2, on_exit=told.append)
    started.nodes[0].socket.with_suffix(".log").unlink()
    os.kill(started.nodes[0].pid, signal.SIGKILL)
    await becomes_true(lambda: bool(told), 2)
    assert told == ["shard-1"]
    with client(started.nodes[1].url) as connection:
        assert connection.ping()


async def test_descriptors_of_the_server_are_not_inherited(start: Start) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    try:
        await start()
        os.close(writing)
        os.set_blocking(reading, False)
        assert os.read(reading, 1) == b"", "somebody else holds the other end"
    finally:
        os.close(reading)


async def test_a_start_that_is_cancelled_leaves_nothing(start: Start, temporary: Path) -> None:
    for wait in (0.0, 0.03, 0.06):
        starting = asyncio.create_task(start(shards=2))
        await asyncio.sleep(wait)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
    await becomes_true(lambda: not os.listdir(temporary), 2)
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


# --- Sentinels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", [None, "redis-server"], ids=["carried", "redis-server"])
async def test_sentinels_know_all_nodes_and_each_other(start: Start, program: str | None) -> None:
    if program is not None and shutil.which(program) is None:
        pytest.skip("not installed")
    started = await start(shards=2, replicas=2, sentinels=3, program=program, down_after=0.9)
    assert [(one.name, one.host) for one in started.sentinels] == [
        (f"sentinel-{number}", "127.0.0.1") for number in (1, 2, 3)
    ]
    for sentinel in started.sentinels:
        with client(f"redis://:{started.sentinel_password}@127.0.0.1:{sentinel.port}") as connection:
            assert connection.ping()
            assert connection.info("server")["process_id"] == sentinel.pid
        with client(f"redis://127.0.0.1:{sentinel.port}") as connection, pytest.raises(redis.AuthenticationError):
            connection.ping()
        for node in (node for node in started.nodes if node.role == "master"):
            said = sentinel_says(started, sentinel, "MASTER", node.shard)
            known = dict(zip(said[::2], said[1::2], strict=True)) if isinstance(said, list) else said
            assert {name: int(known[name]) for name in ("port", "quorum", "num-slaves", "num-other-sentinels")} == {
                "port": node.port,
                "quorum": 2,
                "num-slaves": 2,
                "num-other-sentinels": 2,
            }
            assert (int(known["down-after-milliseconds"]), int(known["parallel-syncs"])) == (900, 2)
            # Not before they are connected to each other.
            await becomes_true(lambda ask=sentinel, shard=node.shard: quorum(started, ask, shard), 3)  # type: ignore[misc]
        periods = sentinel_says(started, sentinel, "DEBUG")
        periods = periods if isinstance(periods, dict) else dict(zip(periods[::2], periods[1::2], strict=True))
        assert {name: int(periods[name]) for name in embedded_probe.PERIODS} == embedded_probe.PERIODS


def quorum(started: EmbeddedNodes, sentinel: EmbeddedSentinel, shard: str) -> bool:
    try:
        return str(sentinel_says(started, sentinel, "CKQUORUM", shard)).startswith("OK 3 usable")
    except redis.ResponseError:
        return False


async def test_sentinels_without_replicas_are_refused(start: Start) -> None:
    with pytest.raises(ConfigurationError, match="Sentinels are of use only with replicas"):
        await start(sentinels=3)


async def test_nodes_have_ports_only_with_replicas(start: Start) -> None:
    for node in (await start(replicas=1)).nodes:
        assert setting(node, "port") == str(node.port)
    assert [node.port for node in (await start(shards=2)).nodes] == [None, None]
    assert (await start()).sentinel_password is None


async def test_a_port_of_a_sentinel_that_is_taken_is_given_up_for_another(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    free_ports = embedded_plan._free_ports
    with socket.create_server(("127.0.0.1", 0)) as taken:
        answers = [[taken.getsockname()[1], *free_ports(2)]]
        monkeypatch.setattr(embedded_plan, "_free_ports", lambda count: answers.pop() if answers else free_ports(count))
        started = await start(replicas=1, sentinels=1)
        assert started.sentinels[0].port != taken.getsockname()[1]


# --- Starting again ---------------------------------------------------------------------------------------------------


async def test_a_node_without_replicas_is_started_again_at_once(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    changes: list[tuple[int, ...]] = []
    started: EmbeddedNodes | None = None
    started = await start(
        shards=2, on_change=lambda: changes.append(tuple(node.pid for node in started.nodes)) if started else None
    )
    before = [node.pid for node in started.nodes]
    with caplog.at_level(logging.WARNING, "wireproto.embedded"):
        for round_ in (1, 2):
            old = started.nodes[1].pid
            os.kill(old, signal.SIGKILL)
            await becomes_true(lambda old=old: started.nodes[1].pid != old, 1)  # type: ignore[misc]
            await embedded_probe.answers(started.nodes[1].socket)
            with client(started.nodes[1].url) as connection:
                assert connection.set("key", round_)
    assert [node.role for node in started.nodes] == ["master", "master"]
    assert started.nodes[0].pid == before[0]
    assert changes[0] == tuple(before), "told when it ended"
    assert changes[-1] == tuple(node.pid for node in started.nodes), "told when it was started again"
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == len(changes) == 4
    assert said[0].startswith("embedded node shard-2 was killed by signal 9: ")
    assert said[3] == f"embedded node shard-2 was started again (process {started.nodes[1].pid})"


async def test_a_replica_comes_back_as_one(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    started = await start(replicas=2)
    await becomes_true(lambda: follow(started, "shard-1"))
    with client(started.nodes[0].url) as connection:
        connection.set("key", "value")
    with caplog.at_level(logging.WARNING, "wireproto.embedded"):
        os.kill(started.nodes[2].pid, signal.SIGKILL)
        await becomes_true(lambda: len(caplog.records) == 2)
    pid = started.nodes[2].pid
    assert caplog.records[1].getMessage() == (
        f"embedded node shard-1-replica-2 was started again as a replica of shard-1 (process {pid})"
    )
    await becomes_true(lambda: follow(started, "shard-1"))
    with client(started.nodes[2].url) as connection:
        assert connection.get("key") == "value"


async def test_a_master_without_sentinels_comes_back_as_one(start: Start) -> None:
    started = await start(replicas=2)
    pid = started.nodes[0].pid
    os.kill(pid, signal.SIGKILL)
    await becomes_true(lambda: started.nodes[0].pid != pid, 1)
    await becomes_true(lambda: follow(started, "shard-1"))


async def test_a_master_comes_back_as_a_replica_of_its_successor(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched()
    started = watched.started = await start(replicas=2, sentinels=3, master_of=watched.master_of)
    await becomes_true(lambda: follow(started, "shard-1"))
    with client(started.nodes[0].url) as connection:
        connection.set("key", "value")
        connection.wait(2, 1000)
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, "wireproto.embedded"):
        os.kill(started.nodes[0].pid, signal.SIGKILL)
        await becomes_true(lambda: len(caplog.records) == 2, 10)
    took = time.monotonic() - began
    master = watched.master_of("shard-1")
    assert master in ("shard-1-replica-1", "shard-1-replica-2")
    assert f"was started again as a replica of {master} (process" in caplog.records[1].getMessage()
    await becomes_true(lambda: follow(started, str(master)), 10)
    for node in started.nodes:
        with client(node.url) as connection:
            assert connection.get("key") == "value"
    print(f"started again after {took:.2f} s")
    # What Sentinel has rewritten, in nodes' files and in its own, is as private as before.
    password = str(started.sentinel_password)
    for path in started.nodes[0].socket.parent.iterdir():
        assert mode(path) == 0o600, path
        if path.suffix == ".log":
            assert password not in path.read_text()
            assert password_of(started.nodes[0]) not in path.read_text()
    for name in ("shard-1", "sentinel-1"):
        assert not re.search("[0-9a-f]{64}", " ".join(psutil.Process(pid_of(started, name)).cmdline()))
    assert password not in caplog.text
    assert password not in repr(started.sentinels)


@pytest.mark.parametrize("sentinels", [0, 3])
async def test_a_shard_killed_at_once_has_one_master_again(start: Start, sentinels: int) -> None:
    watched = Watched()
    started = watched.started = await start(replicas=2, sentinels=sentinels, master_of=watched.master_of)
    await becomes_true(lambda: follow(started, "shard-1"))
    pids = [node.pid for node in started.nodes]
    for pid in reversed(pids):
        os.kill(pid, signal.SIGKILL)
    await becomes_true(lambda: not {node.pid for node in started.nodes} & set(pids), 10)
    await becomes_true(lambda: any(follow(started, node.name) for node in started.nodes), 20)
    master = next(name for name, (role, _) in roles(started).items() if role == "master")
    assert watched.master_of("shard-1") == (master if sentinels else None)


async def test_replicas_that_never_reached_their_master_succeed_it_all_the_same(start: Start) -> None:
    """They were started again while it hung, and are empty; it was killed then."""
    watched = Watched()
    started = watched.started = await start(replicas=2, sentinels=3, master_of=watched.master_of)
    await becomes_true(lambda: follow(started, "shard-1"))
    before = [node.pid for node in started.nodes]
    os.kill(before[0], signal.SIGSTOP)
    for pid in before[1:]:
        os.kill(pid, signal.SIGKILL)
    await becomes_true(lambda: not {node.pid for node in started.nodes[1:]} & set(before))
    os.kill(before[0], signal.SIGKILL)
    await becomes_true(lambda: started.nodes[0].pid != before[0], 10)
    await becomes_true(lambda: any(follow(started, node.name) for node in started.nodes), 20)
    assert watched.master_of("shard-1") in ("shard-1-replica-1", "shard-1-replica-2")


async def test_a_sentinel_comes_back_as_itself(start: Start) -> None:
    started = await start(replicas=1, sentinels=3)
    (sentinel, *_) = started.sentinels
    identity = sentinel_says(started, sentinel, "MYID")
    os.kill(sentinel.pid, signal.SIGKILL)
    await becomes_true(lambda: started.sentinels[0].pid != sentinel.pid, 1)
    await becomes_true(lambda: hastened(started, sentinel))
    assert sentinel_says(started, sentinel, "MYID") == identity
    await becomes_true(lambda: quorum(started, sentinel, "shard-1"))


def hastened(started: EmbeddedNodes, sentinel: EmbeddedSentinel) -> bool:
    try:
        return str(embedded_probe.PERIODS["PING-PERIOD"]) in str(sentinel_says(started, sentinel, "DEBUG"))
    except redis.RedisError:
        return False


async def test_a_master_whose_successor_does_not_come_is_started_again_as_one(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(embedded_keeper, "FAILOVER_PATIENCE", 0.5)
    started = await start(replicas=1, sentinels=3, down_after=60.0)
    pid = started.nodes[0].pid
    with caplog.at_level(logging.WARNING, "wireproto.embedded"):
        os.kill(pid, signal.SIGKILL)
        await becomes_true(lambda: started.nodes[0].pid != pid)
    assert "was started again as a master, since no other node became it within 0.5 s" in caplog.text
    await becomes_true(lambda: follow(started, "shard-1"))


@pytest.fixture
def moody(tmp_path: Path) -> tuple[str, Path]:
    """A program that is the real one, until a file is there."""
    flag = tmp_path / "flag"
    text = f'#!/bin/sh\nif [ -e "{flag}" ]; then echo not today; exit 1; fi\nexec "{find_program(None)}" "$@"\n'
    return script(tmp_path / "moody", text), flag


async def test_a_node_that_ends_again_and_again_is_started_less_often(
    start: Start, moody: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(embedded_keeper, "LONGEST_PAUSE", 0.4)
    program, flag = moody
    started = await start(program=program)
    flag.touch()
    with caplog.at_level(logging.WARNING, "wireproto.embedded"):
        os.kill(started.nodes[0].pid, signal.SIGKILL)
        await becomes_true(lambda: caplog.text.count("ended with code 1: not today") == 5)
    times = [record.created for record in caplog.records if "started again" in record.getMessage()]
    pauses = [later - before for before, later in itertools.pairwise(times)]
    # Each is also for how long the process ran, until the guard looked.
    assert all(pause >= least for pause, least in zip(pauses, (0.1, 0.2, 0.4, 0.4), strict=True)), pauses
    assert max(pauses) < 1
    flag.unlink()
    await asyncio.wait_for(embedded_probe.answers(started.nodes[0].socket), 2)


async def test_a_program_that_is_gone_is_tried_again(
    start: Start, moody: tuple[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    program, _ = moody
    started = await start(program=program)
    os.rename(program, f"{program}.away")
    with caplog.at_level(logging.WARNING, "wireproto.embedded"):
        os.kill(started.nodes[0].pid, signal.SIGKILL)
        await becomes_true(lambda: caplog.text.count("shard-1 could not be started again: ") == 2)
    os.rename(f"{program}.away", program)
    await asyncio.wait_for(embedded_probe.answers(started.nodes[0].socket), 2)


async def test_a_port_that_somebody_took_meanwhile_is_waited_for(
    start: Start, moody: tuple[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    program, flag = moody
    started = await start(replicas=1, program=program)
    flag.touch()
    with caplog.at_level(logging.WARNING, "wireproto.embedded"):
        os.kill(started.nodes[1].pid, signal.SIGKILL)
        await becomes_true(lambda: "not today" in caplog.text)
        with socket.create_server(("127.0.0.1", started.nodes[1].port or 0)):
            flag.unlink()
            await becomes_true(lambda: "Address already in use" in caplog.text)
    await becomes_true(lambda: follow(started, "shard-1"))


async def test_stop_while_nodes_are_to_be_started_again_leaves_nothing(start: Start, temporary: Path) -> None:
    told: list[str] = []
    started = await start(shards=2, replicas=1, sentinels=1, down_after=60.0, on_exit=told.append)
    (guard,) = {psutil.Process(one.pid).parent() for one in (*started.nodes, *started.sentinels)}
    assert guard is not None
    os.kill(started.nodes[0].pid, signal.SIGKILL)  # waits for its successor
    await becomes_true(lambda: "shard-1" in told)
    os.kill(started.nodes[3].pid, signal.SIGKILL)  # is started again while all ends
    await becomes_true(lambda: "shard-2-replica-1" in told)
    await started.stop()
    assert not guard.is_running()
    assert not any(alive(one.pid) for one in (*started.nodes, *started.sentinels))
    assert not os.listdir(temporary)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


# --- Programs that cannot work ----------------------------------------------------------------------------------------


def test_the_carried_program_is_found() -> None:
    assert os.access(find_program(None), os.X_OK)


def test_a_named_program_is_looked_up_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = script(tmp_path / "my-redis", "#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program("my-redis") == program
    monkeypatch.chdir(tmp_path)
    assert find_program("./my-redis") == program, "the nodes are started in another folder"


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("no-such-program", "there is no such program on PATH"),
        ("/no/such/program", "there is no such file"),
        ("{folder}", "it is a folder"),
        ("{folder}/text", "it is not executable; run: chmod +x {folder}/text"),
    ],
)
def test_a_named_program_that_is_none_is_refused(named: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    with pytest.raises(ConfigurationError) as caught:
        find_program(named.format(folder=tmp_path))
    assert str(caught.value) == f"redis_server: {named}: {reason}".format(folder=tmp_path)


def test_a_platform_without_a_carried_program_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(ConfigurationError, match="riscv64; install Redis or Valkey and name it with --redis-server"):
        find_program(None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="--redis-server"):
        find_program(None)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("#!/bin/sh\nexit 1\n", "shard-1 ended with code 1: it said nothing"),
        ("#!/bin/sh\nprintf 'one\\ntwo\\n\\033[2Jthree\\n'; exit 3\n", "ended with code 3: one; two; ?[2Jthree"),
        ("#!/bin/sh\nkill -6 $$\n", "was killed by signal 6"),
        ("#!/bin/sh\nyes | head -c 1000000\n", "ended with code 0: y; y; y; y; y"),
        ("#!/bin/sh\nread line\necho nothing to read\n", "ended with code 0: nothing to read"),
        ("not a program", "Exec format error"),
        ("#!/no/such/interpreter\n", "No such file"),
    ],
)
async def test_a_program_that_is_no_redis_is_refused(start: Start, tmp_path: Path, text: str, error: str) -> None:
    program = script(tmp_path / "program", text)
    with pytest.raises(ConfigurationError) as caught:
        await start(program=program)
    assert str(caught.value).startswith(f"{program}: ")
    assert error in str(caught.value)


async def test_a_program_that_does_not_answer_is_refused(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "START_TIMEOUT", 0.9)
    program = script(tmp_path / "program", "#!/bin/sh\necho waiting for somebody\nexec sleep 600\n")
    with pytest.raises(ConfigurationError, match=r"did not answer within 1 s: shard-1: waiting for somebody"):
        await start(shards=2, program=program)


async def test_a_setting_that_redis_refuses_is_shown(start: Start) -> None:
    with pytest.raises(ConfigurationError, match="maxmemory lots"):
        await start(shards=2, memory="lots")


async def test_a_program_that_prints_its_configuration_does_not_print_the_password(
    start: Start, tmp_path: Path
) -> None:
    program = script(tmp_path / "program", '#!/bin/sh\ngrep -h pass "$@" /dev/null\nexit 1\n')
    with pytest.raises(ConfigurationError, match=r"requirepass \(password\)"):
        await start(replicas=1, program=program)


# --- The guard by itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [b"", b'{"program": "/bin/sleep", "nodes": {"cut'])
def test_a_guard_without_an_order_goes_away(order: bytes) -> None:
    done = subprocess.run([sys.executable, "-I", "-S", str(GUARD)], input=order, capture_output=True, timeout=10)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_guard_leaves_somebody_elses_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    order = json.dumps({"program": "/bin/sleep", "folder": str(tmp_path), "nodes": {"shard-1": []}})
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(GUARD)], input=f"{order}\n".encode(), capture_output=True, timeout=10
    )
    assert "exists" in json.loads(done.stdout)["error"]
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
