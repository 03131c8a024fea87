"""Listens to a Sentinel: who is master now, and when another is about to be.

A Sentinel's messages are taken as a reason to ask, not as an answer: what it answers carries the number of its
configuration, by which a Sentinel that has missed a failover is told from one that knows.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import IPv6Address
from typing import Any, Final

from redis.exceptions import RedisError

from wireproto.core.topology import ShardTopology
from wireproto.server.node_monitor import NO_ANSWER, end_if_cancelled, open_client
from wireproto.server.node_words import why_no_answer

POLL: Final = 1.0
"""Seconds between two questions when there is no message."""
MOST_REPLICAS: Final = 100
"""Of one shard; what a Sentinel names beyond is left out. Each costs a connection of every worker, and one to look."""
SHORTEST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 1.0
"""Seconds between two attempts to reach it."""
_BEGINS: Final = "+failover-state-send-slaveof-noone"
_ENDS: Final = ("-failover-abort-no-good-slave", "-failover-abort-not-elected", "-failover-abort-slave-timeout")
_CHANNELS: Final = ("+switch-master", "+slave", "+failover-end", "+config-update-from", "+reboot", _BEGINS, *_ENDS)
"""https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel (Sentinel API, Pub/Sub messages)"""
_HOST: Final = re.compile(r"[A-Za-z0-9._:%-]{1,253}")

log = logging.getLogger("wireproto.sentinel")


class SentinelWatch:
    """One Sentinel, and the shards that it watches, by the names that it has for their masters.

    `on_change` is called after each answer. `now` is the monotonic clock.
    """

    def __init__(
        self,
        name: str,
        url: str,
        timeout: float,
        shards: Mapping[str, ShardTopology],
        on_change: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        self._name = name
        self._url = url
        self._timeout = timeout
        self._shards = shards
        self._on_change = on_change
        self._now = now
        self._asked_for = asyncio.Event()
        self._pause = SHORTEST_PAUSE
        self._problem: str | None = None

    def ask(self) -> None:
        """Ask soon: somebody has found a master that is none."""
        self._asked_for.set()

    async def run(self) -> None:
        """Listen and ask, until cancelled."""
        while True:
            try:
                await self._watch()
            except NO_ANSWER as error:
                self._tell_problem(f"cannot be asked: {why_no_answer(error)}")
            end_if_cancelled()
            await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            self._pause = min(LONGEST_PAUSE, self._pause * 2)

    async def _watch(self) -> None:
        """Listen and ask over two connections, until one fails."""
        client = open_client(self._url, self._timeout)
        messages = client.pubsub(ignore_subscribe_messages=True)
        tasks: list[asyncio.Task[None]] = []
        try:
            await messages.subscribe(*_CHANNELS)
            tasks += (asyncio.create_task(self._listen(messages)), asyncio.create_task(self._keep_asking(client)))
            for task in (await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION))[0]:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for connection in (messages, client):
                with suppress(RedisError, OSError):
                    await connection.aclose()

    async def _listen(self, messages: Any) -> None:
        while True:
            message = await messages.get_message(timeout=POLL)
            end_if_cancelled()
            if message is not None:
                self._heard(message["channel"], str(message["data"]))
                self.ask()

    async def _keep_asking(self, client: Any) -> None:
        while True:
            self._asked_for.clear()
            await self._ask(client)
            end_if_cancelled()
            self._pause = SHORTEST_PAUSE
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL):
                    await self._asked_for.wait()

    def _heard(self, channel: str, data: str) -> None:
        """Take what cannot wait for an answer."""
        if channel != _BEGINS and channel not in _ENDS:
            return
        # `slave NAME IP PORT @ MASTER-NAME IP PORT`, or `master NAME IP PORT`
        node, _, master = data.partition(" @ ")
        words = node.split()
        shard = self._shards.get(master.split()[0] if master else words[1]) if len(words) == 4 else None
        if shard is None:
            return
        if channel == _BEGINS:
            shard.failover_begins(_address(words[2], int(words[3])), self._now())
        else:
            shard.failover_ends()
        self._on_change()

    async def _ask(self, client: Any) -> None:
        masters = await client.sentinel_masters()
        unknown = [name for name in self._shards if name not in masters]
        for name, shard in self._shards.items():
            if name in masters:
                await self._ask_about(client, name, shard, masters[name])
            else:
                shard.sentinel_forgot(self._name)
        self._tell_problem(f"does not watch {', '.join(unknown)}" if unknown else "")
        self._on_change()

    async def _ask_about(self, client: Any, name: str, shard: ShardTopology, master: Mapping[str, Any]) -> None:
        # The address comes from another command, and after the number: while a failover is not over, a Sentinel that
        # leads it describes the old master under the new number.
        host, port = await client.sentinel_get_master_addr_by_name(name)
        replicas = []
        for replica in await client.sentinel_slaves(name):
            with suppress(ValueError):  # one that has not told its port yet is at port 0
                replicas.append(_address(replica["ip"], int(replica["port"])))
        shard.sentinel_said(
            self._name, int(master["config-epoch"]), _address(host, int(port)), replicas[:MOST_REPLICAS]
        )

    def _tell_problem(self, problem: str) -> None:
        if problem == self._problem:
            return
        if problem:
            log.warning("sentinel %s %s", self._name, problem)
        elif self._problem is not None:
            log.info("sentinel %s answers again", self._name)
        self._problem = problem


def _address(host: str, port: int) -> str:
    """Host and port, as people write them. Raises ValueError where no node can be."""
    if not _HOST.fullmatch(host) or not 1 <= port <= 65535:
        raise ValueError("it names a node at an address that is none")
    return f"[{IPv6Address(host)}]:{port}" if ":" in host else f"{host}:{port}"
