"""What sessions ask of the world: the clock of the wall, fresh ids, the log, and STATS."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Mapping, Sequence

from wireproto.core.stamps import Stamps
from wireproto.server.address_guard import AddressGuard
from wireproto.server.audit_log import AuditLog
from wireproto.server.logs import kind_of
from wireproto.server.router import Router
from wireproto.server.statistics import Statistics

log = logging.getLogger("wireproto.server")


class ProcessSurroundings:
    """The surroundings of all sessions of this process (`core.session_context.Surroundings`)."""

    def __init__(self, router: Router, statistics: Statistics, audit_log: AuditLog, guard: AddressGuard) -> None:
        self._audit_log = audit_log
        self._stamps = Stamps(lambda: secrets.token_urlsafe(6).encode("ascii"))
        self._router = router
        self._guard = guard
        self._statistics = statistics

    def wall_clock(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def new_id(self) -> str:
        """16 random characters."""
        return secrets.token_urlsafe(12)

    def stamp(self) -> bytes:
        """16 characters that were not given out before."""
        return self._stamps.next()

    def describe_shard(self, index: int) -> tuple[Sequence[str], Mapping[str, str]]:
        """The nodes of a shard in lines of text, and role and state of its master."""
        return self._router.describe(index)

    def stats(self) -> bytes:
        """All counters and nodes, as one JSON object."""
        return self._statistics.as_json()

    def audit(self, event: str, details: Mapping[str, object]) -> None:
        """Write down who came in and who was refused. Details are names and addresses, never what a client sent."""
        self._audit_log.write(event, details)

    def wrong_credential(self, peer: str) -> None:
        """Remember the address of who sent it: it may be guessing."""
        self._guard.note_wrong(peer.rpartition(":")[0], time.monotonic())

    def report_bug(self, error: Exception | str) -> str:
        """Log what should not have happened, under an id."""
        problem = secrets.token_hex(4)
        if isinstance(error, str):
            log.error("%s: %s", problem, error)
        else:
            # Its text may quote what a client or a node has sent.
            log.error("%s: %s", problem, kind_of(error), exc_info=error)
        return problem
