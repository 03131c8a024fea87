"""How a connection to a node begins, with real nodes and users who may do little."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import hiredis
import pytest
import redis

from tests.core.scripted_node import ENGINES
from tests.live.fake_node import RealNode
from wireproto.core.scripts import SCRIPTS
from wireproto.server.node_endpoint import OPTIONAL, NodeEndpoint
from wireproto.server.node_link import GreetingError, NodeLink

LOADING = ["SCRIPT LOAD"] * len(SCRIPTS)


def said(url: str) -> list[str]:
    """The greeting of a URL, as a person would write it; scripts left out."""
    commands = []
    for packed in NodeEndpoint.from_url(url).greeting():
        reader = hiredis.Reader(encoding="utf-8", errors="replace")
        reader.feed(packed)
        words = reader.gets()
        commands.append(" ".join(words[:2] if words[0] == "SCRIPT" else words))
    return commands


@pytest.mark.parametrize(
    ("url", "first"),
    [
        ("redis://h", []),
        ("redis://h/2", ["SELECT 2"]),
        ("redis://:p@h", ["AUTH p"]),
        ("redis://u:p@h/2", ["AUTH u p", "SELECT 2"]),
    ],
)
def test_what_must_succeed_comes_before_what_may_fail(url: str, first: list[str]) -> None:
    assert said(url) == [*first, *LOADING, "ROLE", "INFO replication"]
    assert len([*LOADING, "ROLE", "INFO replication"]) == OPTIONAL


def test_all_scripts_are_loaded() -> None:
    greeting = b"".join(NodeEndpoint.from_url("redis://h").greeting())
    assert all(greeting.count(script.text) == 1 for script in SCRIPTS)


@pytest.fixture(scope="module", params=ENGINES, ids=lambda path: path.rpartition("/")[2])
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNode]:
    running = RealNode(tmp_path_factory.mktemp("node"), program=request.param)
    yield running
    running.kill()


class _Owner:
    """Whom a link tells things, which do not matter here."""

    def stop_sending(self, link: NodeLink, *, stopped: bool) -> None: ...

    def received(self, link: NodeLink, data: memoryview) -> None: ...

    def broken(self, link: NodeLink, error: Exception | None) -> None: ...


async def greet(node: RealNode, rights: str) -> tuple[str, bool, list[bool]]:
    """The role that a node has told a user with these rights, whether its history, and which scripts it has then."""
    with redis.Redis(port=node.port) as client:
        client.script_flush()
        client.execute_command("ACL", "SETUSER", "u", "reset", "on", ">p", "~*", *rights.split())
        endpoint = NodeEndpoint.from_url(node.url.replace("//", "//u:p@"))
        link = NodeLink(_Owner())
        await endpoint.connect(lambda: link)
        try:
            async with asyncio.timeout(5):
                role, history = await link.greet(endpoint.greeting())
        finally:
            link.close()
        return role, bool(history), client.script_exists(*(script.name for script in SCRIPTS))


@pytest.mark.parametrize(
    ("rights", "role", "has_history", "has_scripts"),
    [
        ("+@all", "master", True, True),
        ("+ping +script|load +role +info", "master", True, True),
        ("+ping +role +info", "master", True, False),
        ("+ping +script|load", "unknown", False, True),
        ("+ping", "unknown", False, False),
    ],
)
async def test_a_user_who_may_do_little_is_greeted(
    node: RealNode, rights: str, role: str, *, has_history: bool, has_scripts: bool
) -> None:
    assert await greet(node, rights) == (role, has_history, [has_scripts] * len(SCRIPTS))


async def test_a_user_who_may_not_even_ask_whether_it_is_there_is_told_so(node: RealNode) -> None:
    with pytest.raises(GreetingError, match=r"^NOPERM in answer to PING$"):
        await greet(node, "+@all -ping")


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        (b"+role\r\n+info\r\n$16\r\n0123456789abcdef\r\n", "something else"),
        (b"+one too many\r\n+role\r\n+info\r\n", "something else"),
        (b"+role\r\n+info\r\n+PONG\r\n", "something else"),
        (b"+role\r\n+info\r\n-LOADING it is\r\n", "^LOADING in answer to PING$"),
        (b"-LOADING it is\r\n+info\r\n$16\r\n0123456789abcdef\r\n", "^LOADING in answer to ROLE$"),
    ],
)
async def test_the_answers_must_be_those_to_this_greeting(replies: bytes, reason: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"PING")
        writer.write(b"+script\r\n" * len(SCRIPTS) + replies)
        await reader.read()
        writer.close()
        gone.set()

    gone = asyncio.Event()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        endpoint = NodeEndpoint.from_url(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        link = NodeLink(_Owner())
        await endpoint.connect(lambda: link)
        with pytest.raises(GreetingError, match=reason):
            async with asyncio.timeout(5):
                await link.greet(endpoint.greeting())
        link.close()
        await gone.wait()
