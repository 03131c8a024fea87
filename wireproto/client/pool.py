"""The blocking client's connections: a few, made when needed, used by one thread at a time, never across a fork."""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from typing import Final

from wireproto.client.blocking_connection import BlockingConnection
from wireproto.client.connecting import tls_context, while_backing_off
from wireproto.client.options import ClientOptions
from wireproto.core.credentials import Credentials
from wireproto.core.retry import Backoff, RetryPolicy
from wireproto.errors import ConfigurationError, DeadlineError, WireprotoError

_pools: Final[weakref.WeakSet[ConnectionPool]] = weakref.WeakSet()


class ConnectionPool:
    """Lends connections. The one that was used last goes first, so that those not needed are let go by the server."""

    def __init__(self, options: ClientOptions, policy: RetryPolicy) -> None:
        self._options = options
        self._tls = tls_context(options)
        self._credentials = Credentials(options.api_key, has_certificate=options.certificate is not None)
        self._policy = policy
        self.is_closed = False
        self._begin()
        _pools.add(self)

    def _begin(self) -> None:
        """Start without connections."""
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting = 0
        """Threads that wait for `_changed`. To ask it takes longer than the rest of what is done under the lock."""
        self._idle: list[BlockingConnection] = []
        self._lent: set[BlockingConnection] = set()
        self._connecting = 0
        self._backoff = Backoff(self._policy)

    def after_fork(self) -> None:
        """In a child: its parent's connections are not its own, and its parent's locks may be held by nobody.

        Closing a descriptor here says nothing to the server: no TLS farewell is written, and the parent's stays open.
        """
        connections = [*self._idle, *self._lent]
        self._begin()
        for connection in connections:
            connection.close()

    def acquire(self, deadline: float) -> BlockingConnection:
        """A connection for the caller alone, until `release`.

        Raises ConfigurationError or a RequestError if there is none to be had in time; nothing took effect.
        """
        while True:
            connection = self._take_idle(deadline)
            if connection is None:
                return self._connect(deadline)
            if not connection.is_stale():
                return connection
            self.release(connection, reusable=False)

    def _take_idle(self, deadline: float) -> BlockingConnection | None:
        """An idle connection, or None when the caller may make one."""
        with self._lock:
            while True:
                if self.is_closed:
                    raise ConfigurationError("the client is closed")
                if self._idle:
                    connection = self._idle.pop()
                    self._lent.add(connection)
                    return connection
                if len(self._lent) + self._connecting < self._options.pool_size:
                    self._connecting += 1
                    return None
                self._wait(deadline - time.monotonic())

    def _wait(self, seconds: float) -> None:
        """Wait until something has changed. Raises DeadlineError if nothing has in that time."""
        self._waiting += 1
        try:
            if seconds <= 0 or not self._changed.wait(seconds):
                raise DeadlineError(f"not sent: all {self._options.pool_size} connections are in use")
        finally:
            self._waiting -= 1

    def _connect(self, deadline: float) -> BlockingConnection:
        """A new connection, in a place that `_take_idle` has counted."""
        connection = None
        try:
            started = time.monotonic()
            seconds, error = self._backoff.remaining(started), self._backoff.error
            if seconds and error is not None:
                raise while_backing_off(error, seconds)
            try:
                connection = BlockingConnection.open(self._options, self._tls, self._credentials, deadline)
            except DeadlineError:
                raise
            except WireprotoError as fault:
                self._backoff.failed(fault, started, time.monotonic(), random.random())  # noqa: S311 - no secret
                raise
            self._backoff.succeeded()
            return connection
        finally:
            with self._lock:
                self._connecting -= 1
                if connection is not None:
                    self._lent.add(connection)
                self._changed.notify()

    def release(self, connection: BlockingConnection, *, reusable: bool) -> None:
        """Give a connection back; one that is not reusable is closed."""
        with self._lock:
            if connection not in self._lent:
                return  # after a fork in the middle of a call
            self._lent.remove(connection)
            keep = reusable and not self.is_closed
            if keep:
                self._idle.append(connection)
            if self._waiting:
                self._changed.notify()
        if not keep:
            connection.close()

    def close(self) -> None:
        """Close what is idle now, and what is in use when it comes back."""
        with self._lock:
            self.is_closed = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        for connection in idle:
            connection.close()


def _after_fork_in_child() -> None:
    for pool in list(_pools):
        pool.after_fork()


# The only thread of a new child runs this before anything else does: no check on every call, and no race.
os.register_at_fork(after_in_child=_after_fork_in_child)
