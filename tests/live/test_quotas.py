"""Clients with a quota at a real server with two workers: what they get, what others notice, what the clients do."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.live.running import RawClient, RunningServer, wait_until
from wireproto import AsyncClient, Client, errors
from wireproto.core.access import NO_QUOTA, Quota
from wireproto.core.api_keys import ApiKeyRecord, hash_api_key
from wireproto.server.statistics import PUBLISHING

QUOTAS: Final = {
    "free": NO_QUOTA,
    "requests": Quota(requests=200),
    "flood": Quota(requests=200),
    "bytes": Quota(bytes=100_000),
    "replies": Quota(bytes=50_000),
    "connections": Quota(connections=4),
    "one": Quota(connections=1),
    "one-async": Quota(connections=1),
    "slow": Quota(requests=20),
    "slow-async": Quota(requests=20),
    "slower": Quota(requests=1),
}
"""A client for each test, so that none finds what another has left."""
SECONDS: Final = 3.0
LIMIT: Final = b"ERR LIMIT retry="


def api_key(client: str) -> str:
    return f"an-api-key-of-the-tests-for-{client}"


def server_with_quotas(folder: Path) -> RunningServer:
    """Two workers, and an API key for each client above."""
    state = folder / "state"
    state.mkdir(mode=0o700)
    records = [
        ApiKeyRecord(f"key-{name}", hash_api_key(api_key(name).encode()), name, "default", 0, quota=quota)
        for name, quota in QUOTAS.items()
    ]
    keys = state / "api-keys.json"
    keys.write_text(json.dumps({"keys": [record.to_json() for record in records]}))
    keys.chmod(0o600)
    server = RunningServer(folder, "--workers", "2", "--shards", "2")
    server.api_key = api_key("free")
    return server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = server_with_quotas(tmp_path_factory.mktemp("quotas"))
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log()


def connect(server: RunningServer, client: str) -> RawClient:
    return server.plain(log_in=False).log_in(api_key(client))


def login(client: str) -> bytes:
    key = api_key(client)
    return b"AUTH %d:%b\n" % (len(key), key.encode())


def limited(server: RunningServer, kind: str) -> int:
    """Refusals until now. The worker that is not asked is a moment behind, so this waits until there are no more."""
    told: list[int] = []
    while len(told) < 3 or told[-3] != told[-1]:
        with server.plain() as client:
            told.append(client.stats()["limited"][kind])  # type: ignore[index]
        time.sleep(PUBLISHING)
    return told[-1]


def on_both_workers(server: RunningServer, stack: ExitStack, client: str, count: int) -> list[RawClient]:
    """So many connections of a client. The workers share them out evenly by themselves."""
    with server.plain() as asker:

        def connections() -> list[int]:
            return [worker["connections"] for worker in asker.stats()["workers"]]  # type: ignore[attr-defined]

        wait_until(lambda: sum(connections()) == 1)
        before = connections()
        made = [stack.enter_context(connect(server, client)) for _ in range(count)]
        assert all(now > then for now, then in zip(connections(), before, strict=True))
    return made


def offer(clients: list[RawClient], request: bytes, rate: float, seconds: float) -> list[bytes]:
    """Send a request so many times a second, from all connections together; the answers.

    Who falls behind, as the machine is busy, catches up.
    """
    answers: list[bytes] = []
    end = time.monotonic() + seconds

    def talk(client: RawClient) -> None:
        due = time.monotonic()
        while due < end:
            pause = due - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            answer = client.ask(request)
            if time.monotonic() < end:
                answers.append(answer)
            due += len(clients) / rate

    threads = [threading.Thread(target=talk, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def use_up(client: RawClient, request: bytes) -> None:
    """Take what is saved up."""
    while not client.ask(request).startswith(LIMIT):
        pass


# -- what a client gets


def test_a_client_gets_its_requests_over_all_its_connections_and_workers(server: RunningServer) -> None:
    before = limited(server, "requests")
    with ExitStack() as stack:
        clients = on_both_workers(server, stack, "requests", 6)
        use_up(clients[0], b"READ 4:none\n")
        answers = offer(clients, b"READ 4:none\n", 600, SECONDS)
        passed = answers.count(b"MISS")
        print(f"{passed} of {len(answers)} passed in {SECONDS} s")
        assert 180 * SECONDS <= passed <= 220 * SECONDS
        refused = [answer for answer in answers if answer != b"MISS"]
        assert all(answer.startswith(LIMIT) for answer in refused)
        assert limited(server, "requests") - before >= len(refused) > 0
        assert clients[0].ask(b"PING\n") == b"OK"


def test_a_client_gets_its_bytes(server: RunningServer) -> None:
    request = b"WRITE 1:k 1000:%b\n" % bytes(1000)
    exchange = len(request) + len(b"OK\n")
    with ExitStack() as stack:
        clients = on_both_workers(server, stack, "bytes", 4)
        use_up(clients[0], request)
        answers = offer(clients, request, 300, SECONDS)
        passed = answers.count(b"OK") * exchange
        print(f"{passed} bytes passed in {SECONDS} s")
        assert 90_000 * SECONDS <= passed <= 110_000 * SECONDS


def test_replies_are_charged_too_and_what_was_too_much_is_paid_back(server: RunningServer) -> None:
    with server.plain() as free, connect(server, "replies") as client:
        assert free.ask(b"WRITE 3:big 200000:%b\n" % bytes(200_000)) == b"OK"
        client.send(b"READ 3:big\n")
        assert len(client.reply()) > 200_000
        answer = client.ask(b"READ 4:none\n")
        wait = int(answer.removeprefix(LIMIT).split(b" ")[0]) / 1000
        assert 2 < wait < 3.1, "there were 50,000 to begin with"
        with connect(server, "replies") as second:
            assert second.ask(b"READ 4:none\n").startswith(LIMIT)


def test_another_client_is_not_touched_by_one_that_asks_too_much(server: RunningServer) -> None:
    over = threading.Event()

    def flood(client: RawClient) -> None:
        while not over.is_set():
            client.send(b"READ 4:none\n" * 50)
            for _ in range(50):
                client.line()

    times: list[float] = []
    began = time.monotonic()
    with ExitStack() as stack:
        clients = on_both_workers(server, stack, "flood", 4)
        free = stack.enter_context(server.plain())
        threads = [threading.Thread(target=flood, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        try:
            for _ in range(300):
                started = time.monotonic()
                assert free.ask(b"READ 4:none\n") == b"MISS"
                times.append(time.monotonic() - started)
        finally:
            over.set()
            for thread in threads:
                thread.join()
    times.sort()
    print(f"median {times[150] * 1000:.2f} ms, 99th percentile {times[297] * 1000:.2f} ms")
    assert times[150] < 0.05
    assert times[-1] < 0.5
    wait_until(lambda: '"client": "flood"' in server.log())
    told = [line for line in server.log().splitlines() if '"client": "flood"' in line]
    assert 1 <= len(told) <= 2 + time.monotonic() - began, "at most one a second"


# -- connections


def test_connections_beyond_the_quota_are_refused_over_all_workers_and_live(server: RunningServer) -> None:
    with ExitStack() as stack:
        clients = on_both_workers(server, stack, "connections", 4)
        fifth = stack.enter_context(server.plain(log_in=False))
        before = limited(server, "connections")
        assert fifth.ask(login("connections")).startswith(LIMIT + b"1000 :")
        assert fifth.ask(b"READ 4:none\n").startswith(b"ERR AUTH ")
        assert fifth.ask(b"PING\n") == b"OK"
        assert limited(server, "connections") == before + 1
        assert clients[0].ask(login("connections")).startswith(b"OK "), "who has a place may renew"
        clients[1].connection.close()
        wait_until(lambda: fifth.ask(login("connections")).startswith(b"OK "))
        assert fifth.ask(b"READ 4:none\n") == b"MISS"
        assert clients[3].ask(b"READ 4:none\n") == b"MISS"


def test_the_connections_of_a_worker_that_is_killed_are_free_again(tmp_path: Path) -> None:
    server = server_with_quotas(tmp_path)
    try:
        with ExitStack() as stack:
            clients = on_both_workers(server, stack, "connections", 4)
            last = stack.enter_context(server.plain(log_in=False))
            assert last.ask(login("connections")).startswith(LIMIT)
            victim = server.stats()["workers"][0]["pid"]  # type: ignore[index]
            os.kill(victim, signal.SIGKILL)
            gone = [client for client in clients if client.ask(b"PING\n") != b"OK"]
            assert 1 <= len(gone) <= 3

            def new_ones() -> bool:
                made = stack.enter_context(server.plain(log_in=False))
                return made.ask(login("connections")).startswith(b"OK ")

            for _ in gone:
                wait_until(new_ones, timeout=10)
            assert not new_ones(), "no more than went"
    finally:
        assert server.stop() == 0


# -- both clients


def url(server: RunningServer, client: str) -> str:
    return f"wireproto+plain://{api_key(client)}@127.0.0.1:{server.plain_port}"


def test_the_error_says_when_to_come_again(server: RunningServer) -> None:
    with Client(url(server, "slower"), retries=0) as client:
        assert client.read("none") is None
        with pytest.raises(errors.LimitError) as refused:
            client.write("k", b"v")
        assert refused.value.retry_after is not None
        assert 0 < refused.value.retry_after <= 1.01
        assert refused.value.took_effect is errors.Effect.NO
    with server.plain() as free:
        assert free.ask(b"READ 4:none\n") == b"MISS"


def test_the_blocking_client_waits_as_long_as_it_is_told(server: RunningServer) -> None:
    before = limited(server, "requests")
    with Client(url(server, "slow"), timeout=5) as client:
        started = time.monotonic()
        assert [client.read("none") for _ in range(50)] == [None] * 50
        took = time.monotonic() - started
    refused = limited(server, "requests") - before
    print(f"50 requests took {took:.2f} s with {refused} refusals")
    assert took > 1.4, "20 at once, 30 at 20 a second"
    assert refused <= 30, "each was told when, and came then"


async def test_calls_at_the_same_time_are_told_to_come_one_after_the_other(server: RunningServer) -> None:
    before = limited(server, "requests")
    async with AsyncClient(url(server, "slow-async"), timeout=5) as client:
        assert await asyncio.gather(*(client.read("none") for _ in range(38))) == [None] * 38
    refused = limited(server, "requests") - before
    print(f"{refused} refusals")
    assert 18 <= refused <= 36


@pytest.mark.parametrize("kind", [Client, AsyncClient], ids=["blocking", "asyncio"])
def test_a_client_with_too_many_connections_does_not_knock_again_before_it_may(
    server: RunningServer, kind: type[Client[bytes]] | type[AsyncClient[bytes]]
) -> None:
    name = "one" if kind is Client else "one-async"

    def outcome() -> errors.LimitError:
        with pytest.raises(errors.LimitError) as refused:
            read()
        return refused.value

    with ExitStack() as stack:
        holder = stack.enter_context(server.plain(log_in=False))
        assert holder.ask(login(name)).startswith(b"OK ")
        before = limited(server, "connections")
        if kind is Client:
            client = stack.enter_context(Client(url(server, name), timeout=0.5))
            read: Callable[[], object] = lambda: client.read("none")  # noqa: E731
        else:
            runner = stack.enter_context(asyncio.Runner())
            other = AsyncClient(url(server, name), timeout=0.5)
            stack.callback(lambda: runner.run(other.close()))
            read = lambda: runner.run(_read(other))  # noqa: E731
        first, *later = [outcome() for _ in range(20)]
        assert first.retry_after == 1.0
        assert all(error.retry_after is not None and 0 < error.retry_after <= 1.0 for error in later)
        assert limited(server, "connections") == before + 1, "only the first went to the server"
        holder.connection.close()

        def is_let_in() -> bool:
            try:
                return read() is None
            except errors.RequestError:
                return False

        assert wait_until(is_let_in) > 0.3


async def _read(client: AsyncClient[bytes]) -> bytes | None:
    return await client.read("none")
