"""The masters of shards whose nodes run already, for commands that work on the nodes themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from wireproto.errors import ConfigurationError
from wireproto.server.sentinel_address import SentinelAddress
from wireproto.settings import ShardAddress

TIMEOUT: Final = 30.0
"""Seconds for an answer: a command has time, and values may be large."""
CONNECT_TIMEOUT: Final = 5.0
NO_ANSWER: Final = (RedisError, OSError, ValueError, TypeError)
"""What comes of asking a node that is not there, or is none."""


def open_node(url: str, *, texts: bool = False) -> Any:
    """A client that connects when it is used. A command is sent once: redis-py would try ten times."""
    return Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=TIMEOUT,
        socket_connect_timeout=CONNECT_TIMEOUT,
        decode_responses=texts,
        protocol=2,  # what a node pushes with 3, redis-py may print
    )


def open_master(shard: ShardAddress) -> Any:
    """A client of the node that is the shard's master now, by its own word.

    Raises ConfigurationError if none of the nodes that are named, or that the Sentinels name, is one, or several are.
    """
    masters: dict[str, Any] = {}
    problem = "none of its nodes is a master"
    for url in dict.fromkeys(_candidates(shard)):
        client = open_node(url)
        try:
            if client.execute_command("ROLE")[0] == b"master":
                masters[url] = client
                continue
        except NO_ANSWER as error:
            problem = f"none of its nodes is a master; one cannot be asked: {type(error).__name__}: {error}"
        client.close()
    if len(masters) > 1:
        problem = "several of its nodes say that they are the master"
    if len(masters) != 1:
        for client in masters.values():
            client.close()
        raise ConfigurationError(f"node {shard.name}: {problem}")
    return masters.popitem()[1]


def _candidates(shard: ShardAddress) -> Iterator[str]:
    """The URLs of nodes that may be the master."""
    if not shard.has_sentinels:
        yield from shard.node_urls
        return
    address = SentinelAddress.from_url(shard.url)
    for host, port in address.sentinels:
        sentinel = open_node(address.sentinel_url(host, port), texts=True)
        try:
            found = sentinel.sentinel_get_master_addr_by_name(address.master_name)
        except NO_ANSWER:
            continue
        finally:
            sentinel.close()
        if found is not None:
            yield address.node_url(str(found[0]), int(found[1]))
