"""Servers that behave badly, each in one way."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tests.client.fake_server import Peer, Script

HIT = b"OK 1:v"


async def silence(peer: Peer) -> None:
    """Takes everything and says nothing."""
    await peer.gone()


async def garbage(peer: Peer) -> None:
    """Answers in another language."""
    await peer.request()
    peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await peer.gone()


async def shifted(peer: Peer) -> None:
    """Answers each request, and one too many before."""
    frame = await peer.request()
    peer.send(b"#0 OK 5:wrong\n")
    peer.answer(frame, HIT)
    await peer.gone()


async def untagged(peer: Peer) -> None:
    """Forgets the tag."""
    await peer.request()
    peer.send(HIT + b"\n")
    await peer.gone()


async def misfitting(peer: Peer) -> None:
    """Gives every request the reply of another verb."""
    while True:
        peer.answer(await peer.request(), b"OK 1:a 1:b")


def first_connection(bad: Script, good: Script) -> Script:
    """`bad` for the first connection, `good` for the others."""

    async def script(peer: Peer) -> None:
        await (bad if peer.server.connections == 1 else good)(peer)

    return script


def refuse(line: bytes, times: int = 10**9) -> Script:
    """Answers the first requests with an error, the others with a hit (READ) or OK."""
    left = [times]

    async def script(peer: Peer) -> None:
        while True:
            frame = await peer.request()
            left[0] -= 1
            if left[0] >= 0:
                peer.answer(frame, line)
            else:
                peer.answer(frame, HIT if peer.server.heard[-1] == "READ" else b"OK")

    return script


def cut_after(count: int, stream: bytes) -> Script:
    """Answers three requests with the first `count` bytes of `stream`, then closes."""

    async def script(peer: Peer) -> None:
        for _ in range(3):
            await peer.request()
        peer.send(stream[:count])

    return script


def options_heard(heard: list[dict[str, Any]], answers: Mapping[str, bytes] = MappingProxyType({})) -> Script:
    """Notes the options of each request, and answers as `answers` says by verb: else with a hit (READ) or OK."""

    async def script(peer: Peer) -> None:
        while True:
            frame = await peer.request()
            heard.append(frame.options | {name: token.decode() for name, token in frame.tokens.items()})
            verb = peer.server.heard[-1]
            peer.answer(frame, answers.get(verb, HIT if verb == "READ" else b"OK"))

    return script


async def reset_after_request(peer: Peer) -> None:
    """Takes a request, then breaks the connection."""
    await peer.request()
    peer.reset()


async def bytewise(peer: Peer) -> None:
    """Answers READs byte by byte."""
    while True:
        frame = await peer.request()
        for byte in b"#%b OK 8:my_value\n" % frame.tag:
            peer.send(bytes((byte,)))
            await asyncio.sleep(0)


async def refused_token(peer: Peer) -> None:
    """Give a token, let one request through and close; then refuse the token, and take the API key."""
    login = await peer.request()
    if peer.server.connections == 1:
        assert login.arguments == [b"key"]
        peer.answer(login, b"OK 5:a.b.c ttl=900")
        peer.answer(await peer.request(), HIT)
        return
    assert login.arguments == [b"a.b.c"]
    peer.answer(login, b"ERR AUTH :the credential is not accepted")
    login = await peer.request()
    assert login.arguments == [b"key"]
    peer.answer(login, b"OK 5:d.e.f ttl=900")
    peer.answer(await peer.request(), HIT)
    await peer.gone()
