"""A master that has been succeeded and does not know it: for how long, and who writes to it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final

import redis
from redis.exceptions import RedisError

_LOOK: Final = 0.02
_DEMOTION: Final = 60.0


def role_and_writes(node: redis.Redis) -> tuple[str, int]:
    """What a node takes itself for, and how many SET it has been given; told in one answer. Raises RedisError."""
    info: Any = node.info("all")
    return info["role"], info.get("cmdstat_set", {}).get("calls", 0)


@dataclass(frozen=True, slots=True)
class Reign:
    """How the old master went on: seconds as a master, and the SET it was given meanwhile.

    `buffered` are those that were under way when it was stopped: it finds them when it goes on, after their clients
    have been told TIMEOUT.
    """

    seconds: float
    buffered: int
    writes: int


def watch_reign(node: redis.Redis, before: int) -> Reign:
    """Watch a node that has just been continued until it is no master any more. Raises RedisError, TimeoutError.

    `before`: how many SET it had been given when it was stopped.
    """
    started = time.monotonic()
    # It answers this after everything that was in its sockets: what comes from now on is new.
    role_and_writes(node)
    role, first = role_and_writes(node)
    latest = first
    while role == "master":
        if time.monotonic() - started > _DEMOTION:
            raise TimeoutError("the old master has not been made a replica")
        time.sleep(_LOOK)
        role, count = role_and_writes(node)
        if role == "master":
            latest = count
    return Reign(time.monotonic() - started, first - before, latest - first)


@dataclass(slots=True)
class WriteWatch:
    """Looks, in a thread, at when a node is given SET while it is a master."""

    node: redis.Redis
    last_growth: float = 0.0
    """The earliest moment after which there was none."""
    is_master: bool = True
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> WriteWatch:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        writes = -1
        while not self._over.wait(_LOOK):
            try:
                role, count = role_and_writes(self.node)
            except RedisError:
                continue
            self.is_master = role == "master"
            if not self.is_master:
                return
            if count != writes:
                writes, self.last_growth = count, time.monotonic()
