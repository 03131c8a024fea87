"""Embedded nodes, with real processes: what they are, what they allow, and that they end with whatever started them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
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
from wireproto.server import embedded, embedded_guard, embedded_plan
from wireproto.server.embedded import EmbeddedNode, EmbeddedNodes, find_program
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
        assert password not in repr(embedded_plan.plan_nodes(1, 1, "1mb", "allkeys-lru", password))
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
    monkeypatch.setattr(embedded, "STOP_TIMEOUT", 0.2)
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
    monkeypatch.setattr(embedded, "START_TIMEOUT", 0.4)
    program = script(tmp_path / "program", "#!/bin/sh\necho waiting for somebody\nexec sleep 600\n")
    with pytest.raises(ConfigurationError, match=r"did not answer within 0\.5 s: shard-1: waiting for somebody"):
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
