"""What the adapters of a process share: one client for all that have the same URL and the same options.

Frameworks make many cache objects: Django one for each thread, or each request; dogpile.cache one for each region. A
client is made for any number of threads, and a connection costs a TLS handshake, so they share it.
"""

from __future__ import annotations

from typing import Any, Final

from wireproto.adapters.keyspace import Keyspace
from wireproto.client.options import ClientOptions
from wireproto.client.sync import Client

_clients: Final[dict[ClientOptions, Client[bytes]]] = {}
_keyspaces: Final[dict[tuple[Client[bytes], str, float | None], Keyspace]] = {}


def shared_client(url: str | None, options: dict[str, Any]) -> Client[bytes]:
    """The client for a URL, or for `WIREPROTO_URL`, and for options by name. Raises ConfigurationError.

    It connects on its first call, so that a server that is down is no reason not to start.
    """
    wanted = ClientOptions.from_sources(url, options)  # type: ignore[arg-type]  # the names are checked there
    # Two threads may both make one; the one that comes too late has not connected yet, and is dropped.
    return _clients.get(wanted) or _clients.setdefault(wanted, Client(url, **options))


def shared_keyspace(client: Client[bytes], prefix: str, clear_within: float | None) -> Keyspace:
    """The keyspace of a client and a prefix: who clears it clears it for every object of the process at once."""
    wanted = (client, prefix, clear_within)
    return _keyspaces.get(wanted) or _keyspaces.setdefault(wanted, Keyspace(client, prefix, clear_within))


def close_clients() -> None:
    """Close all of them. An adapter that has one raises ConfigurationError from then on."""
    _keyspaces.clear()
    while _clients:
        _clients.popitem()[1].close()
