"""Where a node is and how to greet it: a Redis URL, read by redis-py, and the first commands of a connection."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import hiredis
from redis.connection import SSLConnection, UnixDomainSocketConnection, parse_url

from wireproto.core.scripts import SCRIPTS
from wireproto.errors import ConfigurationError

OPTIONAL: Final = len(SCRIPTS) + 2
"""Commands of a greeting without which a node is still of use: a user who may not run scripts, or ask for the role, can
read and write."""


@dataclass(frozen=True, slots=True)
class NodeEndpoint:
    """How to reach one node. A path means a unix socket."""

    host: str
    port: int
    path: str | None
    tls: ssl.SSLContext | None = field(repr=False)
    server_name: str | None
    username: str | None
    password: str | None = field(repr=False)
    database: int

    @classmethod
    def from_url(cls, url: str) -> NodeEndpoint:
        """An endpoint from `redis://`, `rediss://` or `unix://` as redis-py reads them. Raises ConfigurationError."""
        try:
            parts: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]  # redis-py has no annotation here
        except ValueError as error:
            raise ConfigurationError(f"not a Redis URL: {error}") from None
        kind = parts.get("connection_class")
        host = parts.get("host", "localhost")
        return cls(
            host=host,
            port=parts.get("port", 6379),
            path=parts["path"] if kind is UnixDomainSocketConnection else None,
            tls=_tls_context(parts) if kind is SSLConnection else None,
            server_name=host if kind is SSLConnection else None,
            username=parts.get("username"),
            password=parts.get("password"),
            database=int(parts.get("db", 0)),
        )

    @property
    def address(self) -> str:
        """What people call the node: its host and port, or the path of its socket."""
        if self.path is not None:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    async def connect(self, protocol: Callable[[], asyncio.BaseProtocol]) -> asyncio.Transport:
        """Open a connection. Raises OSError, which `ssl.SSLError` is too."""
        loop = asyncio.get_running_loop()
        if self.path is not None:
            transport, _ = await loop.create_unix_connection(protocol, self.path)
            return transport
        try:
            transport, _ = await loop.create_connection(
                protocol, self.host, self.port, ssl=self.tls, server_hostname=self.server_name
            )
        except UnicodeError:
            raise OSError(f"{self.host} cannot be the name of a host") from None
        return transport

    def greeting(self) -> list[bytes]:
        """The commands that begin a connection, before the question that shows that the node is well.

        The last `OPTIONAL` of them may be answered with an error.
        """
        commands: list[tuple[str, ...]] = []
        if self.password is not None:
            commands.append(("AUTH", *([self.username] if self.username else []), self.password))
        if self.database:
            commands.append(("SELECT", str(self.database)))
        optional = [*(("SCRIPT", "LOAD", script.text) for script in SCRIPTS), ("ROLE",), ("INFO", "replication")]
        return [hiredis.pack_command(command) for command in (*commands, *optional)]  # type: ignore[arg-type]  # any length


def _tls_context(parts: dict[str, Any]) -> ssl.SSLContext:
    """TLS to a node: verified, unless the URL says `ssl_cert_reqs=none`."""
    try:
        context = ssl.create_default_context(cafile=parts.get("ssl_ca_certs"))
        if parts.get("ssl_certfile"):
            context.load_cert_chain(parts["ssl_certfile"], parts.get("ssl_keyfile"))
    except OSError as error:
        raise ConfigurationError(f"the certificates of a node's URL cannot be loaded: {error}") from None
    if parts.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif parts.get("ssl_check_hostname") in (False, "False", "false", "0"):
        context.check_hostname = False
    return context
