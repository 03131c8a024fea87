"""The asyncio client's one connection: made when needed, shared by all callers of one event loop."""

from __future__ import annotations

import asyncio
import os
import random
from typing import Any, Final

from wireproto.client.connecting import connect_failure, tls_context, while_backing_off
from wireproto.client.multiplexed_connection import MultiplexedConnection
from wireproto.client.options import ClientOptions
from wireproto.core.call_plan import copy_of
from wireproto.core.credentials import Credentials
from wireproto.core.retry import Backoff, RetryPolicy
from wireproto.errors import ConfigurationError, DeadlineError, RequestError, WireprotoError

FAREWELL: Final = 1.0
"""Seconds for a TLS connection to be closed politely; then it is dropped."""


class SharedConnection:
    """The connection that calls travel on, and the next one when that is over."""

    def __init__(self, options: ClientOptions, policy: RetryPolicy) -> None:
        self._options = options
        self._policy = policy
        self._tls = tls_context(options)
        self._is_closed = False
        self._begin(None)

    def _begin(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Start without a connection, in this loop."""
        self._loop = loop
        self._process = os.getpid()
        self._credentials = Credentials(self._options.api_key, has_certificate=self._options.certificate is not None)
        self._backoff = Backoff(self._policy)
        self.connection: MultiplexedConnection | None = None
        """The last one that was made."""
        self._connecting: asyncio.Task[MultiplexedConnection | WireprotoError] | None = None
        self._open: set[MultiplexedConnection] = set()

    async def close(self) -> None:
        """Close it, and those before it that still owe something. No other is made."""
        self._is_closed = True
        if self._loop is not asyncio.get_running_loop():
            return
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        for connection in list(self._open):
            await connection.close(FAREWELL)

    def current(self, loop: asyncio.AbstractEventLoop) -> MultiplexedConnection | None:
        """The connection, if there is one that calls of this loop may be sent on."""
        connection = self.connection
        if connection is None or not connection.is_usable or loop is not self._loop or self._is_closed:
            return None
        return connection

    async def connected(self, loop: asyncio.AbstractEventLoop, deadline: float) -> MultiplexedConnection:
        """A new connection; all who need one wait for the same. Raises ConfigurationError or a RequestError."""
        if self._is_closed:
            raise ConfigurationError("the client is closed")
        if loop is not self._loop:
            if self._loop is not None and not self._loop.is_closed() and self._process == os.getpid():
                raise ConfigurationError("an AsyncClient belongs to the event loop that used it first")
            self._begin(loop)
        task = self._connecting
        if task is None:
            seconds, error = self._backoff.remaining(loop.time()), self._backoff.error
            if seconds and error is not None:
                raise while_backing_off(error, seconds)
            # A task of the client's own: should a caller be cancelled, the others wait on.
            task = self._connecting = loop.create_task(self._connect(loop))
        await asyncio.wait([task], timeout=deadline - loop.time())
        if task.cancelled():
            raise ConfigurationError("the client is closed")
        if not task.done():
            raise DeadlineError("not sent: there was no connection in time")
        result = task.result()
        if isinstance(result, RequestError):
            raise copy_of(result)
        if isinstance(result, WireprotoError):
            raise ConfigurationError(str(result))
        return result

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> MultiplexedConnection | WireprotoError:
        """Connect, shake hands, log in. The error is returned: perhaps nobody is there any more to be raised at."""
        started = loop.time()
        try:
            connection = await self._open_connection(loop)
        except (OSError, RequestError) as fault:
            error = connect_failure(fault, self._options)
            self._backoff.failed(error, started, loop.time(), random.random())  # noqa: S311 - no secret
            return error
        finally:
            self._connecting = None
        self._backoff.succeeded()
        self.connection = connection
        return connection

    async def _open_connection(self, loop: asyncio.AbstractEventLoop) -> MultiplexedConnection:
        """Raises OSError or a RequestError."""
        options = self._options
        connection = MultiplexedConnection(options, self._credentials, loop)
        tls: dict[str, Any] = {}
        if self._tls is not None:
            tls = {"ssl": self._tls, "server_hostname": options.host, "ssl_shutdown_timeout": FAREWELL}
        async with asyncio.timeout(options.connect_timeout):
            await loop.create_connection(lambda: connection, options.host, options.port, **tls)
            self._open.add(connection)
            connection.closed.add_done_callback(lambda _closed: self._open.discard(connection))
            try:
                await connection.ready
            except BaseException:
                connection.abort()
                raise
        return connection
