"""Who came in, from where, and what was refused and why: events for whoever has to account for it later.

With the setting `audit_log` they are lines of JSON in a file, else of the log `wireproto.audit`:

    {"time": "2026-01-31T12:00:00.123Z", "event": "refused", "peer": "10.0.0.9:50412", "reason": "...", "worker": 2}

    authenticated, renewed   peer, client, namespace, key_id, token_id, method (api_key, token, certificate)
    refused                  a credential: peer, method, reason, which the client is not told
    denied                   a request: peer, client, namespace, key_id, token_id, verb, reason, count
    limited                  requests beyond a quota: client, kind (requests, bytes, connections), count
    expired                  the token of an open connection has run out: peer, client, namespace, key_id, token_id
    ended                    it is not accepted any more, as its API key has changed: the same, and reason
    closed                   a connection that had logged in, or was closed for not doing so: the same, and reason
    lost                     so many lines (count) could not be written before this one

A client that asks again and again for what it may not have makes a line a second: `denied` and `limited` are written
at once when they come, and then not for a second, after which one line has the last of them and how many there were.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from wireproto.errors import ConfigurationError
from wireproto.server.audit_file import AuditFile
from wireproto.server.logs import one_line

PAUSE: Final = 1.0
"""Seconds between two lines of one kind for one connection, or one client where it is of a client."""
COUNTED: Final = frozenset({"denied", "limited"})
"""Events that a client can have as often as it likes."""
MOST_COUNTED: Final = 10_000
"""Connections and kinds that are counted at once; what is beyond is counted together."""
LONGEST_TEXT: Final = 300
"""Characters of a detail."""
_WARNINGS: Final = frozenset({"refused", "denied", "limited", "lost"})

log = logging.getLogger("wireproto.audit")


@dataclass(slots=True)
class _Counted:
    """Events of one kind and connection since the last line about them."""

    details: Mapping[str, object] = field(default_factory=dict)
    count: int = 0


class AuditLog:
    """The audit log of a process. `worker` is its number, if it is one of several.

    `later` calls a function after some seconds, as an event loop does: it is how the last of many events gets its line.
    Raises ConfigurationError if the file cannot be opened.
    """

    def __init__(
        self,
        path: Path | None,
        worker: int | None,
        later: Callable[[float, Callable[[], None]], object],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._file = None if path is None else AuditFile(path)
        self._worker = worker
        self._later = later
        self._now = now
        self._counted: dict[tuple[object, str], _Counted] = {}
        self._is_due = False

    def write(self, event: str, details: Mapping[str, object]) -> None:
        """Tell of an event. Details are names, numbers and addresses, never what a client has sent. Raises nothing."""
        if event not in COUNTED:
            self._write(event, details)
            return
        key = (details.get("peer", details.get("client")), event)
        if key not in self._counted and len(self._counted) >= MOST_COUNTED:
            key, details = (None, event), {"reason": "of more connections than are told apart"}
        counted = self._counted.get(key)
        if counted is None:
            self._counted[key] = _Counted()
            self._write(event, {**details, "count": 1})
            self._flush_later()
        else:
            counted.details = details
            counted.count += 1

    def flush(self) -> None:
        """Tell of what was only counted, and forget connections that have been quiet."""
        counted, self._counted = self._counted, {}
        for (peer, event), events in counted.items():
            if events.count:
                self._counted[peer, event] = _Counted()
                self._write(event, {**events.details, "count": events.count})

    def close(self) -> None:
        """Tell of what was only counted, and close the file."""
        self.flush()
        self._counted.clear()
        if self._file is not None:
            self._file.close()

    def _flush_later(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._later(PAUSE, self._flush_and_go_on)

    def _flush_and_go_on(self) -> None:
        self._is_due = False
        self.flush()
        if self._counted:
            self._flush_later()

    def _write(self, event: str, details: Mapping[str, object]) -> None:
        if self._file is None:
            level = logging.WARNING if event in _WARNINGS else logging.DEBUG
            if log.isEnabledFor(level):
                log.log(level, "%s %s", event, json.dumps(_shown(details)))
            return
        if self._file.dropped and not self._told_of_loss(self._file):
            return  # this line is counted as lost, by the attempt
        self._file.write(self._line(event, details))

    def _told_of_loss(self, file: AuditFile) -> bool:
        """Say in a line of its own how many lines were lost. Whether that was possible."""
        if not file.write(self._line("lost", {"count": file.dropped})):
            return False
        log.warning("the audit log can be written again; lines lost: %d", file.dropped)
        file.dropped = 0
        return True

    def _line(self, event: str, details: Mapping[str, object]) -> bytes:
        moment = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"time": moment, "event": event, **_shown(details)}
        if self._worker is not None:
            line["worker"] = self._worker
        return json.dumps(line).encode("ascii") + b"\n"


def check_audit_log(path: Path | None) -> None:
    """Raises ConfigurationError if there could be no audit log at this path."""
    if path is not None:
        if not path.parent.is_dir():
            raise ConfigurationError(f"audit log {path}: there is no folder {path.parent}; make it first")
        AuditFile(path).close()


def _shown(details: Mapping[str, object]) -> dict[str, Any]:
    """Details as JSON takes them: what is not there is left out, and texts are short lines."""
    return {
        name: value if isinstance(value, int | float) else one_line(str(value))[:LONGEST_TEXT]
        for name, value in details.items()
        if value is not None
    }
