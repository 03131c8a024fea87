"""The supervisor with workers that only pretend, and the worker that its supervisor leaves alone."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest

from wireproto.core.api_keys import ApiKeyRecord, hash_api_key
from wireproto.core.signing_keys import HS256, SigningKey, SigningKeys
from wireproto.core.topology import NodeView, ShardView
from wireproto.errors import ConfigurationError
from wireproto.server import supervisor as supervisor_module
from wireproto.server import worker_process
from wireproto.server.certificates import CertificateFiles
from wireproto.server.router import Shard
from wireproto.server.serving import ListeningSockets
from wireproto.server.shared_counters import Phase
from wireproto.server.state_folder import State
from wireproto.server.statistics import ServerIdentity
from wireproto.server.supervisor import Supervisor, core_count, pause_before_restart
from wireproto.server.tls_material import TlsMaterial
from wireproto.server.worker_messages import (
    Descriptors,
    Order,
    authority_from_json,
    keys_from_json,
    keys_to_json,
    to_line,
)
from wireproto.settings import Settings, ShardAddress

API_KEY = "a-key-that-somebody-chose-0123456789abcdef"
SIGNING_KEYS = SigningKeys((SigningKey("key-1", HS256, 0, None, b"s" * 32),))
STATE = State((ApiKeyRecord("id-1", hash_api_key(API_KEY.encode()), "client", "space", 1),), SIGNING_KEYS)
SHARDS = [Shard("a", 2.5), Shard("b", 1.0)]
VIEWS = [
    ShardView(
        "a", NodeView("h:1", "redis://:secret@h:1/0"), (NodeView("h:2", "redis://h:2", None, 3, "", 1.5),), 2, "why"
    ),
    ShardView("b", NodeView("/s", "unix:///s", pid=77)),
]
TLS = TlsMaterial(CertificateFiles(None, Path("cert.pem"), Path("key.pem")), b"certificate", b"key")

PRETENDING = """
import json, os, signal, sys, time
for line in sys.stdin:
    message = json.loads(line)
    if "order" in message:
        order = message["order"]
        print(json.dumps({"connected": ["node-%d" % order["slot"]]}), flush=True)
    elif "keys" in message:
        print(json.dumps({"ready": True}), flush=True)
        THEN
    elif "drain" in message:
        sys.exit(0)
"""


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have workers run this script."""

    def use(script: str) -> None:
        monkeypatch.setattr(worker_process, "COMMAND", (sys.executable, "-c", script))

    return use


def always(then: str) -> str:
    """A worker that does this when it is ready."""
    return PRETENDING.replace("THEN", then)


@asynccontextmanager
async def supervising(count: int, **settings: object) -> AsyncIterator[Supervisor]:
    chosen = Settings(port=0, **settings)  # type: ignore[arg-type]
    with closing(ListeningSockets.bind(chosen)) as sockets:
        supervisor = Supervisor(chosen, TLS, sockets, ServerIdentity(os.getpid(), time.monotonic()), count)
        async with supervisor.spawned():
            yield supervisor


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


# -- pure


def test_the_pause_before_a_restart_grows_when_a_worker_keeps_dying() -> None:
    assert [pause_before_restart(deaths) for deaths in range(10)] == [0, 0, 0, 1, 2, 4, 8, 16, 30, 30]
    assert pause_before_restart(1000) == 30


def test_one_per_core_means_those_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7}, raising=False)
    assert core_count() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert core_count() == 12
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert core_count() == 1


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(plain_port=0, cert=Path("a b/ä.pem"), key=Path("k"), redis_server="valkey-server", drain_timeout=0.5),
        Settings(replicas=2, sentinels=5, reads="replica", sync=1, namespace_sync=(("shop", 2), ("logs", 0))),
    ],
)
def test_an_order_arrives_as_it_was_sent(settings: Settings) -> None:
    order = Order(
        settings=settings,
        shards=tuple(SHARDS),
        views=tuple(VIEWS),
        tls=TlsMaterial(CertificateFiles(Path("ca"), Path("c"), Path("k"), Path("d")), b"\xff", b"key", b"ca"),
        descriptors=Descriptors(3, None, 5, 2, 1000, 6),
        server=ServerIdentity(1, 2.5),
        slot=1,
        restarts=4,
    )
    assert Order.from_json(json.loads(to_line(order.to_json()))) == order


