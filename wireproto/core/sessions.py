"""Sessions of users: their ids, their keys, and how they are read and kept."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from wireproto.core.call_plan import Call, Plan
from wireproto.core.calls import Calls
from wireproto.core.results import Versioned
from wireproto.errors import ArgumentError, ConflictError

V = TypeVar("V")

ID_BYTES: Final = 32
"""Random bytes of an id."""
MAX_TTL: Final = 10_000_000_000
_ID: Final = re.compile(r"[A-Za-z0-9_-]{43}")
"""What so many bytes are in base64url."""


@dataclass(slots=True)
class Session(Generic[V]):
    """What is kept of one user. `data` may be changed, and saved."""

    id: str
    data: V
    version: str
    """Which state of the session `data` was made from; changed by `save`."""


class SessionCalls(Generic[V]):
    """The calls of one store, whose sessions live `ttl` seconds after they were last used. Raises ArgumentError."""

    def __init__(self, calls: Calls[V], ttl: float, prefix: str) -> None:
        if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 0.001 <= ttl <= MAX_TTL:
            raise ArgumentError(f"ttl must be a number of seconds from 0.001 to {MAX_TTL}")
        self._calls = calls
        self._milliseconds = math.ceil(ttl * 1000)
        self._prefix = prefix

    def creating(self, session_id: str, data: V) -> Call[bool]:
        """Store a new session. Raises ArgumentError."""
        return self._calls.write(self._prefix + session_id, data, px=self._milliseconds, nx=True)

    def loading(self, session_id: object) -> Plan | None:
        """Read a session, which lives longer then; None: there is none with such an id."""
        if not is_session_id(session_id):
            return None
        key = f"{self._prefix}{session_id}"
        touch, read = self._calls.touch(key, px=self._milliseconds), self._calls.read_with_version(key)
        return Plan.in_a_row([touch, read])

    def loaded(self, session_id: str, plan: Plan) -> Session[V] | None:
        """What `loading` has found. Raises a RequestError."""
        found: Versioned[V] | None = plan.results()[1]
        return None if found is None else Session(session_id, found.value, found.version)

    def saving(self, session: Session[V]) -> Call[str | None]:
        """Store a session that nobody has changed or removed since. Raises ArgumentError."""
        key = f"{self._prefix}{_checked(session.id)}"
        return self._calls.compare_and_set(key, session.data, session.version, px=self._milliseconds)

    def deleting(self, session_id: object) -> Call[bool] | None:
        """Remove a session; None: there is none with such an id."""
        return self._calls.delete(f"{self._prefix}{session_id}") if is_session_id(session_id) else None


def is_session_id(value: object) -> bool:
    """Whether it has the form of an id. It comes from strangers, and must not reach any other key."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def check_created(is_stored: bool) -> None:
    """Raises ConflictError if a session of that id exists. With 256 random bits it does not, unless they are not."""
    if not is_stored:
        raise ConflictError("a session with this new id exists")


def saved(session: Session[Any], version: str | None) -> bool:
    """Note the new version. False: there is none, the session was not saved."""
    if version is not None:
        session.version = version
    return version is not None


def _checked(session_id: str) -> str:
    if not is_session_id(session_id):
        raise ArgumentError("the session has no id of a session")
    return session_id
