"""Connections to nodes: the asyncio protocol around a node pipeline, kept alive.

A connection is opened, greeted, used until it breaks or is silent for too long, and opened again after a pause that
grows and is jittered. In the meantime requests for the node are refused at once.
"""

from __future__ import annotations

import asyncio
import logging
import random
from time import monotonic
from typing import Final, cast

import hiredis

from wireproto.core.node_health import NodeEvent, NodeState
from wireproto.core.node_pipeline import NodePipeline, NodeProtocolError
from wireproto.server.node_endpoint import NodeEndpoint
from wireproto.server.receive_buffer import RECEIVE_BUFFER
from wireproto.settings import Settings

SHORTEST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
"""Seconds between two attempts to connect; a node is back within about as long after it has healed."""
WRITE_HIGH_WATER: Final = 1024 * 1024
"""Bytes in a node's transport above which requests wait in the pipeline, where they are counted and bounded."""
ROLES: Final = {b"master": "master", b"slave": "replica"}
"""What ROLE answers, as WHERE tells it; clients are told nothing that a node can choose."""

log = logging.getLogger("wireproto.nodes")


class GreetingError(Exception):
    """The node is there, and not fit for use; the text says why."""


class NodeConnection:
    """One ordered connection to a node, opened again whenever it is lost."""

    def __init__(self, name: str, endpoint: NodeEndpoint, settings: Settings) -> None:
        self.name = name
        self.pipeline = NodePipeline(
            name,
            self._wake,
            max_requests=settings.max_node_queue,
            max_bytes=settings.max_node_queue_bytes,
            max_value=settings.max_value,
        )
        self.role = "unknown"
        self.connects = 0
        """How often it has been up."""
        self.first_attempt_over = asyncio.Event()
        self._endpoint = endpoint
        self._timeout = settings.node_timeout
        self._connect_timeout = settings.node_connect_timeout
        self._loop = asyncio.get_running_loop()
        self._link: _Link | None = None
        self._overdue_before = False
        self._problem = ""
        """Why it cannot be used, as logged last."""

    async def run(self) -> None:
        """Keep the connection, until cancelled."""
        pause = SHORTEST_PAUSE
        try:
            while True:
                lived = await self._live_once()
                self.first_attempt_over.set()
                pause = SHORTEST_PAUSE if lived else min(LONGEST_PAUSE, pause * 2)
                # Every worker and every connection loses a node in the same moment; they must not return in one.
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
        finally:
            if self._link is not None:
                self._drop(self._link)

    async def _live_once(self) -> bool:
        """Open the connection, greet, and stay until it is lost. Whether it was of any use."""
        self.pipeline.change(NodeEvent.TRY)
        link = self._link = _Link(self)
        try:
            async with asyncio.timeout(self._connect_timeout):
                await self._endpoint.connect(lambda: link)
                self.role = await link.greet(self._endpoint.greeting())
        except (OSError, TimeoutError, GreetingError) as error:
            problem = str(error) or type(error).__name__
            if problem != self._problem:
                log.warning("node %s cannot be used: %s", self.name, problem)
                self._problem = problem
            self._drop(link)
            return False
        self.pipeline.change(NodeEvent.GREETED)
        self.connects += 1
        self._problem = ""
        # At the start that is what everybody expects; afterwards it is news.
        level = logging.INFO if self.first_attempt_over.is_set() else logging.DEBUG
        log.log(level, "node %s is up, as %s", self.name, self.role)
        self.first_attempt_over.set()
        await link.lost
        return True

    # -- requests

    def _wake(self) -> None:
        """Something waits: send it at the end of this turn of the loop, together with what else comes until then."""
        self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what waits, in one write."""
        data = self.pipeline.data_to_send(monotonic())
        if data and self._link is not None:
            self._link.transport.write(data)

    def check_time(self, now: float) -> None:
        """Give up what is too late. To be called every few milliseconds."""
        pipeline = self.pipeline
        if pipeline.waiting:
            pipeline.give_up_late(now)
        overdue = pipeline.is_overdue(now - self._timeout)
        # After a stall of this process the answer may be there, unread: what is overdue is given one more turn.
        if overdue and self._overdue_before and self._link is not None:
            log.warning("node %s has not answered for %.0f ms", self.name, self._timeout * 1000)
            self._drop(self._link, sent_before=now - self._timeout)
            overdue = False
        self._overdue_before = overdue

    # -- what the link reports

    def stop_sending(self, link: _Link, *, stopped: bool) -> None:
        """The connection takes no more for the moment, or takes more again."""
        if link is self._link:
            self.pipeline.stopped = stopped
            if not stopped:
                self.flush()

    def received(self, link: _Link, data: memoryview) -> None:
        """Hand replies on; drop the connection when they cannot be replies."""
        if link is not self._link:
            return
        try:
            self.pipeline.receive(data, monotonic())
        except NodeProtocolError as error:
            log.error("%s", error)
            self._drop(link)

    def broken(self, link: _Link, error: Exception | None) -> None:
        """The connection has ended by itself."""
        if link is self._link:
            if self.pipeline.state is NodeState.UP:
                log.warning("the connection to node %s broke: %s", self.name, error or "closed by the node")
            self._drop(link)

    def _drop(self, link: _Link, sent_before: float = 0.0) -> None:
        if link is not self._link:
            return
        self._link = None
        self._overdue_before = False
        link.close()
        self.pipeline.lost(sent_before)


class _Link(asyncio.BufferedProtocol):
    """One life of a connection."""

    def __init__(self, owner: NodeConnection) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport
        self._owner = owner
        self._greeting: hiredis.Reader | None = hiredis.Reader()
        self._greeting_replies: asyncio.Queue[object] = asyncio.Queue()

    async def greet(self, commands: list[bytes]) -> str:
        """Send the greeting and check its replies; the node's role. Raises GreetingError."""
        self.transport.write(b"".join(commands))
        role: object = None
        for number in range(len(commands)):
            reply = await self._greeting_replies.get()
            if isinstance(reply, GreetingError):
                raise reply
            if isinstance(reply, Exception) and number < len(commands) - 1:
                raise GreetingError(str(reply))
            role = reply
        if self._greeting is None or self._greeting.has_data() or not self._greeting_replies.empty():
            # What came too early would be taken for the answer to the first request.
            raise GreetingError("it has closed, or answered more than it was asked")
        self._greeting = None
        # A user who may not ask for the role can still read and write.
        if isinstance(role, list) and role and isinstance(role[0], bytes):
            return ROLES.get(role[0], "unknown")
        return "unknown"

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
        except hiredis.ProtocolError:
            self._greeting_replies.put_nowait(GreetingError("it does not speak RESP"))

    def pause_writing(self) -> None:
        self._owner.stop_sending(self, stopped=True)

    def resume_writing(self) -> None:
        self._owner.stop_sending(self, stopped=False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._greeting_replies.put_nowait(GreetingError(str(exc or "closed by the node")))
        self._owner.broken(self, exc)
