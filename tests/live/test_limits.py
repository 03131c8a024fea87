"""Clients that are slow, greedy, many, or never come to the point: each limit, and what it costs the others.

The server looks at its clocks twice a second, so a limit may be told that much late, and a busy machine adds to it.
"""

from __future__ import annotations

import resource
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import psutil
import pytest

from tests.live.running import RawClient, RunningServer, client_context, wait_until

Start = Callable[..., RunningServer]
MIB = 1024 * 1024
LATE = 4.0
"""Seconds by which a deadline may be told late: the sweep's 0.5, and a busy machine's."""


def seconds_until_closed(connection: socket.socket, act: Callable[[], object], *, every: float = 0.02) -> float:
    """Do something again and again until the server closes; how long that took."""
    started = time.monotonic()
    while time.monotonic() - started < 10:
        try:
            if select.select([connection], [], [], every)[0]:
                if not connection.recv(65536):
                    return time.monotonic() - started
            else:
                act()
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError):
            return time.monotonic() - started
    raise AssertionError("it was not closed")


def connections(server: RunningServer) -> dict[str, int]:
    found = server.stats()["connections"]
    assert isinstance(found, dict)
    return found


def closed_by(server: RunningServer, limit: str) -> int:
    return dict(server.stats()["connections"]["closed_by_limit"]).get(limit, 0)  # type: ignore[index]


@contextmanager
def measured(client: RawClient, request: bytes = b"PING 1:p\n") -> Iterator[list[float]]:
    """Meanwhile, how long another client waits for each of its answers, in seconds."""
    times: list[float] = []
    over = threading.Event()

    def measure() -> None:
        while not over.is_set():
            started = time.monotonic()
            assert client.ask(request).startswith(b"OK")
            times.append(time.monotonic() - started)
            over.wait(0.005)

    thread = threading.Thread(target=measure)
    thread.start()
    try:
        yield times
    finally:
        over.set()
        thread.join()


