"""Nodes and Sentinels that answer what redis-py does not expect: that is no answer, and ends no watch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic

import pytest

from wireproto.core.topology import NodeReport, ShardTopology
from wireproto.server.node_monitor import NodeMonitor
from wireproto.server.sentinel_watch import MOST_REPLICAS, SentinelWatch

NONSENSE = [b":5\r\n", b"$-1\r\n", b"*1\r\n$1\r\na\r\n", b"*0\r\n", b"*-1\r\n", b"garbage\r\n", b"$2\r\n\xff\xfe\r\n"]


def map_of(**fields: str) -> bytes:
    return b"*%d\r\n" % (2 * len(fields)) + b"".join(text(word) for item in fields.items() for word in item)


def text(word: str) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(word.encode()), word.encode())


HELLO = map_of(server="redis", proto="3")
MASTERS = b"*1\r\n" + map_of(name="s", flags="master", **{"config-epoch": "7"})
NO_ADDRESSES = [
    ("127.0.0.1", "0"),
    ("127.0.0.1", "70000"),
    ("", "1"),
    ("?", "1"),
    ("a:b", "1"),
    ("a\nb", "1"),
    ("\0", "1"),
]
NO_ADDRESSES += [("fe80::1%\n", "1"), ("[::1]", "1"), ("127.0.0.1", "x")]


def sentinel_naming(master: tuple[str, str], replicas: list[tuple[str, str]]) -> Callable[[list[bytes]], bytes]:
    """How a Sentinel answers that says so of the master `s`."""

    def answer(words: list[bytes]) -> bytes:
        if words[0] == b"HELLO":
            return HELLO
        if words[0] == b"SUBSCRIBE":
            return b"".join(b">3\r\n+subscribe\r\n" + text(word.decode()) + b":1\r\n" for word in words[1:])
        if words[1].lower() == b"masters":
            return MASTERS
        if words[1].lower() == b"slaves":
            return b"*%d\r\n" % len(replicas) + b"".join(map_of(ip=ip, port=port, flags="") for ip, port in replicas)
        return b"*2\r\n" + text(master[0]) + text(master[1])

    return answer


@asynccontextmanager
async def answering(nonsense: bytes | Callable[[list[bytes]], bytes]) -> AsyncIterator[str]:
    """A server that greets like Redis and answers everything else with this; its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (line := await reader.readline()) != b"":
                words = []
                for _ in range(int(line[1:])):
                    size = await reader.readline()
                    words.append((await reader.readexactly(int(size[1:]) + 2))[:-2])
                writer.write(
                    b"+OK\r\n" if words[0] == b"CLIENT" else nonsense(words) if callable(nonsense) else nonsense
                )
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"


class EventHandler(logging.Handler):
    """Tells when something has been logged."""

    def __init__(self) -> None:
        super().__init__()
        self.logged = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.logged.set()


@pytest.mark.parametrize("nonsense", NONSENSE)
async def test_a_node_that_does_not_say_what_it_is(nonsense: bytes) -> None:
    reports: list[NodeReport | None] = []
    told_twice = asyncio.Event()

    def on_report(report: NodeReport | None) -> None:
        reports.append(report)
        if len(reports) == 2:
            told_twice.set()

    async with answering(nonsense) as url:
        monitor = asyncio.create_task(NodeMonitor(url, 1.0, on_report).run(lambda: 0.01))
        async with asyncio.timeout(5):
            await told_twice.wait()
        assert not monitor.done(), "it goes on looking"
        monitor.cancel()
        await asyncio.gather(monitor, return_exceptions=True)
    assert reports[0] is None


@pytest.mark.parametrize("nonsense", NONSENSE)
async def test_a_sentinel_that_names_nobody(nonsense: bytes) -> None:
    topology = ShardTopology("s", is_watched=True)
    handler = EventHandler()
    logging.getLogger("wireproto.sentinel").addHandler(handler)
    async with answering(nonsense) as url:
        sentinel = SentinelWatch("x", url, 1.0, {"s": topology}, lambda: None, monotonic)
        watch = asyncio.create_task(sentinel.run())
        async with asyncio.timeout(5):
            await handler.logged.wait()
        assert not watch.done(), "it goes on asking"
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
    logging.getLogger("wireproto.sentinel").removeHandler(handler)
    assert topology.master is None


async def heard(master: tuple[str, str], replicas: list[tuple[str, str]]) -> ShardTopology:
    """A shard after a Sentinel has been asked about it, or has been found to be of no use."""
    topology = ShardTopology("s", is_watched=True)
    over = asyncio.Event()
    handler = EventHandler()
    handler.logged = over
    logging.getLogger("wireproto.sentinel").addHandler(handler)
    async with answering(sentinel_naming(master, replicas)) as url:
        watch = asyncio.create_task(SentinelWatch("x", url, 1.0, {"s": topology}, over.set, monotonic).run())
        async with asyncio.timeout(5):
            await over.wait()
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
    logging.getLogger("wireproto.sentinel").removeHandler(handler)
    return topology


@pytest.mark.parametrize("address", NO_ADDRESSES)
async def test_a_master_where_no_node_can_be_is_none(address: tuple[str, str]) -> None:
    assert (await heard(address, [])).master is None


async def test_replicas_where_no_node_can_be_are_left_out() -> None:
    topology = await heard(("10.0.0.1", "6379"), [("::1", "6379"), *NO_ADDRESSES[:-1], ("node-2.local", "6379")])
    assert topology.master == "10.0.0.1:6379"
    assert topology.members == ["10.0.0.1:6379", "[::1]:6379", "node-2.local:6379"]


async def test_no_sentinel_can_make_a_server_watch_more_nodes_than_it_can() -> None:
    crowd = [("10.0.1.1", str(port)) for port in range(1, 20_001)]
    assert len((await heard(("10.0.0.1", "6379"), crowd)).members) == 1 + MOST_REPLICAS
