"""Both clients against a real server: every method, many of them at once, cancels, and the README's examples."""

from __future__ import annotations

import asyncio
import random
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable

import pytest

from bench.chaos.giving_up import cancel_many, time_out_many
from tests.live.running import REPOSITORY, RunningServer
from wireproto import AsyncClient, Client, Codec, Value, errors

README = (REPOSITORY / "README.md").read_text()


@pytest.mark.parametrize("plain", [False, True], ids=["TLS", "plain"])
def test_every_method_of_the_blocking_client(server: RunningServer, plain: bool) -> None:
    with Client(server.plain_url() if plain else server.url()) as client:
        assert client.ping() < 5
        client.delete_many(["one", "two", b"\x00\n"])
        assert client.read("one") is None
        assert client.write("one", b"1", ex=60)
        assert not client.write("one", b"2", nx=True)
        assert client.write("one", b"\xff\x00", keepttl=True, xx=True)
        assert client.read("one") == b"\xff\x00"
        held = client.read("one", with_ttl=True)
        assert isinstance(held, Value)
        assert held.ttl is not None
        assert 50 < held.ttl <= 60
        assert client.touch("one", px=90_000)
        assert not client.touch("two", ex=1)
        assert client.write_many({"two": b"", b"\x00\n": b"v" * 100_000}) == {"two": True, b"\x00\n": True}
        assert client.read_many(["two", b"\x00\n", "three"]) == {"two": b"", b"\x00\n": b"v" * 100_000, "three": None}
        assert client.where("one").node.startswith("shard-")
        assert client.stats()["hits"] >= 1
        with client.pipeline() as pipeline:
            first = pipeline.read("one")
            second = pipeline.delete("one")
            third = pipeline.read("one")
        assert (first.result(), second.result(), third.result()) == (b"\xff\x00", True, None)
        with pytest.raises(errors.TooBigError) as refused:
            client.write("big", b"v" * (1024 * 1024 + 1))
        assert refused.value.took_effect is errors.Effect.NO
        assert client.read("big") is None


@pytest.mark.parametrize("plain", [False, True], ids=["TLS", "plain"])
async def test_every_method_of_the_asyncio_client(server: RunningServer, plain: bool) -> None:
    url = server.plain_url() if plain else server.url()
    async with AsyncClient(url, codec=Codec.json()) as client:
        assert await client.ping() < 5
        await client.delete_many(["three", "four"])
        assert await client.read("three") is None
        assert await client.write("three", {"a": [1, None]}, px=60_000)
        assert not await client.write("three", 2, nx=True)
        assert await client.read("three") == {"a": [1, None]}
        held = await client.read("three", with_ttl=True)
        assert held is not None
        assert held.ttl is not None
        assert await client.touch("three", ex=5)
        assert await client.write_many({"four": 4}) == {"four": True}
        assert await client.read_many(["three", "four", "five"]) == {"three": {"a": [1, None]}, "four": 4, "five": None}
        assert (await client.where("three")).details["role"] == "master"
        assert (await client.stats())["version"]
        async with client.pipeline() as pipeline:
            first = pipeline.read("four")
            second = pipeline.delete("four")
        assert (first.result(), second.result()) == (4, True)
        assert await client.delete("three")
        assert not await client.delete("three")


KEYS = [f"shared-{number}" for number in range(300)]


def belongs_to(key: str, value: bytes | None) -> bool:
    return value is None or value.split(b" ", 1)[0] == key.encode()


async def mixed_operations(url: str, seed: int, count: int) -> Counter[str]:
    """Operations of one asyncio client, eight at a time; each value names its key and its writer."""
    dice, seen = random.Random(seed), Counter[str]()
    async with AsyncClient(url, timeout=20.0) as client:

        async def one(number: int) -> None:
            key, kind = dice.choice(KEYS), dice.random()
            if kind < 0.5:
                value = await client.read(key)
                assert belongs_to(key, value), (key, value)
                seen["hit" if value else "miss"] += 1
            elif kind < 0.8:
                filler = b"x" * dice.choice([0, 10, 1000, 20_000])
                assert await client.write(key, f"{key} {seed} {number} ".encode() + filler, ex=60)
                seen["write"] += 1
            elif kind < 0.9:
                found = await client.read_many(dice.sample(KEYS, 5))
                assert all(belongs_to(name, value) for name, value in found.items())  # type: ignore[arg-type]
                seen["many"] += 1
            else:
                await client.delete(key)
                seen["delete"] += 1

        for start in range(0, count, 8):
            await asyncio.gather(*(one(number) for number in range(start, min(start + 8, count))))
    return seen


def mixed_blocking(url: str, seed: int, count: int, wrong: list[object]) -> None:
    """The same by one blocking client."""
    dice = random.Random(seed)
    try:
        with Client(url, timeout=20.0) as client:
            for number in range(count):
                key = dice.choice(KEYS)
                if dice.random() < 0.6:
                    value = client.read(key)
                    assert belongs_to(key, value), (key, value)
                else:
                    assert client.write(key, f"{key} {seed} {number}".encode(), ex=60)
    except BaseException as error:
        wrong.append(error)