def test_an_order_has_no_secret_that_a_worker_does_not_need() -> None:
    settings = Settings(api_key=API_KEY, nodes=(ShardAddress("a", "redis://:secret@h:1"),))
    order = Order(settings, (), (), TLS, Descriptors(3, None, 5, 2, 1000, 6), ServerIdentity(1, 2.5), 0)
    assert API_KEY not in str(order.to_json())
    assert ":secret@" not in str(order.to_json())


def test_keys_arrive_as_they_were_sent() -> None:
    authority = authority_from_json(keys_to_json(STATE), 900)
    token, identity = authority.login(API_KEY.encode(), 1000.0, "token-1")
    assert authority.verify(token.encode(), 1001.0) == identity
    assert keys_from_json(json.loads(to_line(keys_to_json(STATE)))) == STATE


# -- the start


async def test_the_start_is_whole(pretend: Callable[[str], None]) -> None:
    pretend(always("pass"))
    async with supervising(3) as supervisor:
        assert await supervisor.connect(SHARDS, VIEWS) == ["node-0", "node-1", "node-2"]
        await supervisor.begin(STATE)
        pids = supervisor.pids
        assert len(set(pids)) == 3
    assert all(map(is_gone, pids))


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("import sys; sys.exit(7)", "worker 1 ended with code 7 before it was ready"),
        ("import os; os.kill(os.getpid(), 9)", "worker 1 was killed by signal 9 before it was ready"),
        ("""print('{"failed": "no such node"}', flush=True)""", "no such node"),
    ],
)
async def test_a_start_that_fails_says_why(pretend: Callable[[str], None], script: str, told: str) -> None:
    pretend(script)
    async with supervising(2) as supervisor:
        with pytest.raises(ConfigurationError) as caught:
            await supervisor.connect(SHARDS, VIEWS)
    assert str(caught.value) == told


async def test_a_start_that_fails_late_says_why_too(pretend: Callable[[str], None]) -> None:
    pretend(PRETENDING.replace('"keys" in message', '"keys" in message and sys.exit(4)').replace("THEN", "pass"))
    async with supervising(2) as supervisor:
        await supervisor.connect(SHARDS, VIEWS)
        with pytest.raises(ConfigurationError, match="worker 1 ended with code 4 before it was ready"):
            await supervisor.begin(STATE)


async def test_processes_that_the_system_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "COMMAND", ("/no/such/program",))
    with pytest.raises(ConfigurationError, match="workers cannot be started: "):
        async with supervising(2):
            pass


# -- while it serves


@asynccontextmanager
async def serving(supervisor: Supervisor) -> AsyncIterator[None]:
    """Run it until the end of the context, then drain."""
    await supervisor.connect(SHARDS, VIEWS)
    await supervisor.begin(STATE)
    shutdown = asyncio.Event()
    running = asyncio.create_task(supervisor.run(shutdown))
    try:
        yield
    finally:
        shutdown.set()
        async with asyncio.timeout(10):
            await running


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what it waits for tells nobody
            await asyncio.sleep(0.01)


async def test_a_worker_that_keeps_dying_is_started_more_and_more_rarely(
    pretend: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "wireproto.supervisor")
    pretend(always('order["slot"] == 0 and sys.exit(5)'))
    async with supervising(2) as supervisor:
        other = supervisor.pids[1]
        async with serving(supervisor):
            await eventually(lambda: "in 2 s" in caplog.text)
            assert supervisor.pids[1] == other
        assert is_gone(other)
    ends = [message for message in caplog.messages if "ended with code 5" in message]
    assert [message.partition("; ")[2] for message in ends] == [
        "another is started now",
        "another is started now",
        "another is started in 1 s, as it keeps ending",
        "another is started in 2 s, as it keeps ending",
    ]
    times = [record.created for record in caplog.records if "ended with code 5" in record.message]
    assert times[3] - times[2] >= 1


