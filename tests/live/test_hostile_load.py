"""Crowds that mean no good, in short: they keep out nobody, hold no more than they may, and guess slowly.

`python -m bench.hostile` does the same with thousands, and measures.
"""

from __future__ import annotations

import contextlib
import itertools
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.live.running import REPOSITORY, RawClient, RunningServer, wait_until

Start = Callable[..., RunningServer]
MIB = 1024 * 1024
BUSY = b"ERR BUSY retry=1000 :too many connections\n"


def connections(client: RawClient) -> dict[str, object]:
    found = client.stats()["connections"]
    assert isinstance(found, dict)
    return found


def closed_by(client: RawClient, limit: str) -> int:
    return dict(connections(client)["closed_by_limit"]).get(limit, 0)  # type: ignore[call-overload]


@contextlib.contextmanager
def silent(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Connections that say nothing."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=10)))
            for _ in range(count)
        ]


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(5)
    try:
        return connection.recv(4096) == b""
    except ConnectionResetError:
        return True


# -- connections that do not authenticate


@pytest.mark.parametrize("door", ["TLS", "plain"])
def test_half_open_connections_give_way_and_the_oldest_first(start_server: Start, door: str) -> None:
    limit = 50
    server = start_server("--shards", "1", "--max-connections", str(limit))
    port = server.port if door == "TLS" else server.plain_port
    with server.plain() as watching, silent(port, limit - 1) as crowd:
        wait_until(lambda: sum(connections(watching)[name] for name in ("open", "handshaking")) == limit)  # type: ignore[misc]
        with server.tls() as good:
            assert good.ask(b"PING\n") == b"OK"
            assert is_closed(crowd[0])
            assert connections(watching) | {"accepted": 0} == {
                "open": 2 if door == "TLS" else limit,
                "handshaking": limit - 2 if door == "TLS" else 0,
                "accepted": 0,
                "refused": 0,
                "handshake_failures": 0,
                "closed_by_limit": {"evicted": 1},
            }
            with silent(port, 1):
                assert is_closed(crowd[1])
                assert closed_by(watching, "evicted") == 2
            assert good.ask(b"PING\n") == b"OK"
    assert "Traceback" not in server.log()


def test_only_when_all_have_authenticated_is_somebody_refused(start_server: Start) -> None:
    limit = 6
    server = start_server("--shards", "1", "--max-connections", str(limit))
    with contextlib.ExitStack() as stack:
        watching = stack.enter_context(server.plain())
        stack.enter_context(silent(server.port, 1))
        for _ in range(limit - 1):
            assert stack.enter_context(server.tls()).ask(b"PING\n") == b"OK"
        assert closed_by(watching, "evicted") == 1
        for refused in (server.plain(log_in=False), server.tls(log_in=False)):
            with refused:
                assert refused.everything() == BUSY
        assert connections(watching)["refused"] == 2
        assert connections(watching)["open"] == limit


def test_with_workers_who_has_strangers_makes_room(start_server: Start) -> None:
    limit = 20
    server = start_server("--workers", "2", "--shards", "1", "--max-connections", str(limit))
    with contextlib.ExitStack() as stack:
        watching = stack.enter_context(server.plain())
        crowd = stack.enter_context(silent(server.port, limit - 1))
        wait_until(lambda: sum(connections(watching)[name] for name in ("open", "handshaking")) == limit)  # type: ignore[misc]
        good = [stack.enter_context(server.tls()) for _ in range(limit - 1)]
        assert [client.ask(b"PING\n") for client in good] == [b"OK"] * (limit - 1)
        assert all(is_closed(each) for each in crowd)
        assert connections(watching)["refused"] == 0


# -- frames that do not end