async def test_ten_thousand_operations_of_fifty_clients_at_once(server: RunningServer) -> None:
    wrong: list[object] = []
    threads = [threading.Thread(target=mixed_blocking, args=(server.url(), seed, 200, wrong)) for seed in range(10)]
    for thread in threads:
        thread.start()
    seen = await asyncio.gather(*(mixed_operations(server.url(), 100 + seed, 200) for seed in range(40)))
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert not wrong
    total = sum(seen, Counter())
    assert total.total() == 8000
    assert min(total["hit"], total["miss"], total["write"], total["delete"], total["many"]) > 100


async def test_ten_thousand_cancels_shift_nobodys_answer(server: RunningServer) -> None:
    outcomes = await cancel_many(server.url(), 10_000, within=0.01)
    assert outcomes["cancelled"] + outcomes["timed out"] >= 10_000
    assert min(outcomes["cancelled"], outcomes["timed out"], outcomes["answered"]) > 100, outcomes


def test_time_outs_of_threads_shift_nobodys_answer(server: RunningServer) -> None:
    outcomes = time_out_many(server.plain_url(), 300, within=0.02)
    assert outcomes["timed out"] >= 300
    assert outcomes["answered"] > 10


async def test_tokens_are_renewed_in_mid_stream(start_server: Callable[..., RunningServer]) -> None:
    server = start_server("--token-lifetime", "2s")
    async with AsyncClient(server.url()) as client:
        with Client(server.url()) as blocking:
            assert await client.write("renewed", b"v")
            for _ in range(45):
                assert await client.read("renewed") == b"v"
                assert blocking.read("renewed") == b"v"
                await asyncio.sleep(0.1)
            stats = blocking.stats()
    assert stats["requests"]["AUTH"]["OK"] >= 4
    assert "EXPIRED" not in stats["requests"].get("READ", {})


def test_clients_outlive_a_server(start_server: Callable[..., RunningServer]) -> None:
    key = {"WIREPROTO_API_KEY": "a-key-for-two-servers"}
    first = start_server(environment=key)
    with Client(f"wireproto+plain://a-key-for-two-servers@127.0.0.1:{first.plain_port}", timeout=10.0) as client:
        client.write("here", b"before")
        assert first.stop() == 0
        with pytest.raises(errors.RequestError) as refused:
            client.read("here", timeout=0.5)
        assert refused.value.took_effect is errors.Effect.NO
        start_server("--plain-port", str(first.plain_port), environment=key)
        assert client.read("here") is None
        assert client.write("here", b"after")


def test_a_wrong_key_is_told_as_such(server: RunningServer) -> None:
    with (
        Client(f"wireproto://not-the-right-key@localhost:{server.port}?ca={server.ca}") as client,
        pytest.raises(errors.AuthError),
    ):
        client.read("k")


def test_a_server_that_cannot_be_verified_gets_no_key(server: RunningServer) -> None:
    before = server.stats()["requests"]["AUTH"]  # type: ignore[index]
    with (
        Client(f"wireproto://{server.api_key}@localhost:{server.port}") as client,
        pytest.raises(errors.WireprotoError),
    ):
        client.read("k", timeout=2.0)
    after = server.stats()["requests"]["AUTH"]  # type: ignore[index]
    assert after["OK"] == before["OK"] + 1, "only the second login for STATS"


def test_the_command_line(server: RunningServer) -> None:
    def run(*words: str, typed: bytes = b"") -> tuple[int, bytes]:
        command = [sys.executable, str(REPOSITORY / "client.py"), *words]
        environment = {"WIREPROTO_URL": server.url(), "PATH": ""}
        done = subprocess.run(command, input=typed, capture_output=True, timeout=20, check=False, env=environment)
        return done.returncode, done.stdout

    run("delete", "shell")
    assert run("read", "shell") == (1, b"")
    assert run("write", "shell", "my_value", "--ex", "60")[0] == 0
    assert run("read", "shell") == (0, b"my_value")
    assert run("write", "shell", typed=b"\x00\n\xff")[0] == 0
    assert run("read", "shell") == (0, b"\x00\n\xff")
    assert run("touch", "shell", "--ex", "5")[0] == 0
    assert run("ping")[0] == 0
    assert b"shard-" in run("where", "shell")[1]
    assert b'"nodes"' in run("stats")[1]
    assert run("delete", "shell")[0] == 0
    assert run("delete", "shell")[0] == 1
    assert run("frobnicate")[0] == 2


@pytest.mark.parametrize("name", re.findall(r"<!-- example: (\w+) -->", README))
def test_the_examples_of_the_readme(server: RunningServer, name: str) -> None:
    code = README.split(f"<!-- example: {name} -->")[1].split("```python\n")[1].split("```")[0]
    url = "wireproto://KEY@localhost:7379?ca=certs/ca.pem"
    assert url in code
    program = code.replace(url, server.url())
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=20, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr.decode()
    if name == "blocking":
        assert done.stdout.splitlines()[0] == b"b'Ada'"
