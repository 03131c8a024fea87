"""What sessions ask of the world: the clock of the wall, fresh ids, the log, and STATS."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Mapping, Sequence

from wireproto.server.router import Router
from wireproto.server.statistics import Statistics

log = logging.getLogger("wireproto.server")
audit_log = logging.getLogger("wireproto.audit")


class ProcessSurroundings:
    """The surroundings of all sessions of this process (`core.session_context.Surroundings`)."""

    def __init__(self, router: Router, statistics: Statistics) -> None:
        self._router = router
        self._statistics = statistics

    def wall_clock(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def new_id(self) -> str:
        """16 random characters."""
        return secrets.token_urlsafe(12)

    def describe_shard(self, index: int) -> tuple[Sequence[str], Mapping[str, str]]:
        """The nodes of a shard in lines of text, and role and state of its master."""
        return self._router.describe(index)

    def stats(self) -> bytes:
        """All counters and nodes, as one JSON object."""
        return self._statistics.as_json()

    def audit(self, event: str, details: Mapping[str, object]) -> None:
        """Log who came in, was refused or met a quota. The details are names and addresses, not what a client sent."""
        level = logging.WARNING if event in ("refused", "limited", "denied", "ended") else logging.DEBUG
        audit_log.log(level, "%s %s", event, json.dumps(dict(details)))

    def report_bug(self, error: Exception | str) -> str:
        """Log what should not have happened, under an id."""
        problem = secrets.token_hex(4)
        log.error("%s: %s", problem, error, exc_info=error if isinstance(error, Exception) else None)
        return problem