def test_a_frame_must_end_in_time_and_no_byte_prolongs_it(start_server: Start) -> None:
    server = start_server("--shards", "1", "--frame-timeout", "1s", "--max-value", "100000")
    beginnings = {
        "a word": (True, b"REA"),
        "a value": (True, b"WRITE 1:k 90000:" + b"v" * 50_000),
        "a value that is skipped": (True, b"WRITE 1:k 900000:" + b"v" * 50_000),
        "behind requests": (True, b"READ 1:k\n" * 100 + b"READ 900:"),
        "before AUTH": (False, b"AUTH 50:"),
        "spaces": (False, b" "),
    }

    def run(log_in: bool, beginning: bytes, *, tls: bool) -> float:
        with server.tls(log_in=log_in) if tls else server.plain(log_in=log_in) as client:
            client.send(beginning)
            started = time.monotonic()
            client.connection.settimeout(0.1)
            while time.monotonic() - started < 8:
                with contextlib.suppress(TimeoutError):
                    try:
                        client.send(b"v" if beginning.strip() else b" ")
                        if not client.connection.recv(4096):
                            return time.monotonic() - started
                    except OSError as error:
                        if not isinstance(error, TimeoutError):
                            return time.monotonic() - started
            raise AssertionError("it was not closed")

    with ThreadPoolExecutor(12) as threads, server.plain() as watching:
        runs = {
            (name, tls): threads.submit(run, log_in, beginning, tls=tls)
            for name, (log_in, beginning) in beginnings.items()
            for tls in (False, True)
        }
        times = {name: each.result() for name, each in runs.items()}
        assert {name: took for name, took in times.items() if not 0.7 < took < 4} == {}
        assert closed_by(watching, "frame_timeout") == len(runs)
        assert watching.ask(b"PING\n") == b"OK"
    assert "Traceback" not in server.log()


def test_a_frame_is_not_late_while_the_server_does_not_read_it(start_server: Start) -> None:
    server = start_server("--shards", "1", "--frame-timeout", "1s", "--stall-timeout", "20s")
    with server.plain() as client:
        value = b"v" * MIB
        assert client.ask(b"WRITE 1:k %d:%b\n" % (len(value), value)) == b"OK"
        client.send(b"READ 1:k\n" * 20 + b"READ 1:")
        time.sleep(3)  # three times the deadline, in which nothing is to happen
        for _ in range(20):
            assert client.exactly(len(b"OK 1048576:\n") + MIB)[:11] == b"OK 1048576:"
        client.send(b"k\n")
        assert client.exactly(len(b"OK 1048576:\n") + MIB)[:11] == b"OK 1048576:"


# -- memory


