"""Several workers behind one address: they share clients, limits, tokens and counters, and none is missed for long."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from tests.live.running import REPOSITORY, RawClient, RunningServer, keys_by_node, wait_until

StartServer = Callable[..., RunningServer]
Stats = dict[str, object]
BY_MAIN = "import sys; from wireproto.cli import main; sys.exit(main())"


@pytest.fixture(autouse=True)
def temporary_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where servers put the folders of their nodes; nothing may stay there."""
    with tempfile.TemporaryDirectory(prefix="workers-") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartServer]:
    """Starts a server with two workers."""
    started: list[RunningServer] = []

    def start_server(*flags: str, **keywords: object) -> RunningServer:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(RunningServer(folder, "--workers", "2", "--shards", "2", *flags, **keywords))  # type: ignore[arg-type]
        return started[-1]

    yield start_server
    for server in started:
        server.stop()
        assert "Traceback" not in server_log(server)


def server_log(server: RunningServer) -> str:
    return (server.folder / "errors.log").read_text()


def workers(server: RunningServer) -> list[dict[str, int]]:
    """What STATS says of the workers."""
    found = server.stats()["workers"]
    assert isinstance(found, list)
    return found


def pids(server: RunningServer) -> list[int]:
    return [worker["pid"] for worker in workers(server)]


def family(server: RunningServer) -> list[int]:
    """The processes that a server has started, and those that they have."""
    return [process.pid for process in psutil.Process(server.process.pid).children(recursive=True)]