def assert_prompt(times: list[float], *, median: float = 0.05, worst: float = 0.5) -> None:
    assert len(times) >= 10
    assert sorted(times)[len(times) // 2] < median
    assert max(times) < worst


class Memory:
    """How much the server's memory grows, at its peak."""

    def __init__(self, server: RunningServer) -> None:
        self._process = psutil.Process(server.process.pid)
        self._before = self._process.memory_info().rss
        self.growth = 0

    def look(self) -> None:
        self.growth = max(self.growth, self._process.memory_info().rss - self._before)


# -- time


def test_without_auth_a_connection_is_closed_at_the_deadline_whatever_it_sends(start_server: Start) -> None:
    server = start_server("--shards", "1", "--auth-timeout", "1s")

    def silent(_: RawClient) -> None:
        pass

    def trickling(client: RawClient) -> None:
        client.send(b"A")

    def pinging(client: RawClient) -> None:
        client.send(b"PING\n")

    def refused(client: RawClient) -> None:
        client.send(b"READ 1:k\n")

    def run(kind: str, act: Callable[[RawClient], None]) -> float:
        with server.plain(log_in=False) if kind == "plain" else server.tls(log_in=False) as client:
            return seconds_until_closed(client.connection, lambda: act(client))

    with ThreadPoolExecutor(8) as threads:
        runs = [
            threads.submit(run, kind, act) for kind in ("plain", "tls") for act in (silent, trickling, pinging, refused)
        ]
        times = [each.result() for each in runs]
    assert min(times) > 0.9
    assert max(times) < 1 + LATE
    assert closed_by(server, "auth_timeout") == 8


@pytest.mark.parametrize("reads_a_little", [False, True])
def test_without_auth_a_flood_of_requests_does_not_put_off_the_deadline(
    start_server: Start, reads_a_little: bool
) -> None:
    server = start_server("--shards", "1", "--auth-timeout", "1s", "--stall-timeout", "20s")
    with server.plain(log_in=False) as client:
        client.connection.settimeout(0.02)
        started = time.monotonic()

        def flood() -> bool:
            try:
                client.connection.send(b"help\n" * 1000)
            except TimeoutError:
                pass
            except OSError:
                return True
            if reads_a_little:
                try:
                    client.connection.recv(20_000)
                except TimeoutError:
                    pass
                except OSError:
                    return True
            return False

        wait_until(flood, timeout=8)
        assert time.monotonic() - started < 1 + LATE


def client_hello(server: RunningServer) -> bytes:
    outgoing = ssl.MemoryBIO()
    handshake = client_context(server.ca).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        handshake.do_handshake()
    return outgoing.read()


def test_half_a_handshake_is_closed_at_the_deadline_and_holds_up_nobody(start_server: Start) -> None:
    server = start_server("--shards", "1", "--handshake-timeout", "1s")
    hello = client_hello(server)

    def run(first: bytes, trickle: bytes) -> float:
        rest = iter(trickle)
        started = time.monotonic()  # before it is accepted: a thread among forty may come late to look at the clock
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(first)
            seconds_until_closed(
                connection, lambda: connection.sendall(bytes([byte]) if (byte := next(rest, None)) is not None else b"")
            )
            return time.monotonic() - started

    with ThreadPoolExecutor(40) as threads:
        runs = [threads.submit(run, b"", b"") for _ in range(20)]
        runs += [threads.submit(run, hello[: len(hello) // 2], b"") for _ in range(10)]
        runs += [threads.submit(run, b"", hello[:-1]) for _ in range(10)]
        wait_until(lambda: connections(server)["handshaking"] == 40)
        started = time.monotonic()
        with server.tls() as client:
            assert client.ask(b"PING\n") == b"OK"
        assert time.monotonic() - started < 0.7
        times = [each.result() for each in runs]
    assert min(times) > 0.9
    assert max(times) < 1 + LATE
    counted = connections(server)
    assert counted["handshaking"] == 0
    assert counted["handshake_failures"] == 40
    assert "Traceback" not in server.log()


def test_idle_connections_are_closed_and_only_requests_count(start_server: Start) -> None:
    server = start_server("--shards", "1", "--idle-timeout", "1s")

    def run(prefix: bytes, trickle: bytes, *, tls: bool = False) -> float:
        with server.tls() if tls else server.plain() as client:
            client.send(prefix)
            return seconds_until_closed(client.connection, lambda: client.send(trickle))

    with ThreadPoolExecutor(6) as threads:
        runs = {
            "silent": threads.submit(run, b"", b""),
            "silent, TLS": threads.submit(run, b"", b"", tls=True),
            "empty lines": threads.submit(run, b"", b"\n"),
            "a value that never ends": threads.submit(run, b"WRITE 1:k 1000000:", b"v"),
            "half a request": threads.submit(run, b"READ 1:", b""),
        }
        with server.plain() as busy:
            started = time.monotonic()
            while time.monotonic() - started < 2:
                assert busy.ask(b"READ 1:k\n") == b"MISS"
                time.sleep(0.1)
        times = {name: each.result() for name, each in runs.items()}
    assert {name for name, took in times.items() if not 0.9 < took < 1 + LATE} == set(), times
    assert closed_by(server, "idle_timeout") == len(runs)


# -- how many


def test_clients_over_the_limit_are_told_so_and_counted(start_server: Start) -> None:
    limit = 5
    server = start_server("--shards", "1", "--max-connections", str(limit))
    busy = b"ERR BUSY retry=1000 :too many connections\n"
    with server.plain() as watching:

        def counted() -> dict[str, object]:
            found = watching.stats()["connections"]
            assert isinstance(found, dict)
            return found

        others = [server.plain() if number % 2 else server.tls() for number in range(limit - 1)]
        wait_until(lambda: counted()["open"] == limit)
        for number in range(10):
            with server.plain(log_in=False) if number % 2 else server.tls(log_in=False) as refused:
                refused.send(b"PING\n")
                assert refused.everything() == busy
        assert counted() | {"closed_by_limit": {}} == {
            "open": limit,
            "handshaking": 0,
            "accepted": limit + 10,
            "refused": 10,
            "handshake_failures": 0,
            "closed_by_limit": {},
        }
        for client in others:
            assert client.ask(b"PING\n") == b"OK"
            client.connection.close()
        took = wait_until(lambda: counted()["open"] == 1, timeout=2)
        assert took < 2
        again = [server.plain() if number % 2 else server.tls() for number in range(limit - 1)]
        assert [client.ask(b"PING\n") for client in again] == [b"OK"] * (limit - 1)
        for client in again:
            client.connection.close()
    assert "Traceback" not in server.log()


@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_the_third_wrong_credential_closes(server: RunningServer, kind: str) -> None:
    with server.plain(log_in=False) if kind == "plain" else server.tls(log_in=False) as client:
        client.send(b"AUTH 5:wrong\nPING\nAUTH 7:a.b.c.d\nAUTH 0:\nPING\nAUTH 5:wrong\n")
        answers = client.everything().splitlines()
    assert [answer.split(b" :")[0] for answer in answers] == [b"ERR AUTH", b"OK", b"ERR AUTH", b"ERR AUTH"]


def test_without_descriptors_the_server_lives_and_accepts_again_when_there_are_some(start_server: Start) -> None:
    server = start_server("--shards", "1")
    before = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    with server.plain() as client, ExitStack() as stack:
        in_use = steady_descriptors(server)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (in_use + 4, before[1]))
        waiting = [stack.enter_context(server.plain(log_in=False)) for _ in range(12)]
        wait_until(lambda: "cannot accept clients: Too many open files" in server.log())
        assert client.ask(b"WRITE 1:k 1:v\n") == b"OK"
        assert client.ask(b"READ 1:k\n") == b"OK 1:v"
        for served in waiting[:8]:
            served.connection.close()
        started = time.monotonic()
        for late in waiting[8:]:
            assert late.log_in(server.api_key).ask(b"READ 1:k\n") == b"OK 1:v"
        assert time.monotonic() - started < 2
        for served in waiting:
            served.connection.close()
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, before)
        with server.tls() as good:
            assert good.ask(b"READ 1:k\n") == b"OK 1:v"
    assert "Traceback" not in server.log()


def steady_descriptors(server: RunningServer) -> int:
    """How many it has open. Just after its start it opens and closes some more."""
    process = psutil.Process(server.process.pid)
    seen = [0]
    while len(seen) < 10 or len(set(seen[-10:])) > 1:
        time.sleep(0.03)
        seen.append(process.num_fds())
    return seen[-1]


# -- how much


def test_values_and_keys_of_the_limit_and_one_more(start_server: Start) -> None:
    server = start_server("--shards", "1", "--max-value", "100000", "--max-key", "100")
    for client in (server.plain(), server.tls()):
        with client:
            value, key = b"v" * 100_000, b"k" * 100
            assert client.ask(b"WRITE 100:%b 100000:%b\n" % (key, value)) == b"OK"
            assert client.ask(b"READ 100:%b\n" % key) == b"OK 100000:%b" % value
            assert client.ask(b"WRITE 100:%b 100001:%b!\n" % (key, value)).startswith(b"ERR TOOBIG :")
            assert client.ask(b"WRITE 101:%b! 1:v\n" % key).startswith(b"ERR ARG :")
            assert client.ask(b"READ 101:%b!\n" % key).startswith(b"ERR ARG :")
            assert client.ask(b"READ 100:%b\n" % key) == b"OK 100000:%b" % value
            assert client.ask(b"WRITE 1:k 6400000:%b\n" % (b"\n" * 6_400_000)).startswith(b"ERR TOOBIG :")
            assert client.ask(b"WRITE 1:k 6400001:\n").startswith(b"ERR PROTO :")
            assert client.everything() == b""


@pytest.mark.parametrize("receive_buffer", [None, 4096])
def test_clients_that_never_read_large_values_cost_little_and_are_closed(
    start_server: Start, receive_buffer: int | None
) -> None:
    # What the allocator makes of it varies by a third; what clients can make it hold does not.
    growth = min(growth_by_clients_that_never_read(start_server, receive_buffer) for _ in range(2))
    assert growth < 64 * MIB


def growth_by_clients_that_never_read(start_server: Start, receive_buffer: int | None) -> int:
    """Ten clients ask for 200 MiB each and read nothing; by how many bytes the server grew until it closed them."""
    server = start_server("--stall-timeout", "2s")
    value = b"v" * MIB
    with server.plain() as other:
        for number in range(8):
            assert other.ask(b"WRITE 5:big-%d %d:%b\n" % (number, len(value), value)) == b"OK"
        for number in range(8):  # so that what reading such values costs at all is not counted
            assert len(other.ask(b"READ 5:big-%d\n" % number)) > MIB
        memory = Memory(server)
        greedy = []
        with measured(other) as times:
            for _ in range(10):
                connection = socket.socket()
                if receive_buffer is not None:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
                connection.connect(("127.0.0.1", server.plain_port))
                connection.settimeout(10)
                client = RawClient(connection).log_in(server.api_key)
                client.send(b"".join(b"READ 5:big-%d\n" % (number % 8) for number in range(200)))
                greedy.append(client)
            started = time.monotonic()
            while closed_by(server, "stall_timeout") < 10:
                memory.look()
                assert time.monotonic() - started < 2 + 2 * LATE
                time.sleep(0.01)
            took = time.monotonic() - started
        for client in greedy:
            client.connection.close()
    print(f"memory grew by {memory.growth / MIB:.1f} MiB; closed after {took:.1f} s; worst {max(times):.3f} s")
    assert took > 1
    assert_prompt(times)
    assert connections(server)["open"] == 1
    return memory.growth


def test_a_client_that_reads_late_gets_all_its_answers_in_order(start_server: Start) -> None:
    count = 200_000
    server = start_server()
    with server.plain() as client, server.plain() as other:
        keys = [b"late-%d" % number for number in range(64)]
        for key in keys:
            assert other.ask(b"WRITE %d:%b %d:%b\n" % (len(key), key, len(key) + 4, b"is: " + key)) == b"OK"
        memory = Memory(server)
        requests = b"".join(b"READ %d:%b\n" % (len(key), key) for key in (keys[n * 7 % 64] for n in range(count)))
        expected = b"".join(b"OK %d:is: %b\n" % (len(key) + 4, key) for key in (keys[n * 7 % 64] for n in range(count)))
        client.connection.settimeout(20)
        with measured(other, b"READ 6:late-1\n") as times:
            sending = threading.Thread(target=client.send, args=(requests,))
            sending.start()
            sending.join(0.5)
            memory.look()
            heard = client.exactly(len(expected))
            sending.join()
            memory.look()
        assert heard == expected
        assert client.ask(b"PING\n") == b"OK"
    print(f"memory grew by {memory.growth / MIB:.1f} MiB; median {sorted(times)[len(times) // 2]:.4f} s")
    assert memory.growth < 32 * MIB
    assert_prompt(times)


def test_many_requests_in_flight_leave_others_their_turn(start_server: Start) -> None:
    server = start_server()
    with server.plain() as busy, server.tls() as other:
        assert other.ask(b"WRITE 7:many-01 1:v\n") == b"OK"
        over = threading.Event()

        def flood() -> None:
            batch = b"".join(b"#%d READ 7:many-%02d\n" % (number, number % 100) for number in range(10_000))
            try:
                while not over.is_set():
                    busy.send(batch)
            except OSError:
                assert over.is_set()

        def drain() -> None:
            while not over.is_set():
                busy.held = b""
                if select.select([busy.connection], [], [], 0.1)[0]:
                    busy.connection.recv(MIB)

        threads = [threading.Thread(target=flood), threading.Thread(target=drain)]
        for thread in threads:
            thread.start()
        with measured(other, b"READ 7:many-01\n") as times:
            time.sleep(1.5)
            in_flight = max(node["in_flight"] for node in other_nodes(server))
        over.set()
        threads[1].join()
        busy.connection.shutdown(socket.SHUT_RDWR)
        threads[0].join()
    print(f"median {sorted(times)[len(times) // 2]:.4f} s, worst {max(times):.4f} s")
    assert in_flight <= 4096 + 1
    assert_prompt(times)


def other_nodes(server: RunningServer) -> list[dict[str, int]]:
    nodes = server.stats()["nodes"]
    assert isinstance(nodes, list)
    return nodes


FLOODS = [b"help\n", b"stats\n", b"PING\n", b"WHERE 1:k\n", b"FROB\n", b"READ 1:k trace\n", b"\n", b" \n"]


@pytest.mark.parametrize("reads_its_answers", [True, False])
@pytest.mark.parametrize("request_line", FLOODS)
def test_a_flood_of_cheap_requests_leaves_others_their_turn(
    server: RunningServer, request_line: bytes, reads_its_answers: bool
) -> None:
    flood = request_line * (256 * 1024 // len(request_line))
    with server.plain() as greedy, server.plain() as other:
        memory = Memory(server)
        greedy.connection.settimeout(0.02)
        with measured(other) as times:
            started = time.monotonic()
            while time.monotonic() - started < 0.6:
                try:
                    greedy.connection.send(flood)
                    if reads_its_answers:
                        greedy.connection.recv(MIB)
                except TimeoutError:
                    pass  # the server has enough to do
                memory.look()
    print(f"{request_line!r}: memory grew by {memory.growth / MIB:.1f} MiB; worst {max(times):.3f} s of {len(times)}")
    assert memory.growth < 24 * MIB
    assert_prompt(times)