def test_what_clients_hold_is_bounded_and_who_holds_most_goes(start_server: Start) -> None:
    budget = 32 * MIB
    server = start_server("--shards", "1", "--max-client-memory", "32MiB")
    process = psutil.Process(server.process.pid)
    with server.plain() as good, contextlib.ExitStack() as stack:
        small = stack.enter_context(server.plain())
        small.send(b"WRITE 5:small 100000:" + b"s" * 50_000)
        before = growth = process.memory_info().rss
        crowd = []
        for _ in range(100):
            client = stack.enter_context(server.plain())
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                client.send(b"WRITE 5:never %d:" % MIB + bytes(900 * 1024))
            crowd.append(client)
            growth = max(growth, process.memory_info().rss - before)
        wait_until(lambda: closed_by(good, "memory") >= 100 - budget // (900 * 1024))
        cut = closed_by(good, "memory")
        assert cut < 80
        assert connections(good)["open"] == 102 - cut
        assert growth < 2 * budget
        small.send(b"s" * 50_000 + b"\n")
        assert small.line() == b"OK"
        assert good.ask(b"WRITE 1:k 1:v\n") == b"OK"
    text = server.log()
    assert "cutting 127.0.0.1:" in text
    assert "never" not in text


# -- descriptors


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
def number_with_free_below(pid: int, free: int) -> int:
    """The number of a descriptor below which so many are free: that is what the limit goes by."""
    looks: list[set[int]] = []
    # At its start the server still opens what it keeps, and twice a second it looks at files.
    while len(looks) < 8 or len({frozenset(look) for look in looks[-8:]}) > 1:
        looks.append({int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()})
        assert len(looks) < 100
        time.sleep(0.13)
    used = looks[-1]
    return next(number for number in itertools.count() if number - sum(one < number for one in used) == free)


def test_without_descriptors_clients_are_turned_away_and_the_counters_stay_exact(start_server: Start) -> None:
    server = start_server("--shards", "1")
    pid = server.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    assert limits[0] == limits[1]
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(server.plain())
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (number_with_free_below(pid, 6), limits[1]))
        login = b"AUTH %d:%b\n" % (len(server.api_key), server.api_key.encode())
        others: list[RawClient] = []
        while (newcomer := stack.enter_context(server.plain(log_in=False))).ask(login).startswith(b"OK "):
            others.append(newcomer)
        assert 1 <= len(others) <= 6  # the server itself opens a file now and then
        for _ in range(5):
            with server.plain(log_in=False) as refused:
                assert refused.everything() == BUSY
            with socket.create_connection(("127.0.0.1", server.port), timeout=5) as refused_tls:
                assert is_closed(refused_tls)
        assert "cannot accept clients: Too many open files" in server.log()
        assert client.ask(b"WRITE 1:k 1:v\n") == b"OK"
        count = 1 + len(others)
        assert connections(client) == {
            "open": count,
            "handshaking": 0,
            "accepted": count + 11,
            "refused": 11,
            "handshake_failures": 0,
            "closed_by_limit": {},
        }
        # Connections that have not authenticated make room.
        others.pop().connection.close()
        wait_until(lambda: connections(client)["open"] == count - 1)
        with silent(server.plain_port, 1) as crowd:
            wait_until(lambda: connections(client)["open"] == count)
            others.append(stack.enter_context(server.plain()))
            assert is_closed(crowd[0])
        assert closed_by(client, "evicted") >= 1
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        with server.tls() as good:
            assert good.ask(b"READ 1:k\n") == b"OK 1:v"
    assert "Traceback" not in server.log()


def test_connections_that_do_not_fit_into_the_open_files_are_told(start_server: Start) -> None:
    few = f"import resource, sys; sys.path.insert(0, {str(REPOSITORY)!r}); "
    few += "resource.setrlimit(resource.RLIMIT_NOFILE, (150, 200)); "
    door = ("-c", few + "from wireproto.cli import main; sys.exit(main())")
    server = start_server("--shards", "1", "--max-connections", "500", door=door)
    assert "max_connections is 500, but 200 files may be open" in server.log()
    assert resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE) == (200, 200)


# -- guesses


def test_guesses_are_slowed_and_the_right_key_still_works(start_server: Start) -> None:
    server = start_server("--shards", "1")
    threads = 30

    def guess(until: float) -> int:
        guesses = 0
        while time.monotonic() < until:
            with contextlib.suppress(OSError), server.plain(log_in=False) as client:
                client.send(b"AUTH 5:wrong\n" * 3)
                guesses += client.everything().count(b"ERR AUTH")
        return guesses

    with server.plain() as here_before, ThreadPoolExecutor(threads) as pool:
        assert here_before.ask(b"WRITE 1:k 1:v\n") == b"OK"
        for each in [pool.submit(guess, time.monotonic() + 1) for _ in range(threads)]:
            each.result()
        # From now on each connection of this address waits for two seconds, and only so many may wait.
        guesses = sum(each.result() for each in [pool.submit(guess, time.monotonic() + 4) for _ in range(threads)])
        assert guesses < 4 * 16 * 3
        started = time.monotonic()
        with server.tls() as good:
            assert good.ask(b"READ 1:k\n") == b"OK 1:v"
        assert 1 < time.monotonic() - started < 4
        assert here_before.ask(b"READ 1:k\n") == b"OK 1:v"
        assert closed_by(here_before, "guesses") > 0
    assert "Traceback" not in server.log()
