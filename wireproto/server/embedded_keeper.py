"""Starts embedded nodes, and their Sentinels, again when they have ended by themselves.

A node of a shard with replicas comes back as a replica of the master of the day. The master itself does not come back
before another has taken its place: being empty, it would empty its replicas. If there is no other that could, it comes
back as the master.

What dies while this decides may leave two that take themselves for the master, or a replica of one that is none any
more. Sentinel puts that right: it makes replicas of all nodes but the one that it has as the master.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from wireproto.server.embedded_plan import NodePlan, Plan

MasterOf = Callable[[str], str | None]
"""The name of the node that is the master of a shard at this moment; None if unknown. Asked often; must not raise."""

FAILOVER_PATIENCE: Final = 30.0
"""Seconds for which a master that has ended waits for its successor. A failover takes two to three."""
STEADY: Final = 10.0
"""A node that has run for so many seconds has started well: should it end, it is started again at once."""
FIRST_PAUSE: Final = 0.1
"""Seconds before a node that has not is started again; twice as much each time, up to the longest."""
LONGEST_PAUSE: Final = 5.0
_POLL: Final = 0.05

log = logging.getLogger("wireproto.embedded")


@dataclass(slots=True)
class _Kept:
    """What is known of a process. Times are of the monotonic clock."""

    began: float
    ended: float | None = None
    pause: float = 0.0
    role: str = ""


class Keeper:
    """Decides when each is started again, and as what.

    `send` gives the order to the guard. `answers` waits until one that was started again answers, and prepares it.
    """

    def __init__(
        self,
        plan: Plan,
        master_of: MasterOf | None,
        send: Callable[[dict[str, Any]], None],
        answers: Callable[[str], Coroutine[None, None, None]],
    ) -> None:
        now = time.monotonic()
        self._plan = plan
        self._master_of = master_of or (lambda shard: plan.master_of(shard).name)
        self._send = send
        self._answers = answers
        self._kept = {name: _Kept(now) for name in (*plan.nodes, *plan.sentinels)}
        self._masters = {plan.shard: plan for plan in plan.nodes.values() if plan.role == "master"}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def ended(self, name: str) -> None:
        """A process has ended, or could not be started: it is started again, after a pause that grows each time."""
        kept = self._kept[name]
        if kept.ended is None:
            kept.ended = time.monotonic()
            if kept.ended - kept.began >= STEADY:
                kept.pause = 0.0
        pause = kept.pause
        kept.pause = min(max(2 * pause, FIRST_PAUSE), LONGEST_PAUSE)
        if not self._closed:
            self._begin(self._restart(name, kept.ended, pause))

    def started(self, name: str, pid: int) -> None:
        """The guard has started it again."""
        kept = self._kept[name]
        kept.began, kept.ended = time.monotonic(), None
        log.warning("embedded node %s was started again%s (process %d)", name, kept.role, pid)
        if not self._closed:
            self._begin(self._answers(name))

    async def close(self) -> None:
        """Start nothing any more."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _restart(self, name: str, ended: float, pause: float) -> None:
        await asyncio.sleep(pause)
        node = self._plan.nodes.get(name)
        if node is None:
            lines = self._plan.sentinels[name].lines
        elif node.port is None:
            lines = node.configuration(None)
        else:
            master, self._kept[name].role = await self._master_for(node, ended)
            lines = node.configuration(master)
        self._send({"start": name, "lines": lines})

    async def _master_for(self, node: NodePlan, ended: float) -> tuple[NodePlan | None, str]:
        """The node that one is to follow, or None if it is to be the master; and in words, what it is to be."""
        while (master := self._present_master(node.shard)) is node:
            if not self._plan.sentinels or not self._has_successor(node, ended):
                return None, " as a master"
            if time.monotonic() - ended > FAILOVER_PATIENCE:
                return None, f" as a master, since no other node became it within {FAILOVER_PATIENCE:g} s"
            await asyncio.sleep(_POLL)
        return master, f" as a replica of {master.name}"

    def _present_master(self, shard: str) -> NodePlan:
        """The master of the day; the one that was known last, where nobody knows."""
        name = self._master_of(shard)
        node = self._plan.nodes.get(name) if name is not None else None
        if node is not None and node.shard == shard:
            self._masters[shard] = node
        return self._masters[shard]

    def _has_successor(self, node: NodePlan, ended: float) -> bool:
        """Whether another node of the shard has run since before this one ended, and so may have what it had.

        Those that were started since are empty, and follow this one.
        """
        others = (self._kept[other.name] for other in self._plan.nodes.values() if other.shard == node.shard)
        return any(other.ended is None and other.began < ended for other in others)
