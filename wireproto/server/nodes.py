"""Connections to nodes: the asyncio protocol around a node pipeline, kept alive.

A connection is opened, greeted, used until it breaks or is silent for too long, and opened again after a pause that
grows and is jittered. An attempt that hangs does not hold up the next: a node that heals may never have seen what was
sent to it before. In the meantime requests are refused at once, or wait for as long as the settings allow. Where the
connection goes can change: to the master of the day.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Final

from wireproto.core.node_health import NodeEvent, NodeState
from wireproto.core.node_pipeline import NodePipeline, NodeProtocolError
from wireproto.server.node_endpoint import NodeEndpoint
from wireproto.server.node_link import GreetingError, NodeLink
from wireproto.settings import Settings

SHORTEST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 0.5
"""Seconds between the beginnings of two attempts to connect; a node is back about as soon after it has healed."""
MOST_ATTEMPTS: Final = 4
"""Under way at once. The first have all of their time, for a slow node; the last makes room for the next."""
LEAVING: Final = 0.1
"""Seconds for the answers that are under way when a connection is to go elsewhere."""

log = logging.getLogger("wireproto.nodes")
logging.getLogger("wireproto.nodes.quiet").setLevel(logging.ERROR)


def do_nothing() -> None:
    """Nobody wants to know."""


class NodeConnection:
    """One ordered connection to a node that must have this role, opened again whenever it is lost.

    `label` names it in the log. `extra_time` is how many seconds longer than usual answers may take, `hold` how many
    seconds requests wait for a node that has been lost. One that is `quiet` leaves it to others to the same node to log
    what becomes of it. `on_refused` is called when the node turns out to be no master any more.
    """

    def __init__(
        self,
        name: str,
        label: str,
        settings: Settings,
        *,
        role: str = "master",
        extra_time: float = 0.0,
        hold: float = 0.0,
        quiet: bool = False,
        on_refused: Callable[[], None] = do_nothing,
    ) -> None:
        self.pipeline = NodePipeline(
            name,
            self._wake,
            max_requests=settings.max_node_queue,
            max_bytes=settings.max_node_queue_bytes,
            max_value=settings.max_value,
            # Answers that may take longer than usual say nothing of a queue.
            max_delay=0.0 if extra_time else settings.max_node_delay,
        )
        self.connects = 0
        """How often it has been up."""
        self.first_attempt_over = asyncio.Event()
        self._label = label
        self._role = role
        self._hold = hold
        self._log = log.getChild("quiet") if quiet else log
        self._on_refused = on_refused
        self._timeout = settings.node_timeout + extra_time
        self._connect_timeout = settings.node_connect_timeout
        self._loop = asyncio.get_running_loop()
        self._endpoint: NodeEndpoint | None = None
        self._changed = asyncio.Event()
        self._retired = False
        self._attempts: list[asyncio.Task[None]] = []
        self._link: NodeLink | None = None
        self._leaves_at = 0.0
        self._overdue_before = False
        self._doubted = False
        """It has failed to answer since it last did."""
        self._problem = ""
        """Why it cannot be used, as logged last."""

    def aim(self, endpoint: NodeEndpoint | None) -> None:
        """Go there from now on, or nowhere. What is under way is given a moment to be answered."""
        if endpoint == self._endpoint:
            return
        self._endpoint = endpoint
        self._changed.set()
        self._doubted = False
        if self._link is not None:
            self._leave()
        elif endpoint is not None and self._hold:
            self.pipeline.held_until = monotonic() + self._hold

    def retire(self) -> None:
        """End for good, which also ends `run`."""
        self._retired = True
        self._endpoint = None
        self._changed.set()
        if self._link is not None:
            self._drop(self._link)

    async def run(self) -> None:
        """Keep the connection, until cancelled or retired."""
        try:
            while not self._retired:
                self._changed.clear()
                if self._endpoint is None:
                    self.first_attempt_over.set()
                    await self._changed.wait()
                else:
                    await self._keep(self._endpoint)
        finally:
            if self._link is not None:
                self._drop(self._link)

    async def _keep(self, endpoint: NodeEndpoint) -> None:
        """Have a connection to there, until it is to be elsewhere."""
        async with asyncio.TaskGroup() as group:
            pause, connects = SHORTEST_PAUSE, self.connects
            while not self._changed.is_set():
                if self._link is None:
                    self._begin_attempt(group, endpoint)
                await self._pause(pause)
                if self.connects == connects:
                    pause = min(LONGEST_PAUSE, pause * 2)
                    continue
                if self._link is not None:
                    await self._link.lost
                connects = self.connects
                pause = min(LONGEST_PAUSE, pause * 2) if self._doubted else SHORTEST_PAUSE
                await self._pause(pause)
            self._end_attempts()

    async def _pause(self, seconds: float) -> None:
        """Wait about so long, or until the connection is to go elsewhere."""
        # Every worker and every connection loses a node in the same moment; they must not return in one.
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds * random.uniform(0.5, 1.0)):  # noqa: S311 - jitter, not a secret
                await self._changed.wait()

    # -- attempts to connect, of which the first that succeeds ends the others

    def _begin_attempt(self, group: asyncio.TaskGroup, endpoint: NodeEndpoint) -> None:
        if self.pipeline.state is NodeState.DOWN:
            self.pipeline.change(NodeEvent.TRY)
        if len(self._attempts) >= MOST_ATTEMPTS:
            self._attempts[-1].cancel()
        attempt = group.create_task(self._attempt(endpoint))
        self._attempts.append(attempt)
        attempt.add_done_callback(self._attempt_over)

    def _attempt_over(self, attempt: asyncio.Task[None]) -> None:
        self._attempts.remove(attempt)
        self.first_attempt_over.set()
        if not self._attempts and self.pipeline.state is NodeState.PROBING:
            self.pipeline.lost()

    def _end_attempts(self) -> None:
        for attempt in self._attempts:
            if attempt is not asyncio.current_task():
                attempt.cancel()

    async def _attempt(self, endpoint: NodeEndpoint) -> None:
        """Open a connection and greet; then it is the one that is used."""
        link = NodeLink(self)
        try:
            async with asyncio.timeout(self._connect_timeout):
                await endpoint.connect(lambda: link)
                role, history = await link.greet(endpoint.greeting())
            if role not in (self._role, "unknown"):
                raise GreetingError(f"it is a {role}, not a {self._role}")
            # Nothing awaits from here on, so no byte of the node's can come in between.
            if not self._changed.is_set():
                self._adopt(link, role, history)
        except (OSError, TimeoutError, GreetingError) as error:
            self._log_problem(str(error) or type(error).__name__)
        finally:
            if link is not self._link:
                link.close()

    def _adopt(self, link: NodeLink, role: str, history: bytes) -> None:
        self._end_attempts()
        self._link = link
        self.pipeline.greeted(role, history, monotonic(), trusted=not self._doubted)
        self.connects += 1
        self._problem = ""
        # At the start that is what everybody expects; afterwards it is news.
        level = logging.INFO if self.first_attempt_over.is_set() else logging.DEBUG
        self._log.log(level, "node %s is %s, as %s", self._label, self.pipeline.state.value, role)
        self.flush()

    def _log_problem(self, problem: str) -> None:
        if problem != self._problem and not self._changed.is_set():
            self._log.warning("node %s cannot be used: %s", self._label, problem)
            self._problem = problem

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
            pipeline.give_up_held(now)
        overdue = pipeline.is_overdue(now - self._timeout)
        # After a stall of this process the answer may be there, unread: what is overdue is given one more turn.
        if overdue and self._overdue_before and self._link is not None:
            self._log.warning("node %s has not answered for %.0f ms", self._label, self._timeout * 1000)
            self._doubted = True
            self._drop(self._link, sent_before=now - self._timeout)
            overdue = False
        self._overdue_before = overdue
        if pipeline.refused_as_replica and self._link is not None:
            self._part(self._link, now)
        elif self._doubted:
            self._trust_again(now)

    def _trust_again(self, now: float) -> None:
        """A suspect that has answered is trusted, and so is one that nobody has asked for a while."""
        pipeline = self.pipeline
        if pipeline.state is NodeState.SUSPECT and not pipeline.in_flight and now - pipeline.greeted_at > self._timeout:
            pipeline.change(NodeEvent.ANSWERED)
        if pipeline.state is NodeState.UP:
            self._log.info("node %s is up again", self._label)
            self._doubted = False

    def _leave(self) -> None:
        """Send nothing more over this connection; another node is the master."""
        self._leaves_at = monotonic() + LEAVING
        if self._hold:
            self.pipeline.held_until = monotonic() + self._hold
        self.pipeline.no_master()
        if self._link is not None:
            self._part(self._link, monotonic())

    def _part(self, link: NodeLink, now: float) -> None:
        """End a connection that nothing more is sent over, once what is under way is answered."""
        if not self._leaves_at:
            self._log.warning("node %s refuses writes: it is not a master any more", self._label)
            self._leaves_at = now + LEAVING
            self._on_refused()
        if not self.pipeline.in_flight or now >= self._leaves_at:
            self._drop(link)

    # -- what the link reports

    def stop_sending(self, link: NodeLink, *, stopped: bool) -> None:
        """The connection takes no more for the moment, or takes more again."""
        if link is self._link:
            if stopped:
                self.pipeline.stopped = True
            else:
                self.pipeline.takes_more(monotonic())
                self.flush()

    def received(self, link: NodeLink, data: memoryview) -> None:
        """Hand replies on; drop the connection when they cannot be replies."""
        if link is not self._link:
            return
        try:
            self.pipeline.receive(data, monotonic())
        except NodeProtocolError as error:
            log.error("%s", error)
            self._drop(link)

    def broken(self, link: NodeLink, error: Exception | None) -> None:
        """The connection has ended by itself."""
        if link is self._link:
            if self.pipeline.state in (NodeState.UP, NodeState.SUSPECT):
                self._log.warning("the connection to node %s broke: %s", self._label, error or "closed by the node")
            self._drop(link)

    def _drop(self, link: NodeLink, sent_before: float = 0.0) -> None:
        if link is not self._link:
            return
        self._link = None
        self._overdue_before = False
        self._leaves_at = 0.0
        link.close()
        was_usable = self.pipeline.state in (NodeState.UP, NodeState.SUSPECT)
        self.pipeline.lost(sent_before, monotonic() + self._hold if self._hold and was_usable else 0.0)