def lives(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def worker_of(client: RawClient, candidates: list[int]) -> int:
    """The process that has the other end of a connection, which may wait a moment to be accepted."""
    port = client.connection.getsockname()[1]
    found: list[int] = []

    def is_accepted() -> bool:
        for pid in candidates:
            connections = psutil.Process(pid).net_connections("tcp")
            if any(one.raddr and one.raddr.port == port for one in connections):
                found.append(pid)
        return bool(found)

    wait_until(is_accepted)
    return found[0]


def client_of_each(server: RunningServer, stack: ExitStack, connect: Callable[[], RawClient]) -> dict[int, RawClient]:
    """A client of every worker."""
    candidates = pids(server)
    found: dict[int, RawClient] = {}
    deadline = time.monotonic() + 10
    while len(found) < len(candidates):
        assert time.monotonic() < deadline, "one worker takes all"
        client = stack.enter_context(connect())
        found.setdefault(worker_of(client, candidates), client)
    return found


def wait_for_replacement(server: RunningServer, dead: int, timeout: float = 10) -> float:
    """Wait until all workers serve again; how many seconds that took."""

    def is_replaced() -> bool:
        now = pids(server)
        return len(now) == 2 and dead not in now

    return wait_until(is_replaced, timeout)


def count(stats: Stats, *path: str) -> int:
    for name in path:
        stats = stats.get(name, {})  # type: ignore[assignment]
    return stats or 0  # type: ignore[return-value]


# -- the start


def test_the_default_is_one_worker_per_core_and_ready_soon(tmp_path: Path) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    started = time.monotonic()
    server = RunningServer(tmp_path, "--workers", "auto")
    took = time.monotonic() - started
    try:
        print(f"ready {took:.2f} s after the start of the process")
        assert took < 5
        assert len(workers(server)) == cores
        told = [line for line in server.lines if line.startswith("workers: ")]
        assert told == ([f"workers: {cores} (processes {' '.join(map(str, pids(server)))})"] if cores > 1 else [])
    finally:
        assert server.stop() == 0


def test_one_worker_is_the_process_itself(tmp_path: Path) -> None:
    server = RunningServer(tmp_path, "--workers", "1", "--shards", "1")
    try:
        assert not any(line.startswith("workers") for line in server.lines)
        assert not any("server.worker" in " ".join(psutil.Process(pid).cmdline()) for pid in family(server))
        (worker,) = workers(server)
        assert worker["pid"] == server.process.pid
        assert worker["restarts"] == 0
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize("number", ["1", "3"])
def test_what_only_a_worker_can_find_wrong_is_told_as_ever(tmp_path: Path, number: str) -> None:
    url = "a=rediss://127.0.0.1:1/0?ssl_ca_certs=/no/such/file"
    with pytest.raises(AssertionError, match="did not start"):
        RunningServer(tmp_path, "--workers", number, "--node", url)
    log = (tmp_path / "errors.log").read_text()
    assert log == "wireproto: the certificates of a node's URL cannot be loaded: [Errno 2] No such file or directory\n"
    assert not (tmp_path / "state").exists(), "no API key has been made that nobody was shown"


def test_secrets_stand_in_no_workers_arguments_or_environment(start: StartServer) -> None:
    secret = "a-key-that-somebody-chose-0123456789abcdef"
    server = start(environment={"WIREPROTO_API_KEY": secret})
    with server.plain(log_in=False) as client:
        assert client.log_in(secret).ask(b"PING\n") == b"OK"
        server.api_key = secret
    for pid in pids(server):
        process = psutil.Process(pid)
        assert secret not in " ".join(process.cmdline())
        assert not [name for name in process.environ() if name.startswith("WIREPROTO_")]


# -- what workers share


def test_workers_share_clients_out(start: StartServer) -> None:
    server = start()
    with ExitStack() as stack:
        for connect in [server.plain, server.tls] * 8:
            stack.enter_context(connect())
        shares = [worker["connections"] for worker in workers(server)]
        assert sum(shares) == 17
        assert min(shares) >= 4, "each client has gone to the worker with fewer, unless that had no time"


def test_a_token_of_one_worker_is_good_at_the_other(start: StartServer) -> None:
    server = start()
    with ExitStack() as stack:
        first, second = client_of_each(server, stack, lambda: server.plain(log_in=False)).values()
        answer = first.ask(b"AUTH %d:%b\n" % (len(server.api_key), server.api_key.encode()))
        token = answer.split(b":", 1)[1].split(b" ")[0]
        assert second.ask(b"PING\n") == b"OK"
        assert second.ask(b"AUTH %d:%b\n" % (len(token), token)).startswith(b"OK ")
        assert first.ask(b"WRITE 1:k 1:v\n") == b"OK"
        assert second.ask(b"READ 1:k\n") == b"OK 1:v"


def test_the_limit_on_connections_is_for_all_workers_together(start: StartServer) -> None:
    server = start("--max-connections", "6")
    with ExitStack() as stack:
        clients = [stack.enter_context(connect()) for connect in [server.plain, server.tls] * 3]
        candidates = [worker["pid"] for worker in clients[0].stats()["workers"]]  # type: ignore[attr-defined]
        owners = [worker_of(client, candidates) for client in clients]
        assert set(owners) == set(candidates)
        for _ in range(10):
            with server.plain(log_in=False) as refused:
                assert refused.everything().startswith(b"ERR BUSY ")
        assert [client.ask(b"PING\n") for client in clients] == [b"OK"] * 6
        wait_until(lambda: clients[0].stats()["connections"]["refused"] == 10)  # type: ignore[index]
        assert clients[0].stats()["connections"]["open"] == 6  # type: ignore[index]
        # The places of a worker that is killed are free again.
        os.kill(owners[1], signal.SIGKILL)
        survivors = [client for client, owner in zip(clients, owners, strict=True) if owner != owners[1]]
        wait_until(lambda: owners[1] not in [worker["pid"] for worker in survivors[0].stats()["workers"]])  # type: ignore[attr-defined]
        for _ in range(6 - len(survivors)):
            assert stack.enter_context(server.plain()).ask(b"PING\n") == b"OK"
        with server.plain(log_in=False) as refused:
            assert refused.everything().startswith(b"ERR BUSY ")


def test_stats_add_up_and_what_was_told_is_never_taken_back(start: StartServer) -> None:
    server = start()
    with ExitStack() as stack:
        clients = client_of_each(server, stack, server.plain)
        for client in clients.values():
            client.send(b"WRITE 1:k 1:v\n" + b"READ 1:k\n" * 10 + b"READ 4:none\n" * 5)
            assert client.exactly(3 + 10 * 7 + 5 * 5).endswith(b"MISS\n" * 5)
        wait_until(lambda: count(server.stats(), "requests", "READ", "OK") == 20)
        for client in clients.values():
            stats = client.stats()
            assert stats["requests"]["READ"] == {"OK": 20, "MISS": 10}  # type: ignore[index]
            assert stats["requests"]["WRITE"] == {"OK": 2}  # type: ignore[index]
            assert (stats["hits"], stats["misses"]) == (20, 10)
            assert stats["pid"] == server.process.pid
            assert [node["connects"] for node in stats["nodes"]] == [2, 2]  # type: ignore[attr-defined]
            assert {worker["pid"] for worker in stats["workers"]} == set(clients)  # type: ignore[attr-defined]
        victim, doomed = clients.popitem()
        (survivor,) = clients.values()
        doomed.send(b"READ 1:k\n" * 100)
        assert doomed.exactly(700) == b"OK 1:v\n" * 100
        told = doomed.stats()
        os.kill(victim, signal.SIGKILL)
        while len(survivor.stats()["workers"]) < 2 or victim in pids(server):  # type: ignore[arg-type]
            now = survivor.stats()
            assert count(now, "hits") == count(told, "hits") == 120
            assert count(now, "bytes_in") >= count(told, "bytes_in")
            assert count(now, "connections", "accepted") >= count(told, "connections", "accepted")
        wait_until(lambda: [node["connects"] for node in survivor.stats()["nodes"]] == [3, 3])  # type: ignore[attr-defined]
        now = survivor.stats()
        assert count(now, "hits") == 120, "its successor counts on from there"
        assert sorted(worker["restarts"] for worker in now["workers"]) == [0, 1]  # type: ignore[attr-defined]
        assert [node["connections"] for node in now["nodes"]] == [2, 2]  # type: ignore[attr-defined]


def test_a_new_certificate_reaches_all_workers(start: StartServer) -> None:
    soon = "from wireproto.server import certificate_care; certificate_care.RENEWAL_CHECK = 0.05; "
    server = start(door=("-c", soon + BY_MAIN))
    file = server.folder / "certs" / "server.pem"
    old = file.read_bytes()
    with ExitStack() as stack:
        before = client_of_each(server, stack, server.tls)
        file.unlink()
        wait_until(lambda: file.exists() and file.read_bytes() != old)
        new = ssl.PEM_cert_to_DER_cert(file.read_text())

        def has_it(client: RawClient) -> bool:
            assert isinstance(client.connection, ssl.SSLSocket)
            return client.connection.getpeercert(binary_form=True) == new

        wait_until(lambda: all(map(has_it, client_of_each(server, stack, server.tls).values())), timeout=10)
        assert not any(map(has_it, before.values()))
        assert [client.ask(b"PING\n") for client in before.values()] == [b"OK", b"OK"]


# -- the end of a worker


def time_to_start_a_process() -> float:
    """Seconds until a process has loaded what a worker needs, on the machine as busy as it is."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import wireproto.server.worker"], check=True, cwd=REPOSITORY)
    return time.monotonic() - began


def test_a_worker_that_is_killed_is_replaced_at_once_and_the_others_clients_notice_nothing(start: StartServer) -> None:
    server = start()
    took: list[float] = []
    starts: list[float] = []
    for _ in range(2):
        with ExitStack() as stack:
            clients = client_of_each(server, stack, server.plain)
            victim = min(clients)
            doomed, other = clients.pop(victim), clients.popitem()[1]
            slowest, stop = [0.0], threading.Event()
            wrong: list[bytes] = []

            def talk(client: RawClient = other) -> None:
                while not stop.is_set():  # noqa: B023 - joined before the next round
                    before = time.monotonic()
                    answer = client.ask(b"READ 4:none\n")
                    slowest[0] = max(slowest[0], time.monotonic() - before)  # noqa: B023
                    if answer != b"MISS":
                        wrong.append(answer)  # noqa: B023
                        return

            thread = threading.Thread(target=talk)
            thread.start()
            os.kill(victim, signal.SIGKILL)
            took.append(wait_for_replacement(server, victim))
            stop.set()
            thread.join()
            starts.append(time_to_start_a_process())
            assert doomed.everything() == b""
            assert wrong == []
            assert slowest[0] < 0.5
    print(f"replaced within {took} s; a process takes {starts} s to start")
    # A new process is most of it, and takes 0.3 s or, on a busy machine, several times as long.
    assert any(each < max(1.0, 0.5 + 2 * start_of_one) for each, start_of_one in zip(took, starts, strict=True))
    assert server_log(server).count("was killed by signal 9; another is started now") == 2
    assert server_log(server).count("is ready") == 2


def test_clients_that_wait_to_be_accepted_are_served_by_the_successors(start: StartServer) -> None:
    server = start()
    before = pids(server)
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    with ExitStack() as stack:
        waiting = [stack.enter_context(server.plain(log_in=False)) for _ in range(20)]
        for client in waiting:
            client.send(b"PING\n")
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        assert [client.line() for client in waiting] == [b"OK"] * 20
    assert not set(pids(server)) & set(before)


def test_no_client_waits_for_a_worker_that_hangs(start: StartServer) -> None:
    server = start()
    hanging = pids(server)[0]
    os.kill(hanging, signal.SIGSTOP)
    try:
        started = time.monotonic()
        with ExitStack() as stack:
            for _ in range(20):
                assert stack.enter_context(server.plain()).ask(b"PING\n") == b"OK"
        assert time.monotonic() - started < 3
    finally:
        os.kill(hanging, signal.SIGCONT)


def test_a_worker_that_is_asked_to_end_drains_and_is_replaced(start: StartServer) -> None:
    server = start("--node-timeout", "10s")
    with ExitStack() as stack:
        clients = client_of_each(server, stack, server.plain)
        (key,) = keys_by_node(next(iter(clients.values())))["shard-1"]
        (victim, leaving), (_, other) = clients.items()
        node = server.node_pid("shard-1")
        os.kill(node, signal.SIGSTOP)
        try:
            leaving.send(b"#1 READ %d:%b\n" % (len(key), key))
            assert leaving.ask(b"#2 PING\n") == b"#2 OK"
            os.kill(victim, signal.SIGTERM)
            wait_until(lambda: leaving.ask(b"#3 PING\n").startswith(b"#3 ERR CLOSING "))
            assert other.ask(b"PING\n") == b"OK"
        finally:
            os.kill(node, signal.SIGCONT)
        assert leaving.line() == b"#1 MISS"
        wait_for_replacement(server, victim)
        assert other.ask(b"PING\n") == b"OK"
    assert "ended with code 0; another is started now" in server_log(server)


# -- the end of all


@pytest.mark.parametrize("how", ["SIGTERM", "Ctrl-C"])
def test_a_signal_drains_all_workers(start: StartServer, temporary_files: Path, how: str) -> None:
    group = "import os; os.setpgid(0, 0); "
    server = start("--node-timeout", "10s", door=("-c", group + BY_MAIN))
    everybody = family(server)
    assert len(everybody) == 2 + 1 + 2, "workers, guard, nodes"
    with ExitStack() as stack:
        clients = list(client_of_each(server, stack, server.tls).values())
        (key,) = keys_by_node(clients[0])["shard-1"]
        idle = stack.enter_context(server.plain())
        node = server.node_pid("shard-1")
        os.kill(node, signal.SIGSTOP)
        try:
            for client in clients:
                client.send(b"#before WRITE %d:%b 1:v\n" % (len(key), key))
                assert client.ask(b"#ping PING\n") == b"#ping OK"
            if how == "Ctrl-C":
                os.killpg(server.process.pid, signal.SIGINT)
            else:
                server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: refuses(server.port) and refuses(server.plain_port))
            for client in clients:
                wait_until(lambda client=client: client.ask(b"#after PING\n").startswith(b"#after ERR CLOSING "))  # type: ignore[misc]
        finally:
            os.kill(node, signal.SIGCONT)
        for client in clients:
            assert client.everything() == b"#before OK\n"
        assert idle.everything() == b""
    assert server.process.wait(10) == 0
    assert not any(map(lives, everybody))
    assert list(temporary_files.iterdir()) == []


def test_a_second_signal_ends_all_at_once(start: StartServer, temporary_files: Path) -> None:
    server = start("--node-timeout", "1m")
    everybody = family(server)
    with ExitStack() as stack:
        clients = list(client_of_each(server, stack, server.plain).values())
        (key,) = keys_by_node(clients[0])["shard-1"]
        os.kill(server.node_pid("shard-1"), signal.SIGSTOP)
        for client in clients:
            client.send(b"READ %d:%b\n" % (len(key), key))
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses(server.port))
        assert server.stop(signal.SIGTERM) == 128 + signal.SIGTERM
        wait_until(lambda: not any(map(lives, everybody)), timeout=3)
    assert list(temporary_files.iterdir()) == []


def test_a_worker_that_hangs_does_not_hold_up_the_end(start: StartServer) -> None:
    server = start("--drain-timeout", "100ms")
    hanging = pids(server)[0]
    os.kill(hanging, signal.SIGSTOP)
    started = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - started < 5
    assert not lives(hanging)
    assert "workers that have not drained in time and are killed: 1" in server_log(server)


def test_nothing_outlives_a_supervisor_that_is_killed(start: StartServer, temporary_files: Path) -> None:
    server = start("--node-timeout", "1m")
    everybody = family(server)
    with ExitStack() as stack:
        clients = list(client_of_each(server, stack, server.tls).values())
        (key,) = keys_by_node(clients[0])["shard-1"]
        os.kill(server.node_pid("shard-1"), signal.SIGSTOP)
        clients[0].send(b"READ %d:%b\n" % (len(key), key))
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
        took = wait_until(lambda: not any(map(lives, everybody)), timeout=5)
    print(f"gone within {took:.2f} s")
    assert refuses(server.port)
    assert refuses(server.plain_port)
    assert list(temporary_files.iterdir()) == []