async def test_a_worker_that_has_lived_long_is_replaced_at_once_however_often(
    pretend: Callable[[str], None], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "QUICK_DEATH", 0.0)
    pretend(always('order["slot"] == 0 and sys.exit(5)'))
    async with supervising(2) as supervisor, serving(supervisor):
        await eventually(lambda: caplog.text.count("another is started now") > 5)
    assert "keeps ending" not in caplog.text


async def test_the_slot_of_a_worker_that_ends_is_retired(pretend: Callable[[str], None]) -> None:
    pretend(always("pass"))
    async with supervising(2) as supervisor, serving(supervisor):
        counters = supervisor._counters
        for slot in range(2):
            counters.phases[slot], counters.connections[slot] = Phase.SERVING, 9
        first = supervisor.pids[0]
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: supervisor.pids[0] != first)
        assert counters.phases.tolist() == [Phase.ABSENT, Phase.SERVING]
        assert counters.connections.tolist() == [0, 9]


async def test_the_system_may_refuse_a_replacement_for_a_while(
    pretend: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor_module, "SPAWN_PAUSE", 0.05)
    pretend(always("pass"))
    async with supervising(2) as supervisor, serving(supervisor):
        good = worker_process.COMMAND
        monkeypatch.setattr(worker_process, "COMMAND", ("/no/such/program",))
        first = supervisor.pids[0]
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: caplog.text.count("worker 1 cannot be started: ") >= 2)
        monkeypatch.setattr(worker_process, "COMMAND", good)
        await eventually(lambda: supervisor.pids[0] != first)


async def test_a_shutdown_does_not_wait_for_a_pause(pretend: Callable[[str], None]) -> None:
    pretend(always('order["slot"] == 0 and sys.exit(5)'))
    async with supervising(2) as supervisor:
        async with serving(supervisor):
            await asyncio.sleep(1.5)  # well within a pause of 1 or 2 s
            before = time.monotonic()
        assert time.monotonic() - before < 0.8


async def test_a_worker_that_does_not_drain_is_killed(
    pretend: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor_module, "KILL_MARGIN", 0.2)
    pretend(always("time.sleep(60)"))
    async with supervising(2, drain_timeout=0.1) as supervisor:
        pids = supervisor.pids
        async with serving(supervisor):
            pass
        assert all(map(is_gone, pids))
    assert "killed: 2" in caplog.text


TELLING = PRETENDING.replace("THEN", "pass").replace(
    """    elif "drain" in message:""",
    """    if "keys" in message or "tls" in message or "order" in message:
        with open(sys.argv[1], "a") as file:
            file.write(line)
    elif "drain" in message:""",
)


async def test_new_secrets_are_told_to_all_workers_and_to_those_to_come(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    monkeypatch.setattr(worker_process, "COMMAND", (sys.executable, "-c", TELLING, str(told)))

    def count(text: str) -> int:
        return told.read_text().count(text) if told.exists() else 0

    new_state = State((replace(STATE.records[0], client="renamed"),), STATE.signing_keys)
    new_tls = replace(TLS, certificate=b"renewed")
    async with supervising(2) as supervisor, serving(supervisor):
        assert (count("renamed"), count("renewed")) == (0, 0)
        supervisor.use_keys(new_state)
        supervisor.use_tls(new_tls)
        await eventually(lambda: (count("renamed"), count("renewed")) == (2, 2))
        first = supervisor.pids[0]
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: (count("renamed"), count("renewed")) == (3, 3))
    newest = told.read_text().splitlines()[-2:]
    assert [next(iter(json.loads(line))) for line in newest] == ["order", "keys"]


# -- a worker without a supervisor

HANGING = """
import sys, time
from wireproto.server import worker
worker.ORPHAN_LIMIT = 0.2
worker.Worker._drain_as_orphan = lambda self: time.sleep(60)
sys.exit(worker.main())
"""


def test_a_worker_whose_loop_hangs_ends_with_its_supervisor_all_the_same() -> None:
    with subprocess.Popen([sys.executable, "-c", HANGING], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 1


def test_a_worker_that_is_told_nothing_ends_without_a_word() -> None:
    command = [sys.executable, "-m", "wireproto.server.worker"]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=10, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
