"""Sessions of users, kept in the cache."""

# ruff: noqa: ASYNC109 - `timeout` is the call's own, over all its attempts; it needs no task and no timer.

from __future__ import annotations

import secrets
from typing import Generic, TypeVar

from wireproto.client.aio import AsyncClient
from wireproto.client.sync import Client
from wireproto.core.sessions import ID_BYTES, Session, SessionCalls, check_created, saved

V = TypeVar("V")


class SessionStore(Generic[V]):
    """Keeps sessions that end `ttl` seconds after they were last used. Their data are what the client's codec takes.

        store = SessionStore(client, ttl=1800)
        cookie = store.create({"user": 5})
        session = store.load(cookie)

    The id is a secret: whoever has it has the session. Make a new session when a user logs in, and delete the old one.
    Every method may raise a RequestError; the constructor raises ArgumentError for what cannot work.
    """

    def __init__(self, client: Client[V], ttl: float, *, prefix: str = "session:") -> None:
        self._client = client
        self._calls = SessionCalls(client._calls, ttl, prefix)

    def create(self, data: V, *, timeout: float | None = None) -> str:
        """Keep a new session. Its id, of 43 characters that may stand in a cookie or a URL."""
        session_id = secrets.token_urlsafe(ID_BYTES)
        check_created(self._client._run(self._calls.creating(session_id, data), timeout))
        return session_id

    def load(self, session_id: str, *, timeout: float | None = None) -> Session[V] | None:
        """The session, which now lives `ttl` seconds more. None: there is none, or this is no id. One round trip."""
        plan = self._calls.loading(session_id)
        if plan is None:
            return None
        self._client._execute(plan, timeout)
        return self._calls.loaded(session_id, plan)

    def save(self, session: Session[V], *, timeout: float | None = None) -> bool:
        """Keep the changed data. False, and nothing is kept: another has changed or removed the session meanwhile."""
        return saved(session, self._client._run(self._calls.saving(session), timeout))

    def delete(self, session_id: str, *, timeout: float | None = None) -> bool:
        """End a session. False: there was none, or this is no id."""
        call = self._calls.deleting(session_id)
        return call is not None and self._client._run(call, timeout)


class AsyncSessionStore(Generic[V]):
    """As `SessionStore`, with an `AsyncClient`."""

    def __init__(self, client: AsyncClient[V], ttl: float, *, prefix: str = "session:") -> None:
        self._client = client
        self._calls = SessionCalls(client._calls, ttl, prefix)

    async def create(self, data: V, *, timeout: float | None = None) -> str:
        """Keep a new session; see `SessionStore.create`."""
        session_id = secrets.token_urlsafe(ID_BYTES)
        check_created(await self._client._run(self._calls.creating(session_id, data), timeout))
        return session_id

    async def load(self, session_id: str, *, timeout: float | None = None) -> Session[V] | None:
        """The session, which now lives `ttl` seconds more, or None; see `SessionStore.load`."""
        plan = self._calls.loading(session_id)
        if plan is None:
            return None
        await self._client._execute(plan, timeout)
        return self._calls.loaded(session_id, plan)

    async def save(self, session: Session[V], *, timeout: float | None = None) -> bool:
        """Keep the changed data, if nobody else has changed the session; see `SessionStore.save`."""
        return saved(session, await self._client._run(self._calls.saving(session), timeout))

    async def delete(self, session_id: str, *, timeout: float | None = None) -> bool:
        """End a session. False: there was none, or this is no id."""
        call = self._calls.deleting(session_id)
        return call is not None and await self._client._run(call, timeout)
