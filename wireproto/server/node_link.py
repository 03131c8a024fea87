"""One life of a connection to a node: the greeting, then bytes to and fro."""

from __future__ import annotations

import asyncio
import secrets
from typing import Final, Protocol, cast

import hiredis

from wireproto.core.commands import history_of
from wireproto.core.node_pipeline import NO_REPLY
from wireproto.server.node_endpoint import OPTIONAL
from wireproto.server.node_words import kind_of_refusal
from wireproto.server.receive_buffer import RECEIVE_BUFFER

WRITE_HIGH_WATER: Final = 1024 * 1024
"""Bytes in a node's transport above which requests wait in the pipeline, where they are counted and bounded."""
ROLES: Final = {b"master": "master", b"slave": "replica"}
"""What ROLE answers, as WHERE tells it; clients are told nothing that a node can choose."""


class GreetingError(Exception):
    """The node is there, and not fit for use; the text says why."""


class LinkOwner(Protocol):
    """Whom a link tells what happens to it."""

    def stop_sending(self, link: NodeLink, *, stopped: bool) -> None:
        """The connection takes no more for the moment, or takes more again."""

    def received(self, link: NodeLink, data: memoryview) -> None:
        """Bytes have come behind the greeting; they are good until this returns."""

    def broken(self, link: NodeLink, error: Exception | None) -> None:
        """The connection has ended by itself."""


class NodeLink(asyncio.BufferedProtocol):
    """One life of a connection; `lost` is done when it is over."""

    def __init__(self, owner: LinkOwner) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport
        self._owner = owner
        self._greeting: hiredis.Reader | None = hiredis.Reader()
        self._greeting_replies: asyncio.Queue[object] = asyncio.Queue()

    async def greet(self, commands: list[bytes]) -> tuple[str, bytes]:
        """Send the greeting and check its replies; the node's role and the id of its history. Raises GreetingError.

        Behind the commands it sends a PING, which a node that is loading or has lost its master answers with an error,
        and ROLE as if nothing were amiss. Its answer also shows that the replies are those to these commands: one too
        many, or one of another conversation, would be taken for the answer to somebody's request.
        """
        nonce = secrets.token_hex(8).encode()
        commands = [*commands, hiredis.pack_command(("PING", nonce))]  # type: ignore[arg-type]  # any length
        self.transport.write(b"".join(commands))
        replies: list[object] = []
        last = len(commands) - 1
        for number in range(len(commands)):
            reply = await self._greeting_replies.get()
            if isinstance(reply, GreetingError):
                raise reply
            if isinstance(reply, Exception):
                kind, is_optional = kind_of_refusal(str(reply)), last - OPTIONAL <= number < last
                if not is_optional or kind in ("LOADING", "BUSY"):
                    command = commands[number].split(b"\r\n", 3)[2].decode("ascii")
                    raise GreetingError(f"{kind} in answer to {command}")
            replies.append(reply)
        role, info, echo = replies[-3:]
        if echo != nonce:
            raise GreetingError("it answers something else than it was asked")
        if self._greeting is None or self._greeting.has_data() or not self._greeting_replies.empty():
            raise GreetingError("it has closed, or answered more than it was asked")
        self._greeting = None
        known = isinstance(role, list) and role and isinstance(role[0], bytes)
        return ROLES.get(role[0], "unknown") if known else "unknown", history_of(info)  # type: ignore[index]

    def close(self) -> None:
        """End the connection without waiting for anything."""
        if not self.lost.done():
            self.lost.set_result(None)
        if hasattr(self, "transport"):
            self.transport.abort()

    # -- asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)

    def get_buffer(self, sizehint: int) -> memoryview:
        return RECEIVE_BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        data = RECEIVE_BUFFER[:nbytes]
        if self._greeting is None:
            self._owner.received(self, data)
            return
        try:
            self._greeting.feed(data)  # type: ignore[arg-type]  # it takes any buffer
            while (reply := self._greeting.gets()) is not False:
                self._greeting_replies.put_nowait(reply)
        except NO_REPLY:
            self._greeting_replies.put_nowait(GreetingError("it does not speak RESP"))

    def pause_writing(self) -> None:
        self._owner.stop_sending(self, stopped=True)

    def resume_writing(self) -> None:
        self._owner.stop_sending(self, stopped=False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._greeting_replies.put_nowait(GreetingError(str(exc or "closed by the node")))
        self._owner.broken(self, exc)
