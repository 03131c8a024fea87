"""What a node or a Sentinel says of itself, asked once, with short time-outs, over a connection of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from wireproto.server.node_endpoint import NodeEndpoint
from wireproto.server.node_monitor import NO_ANSWER
from wireproto.server.node_words import kind_of_refusal
from wireproto.settings.kinds import is_loopback

PATIENCE: Final = 3.0
"""Seconds for a connection, and for each answer."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node: how it is reached, and what INFO says. `problem` tells why it could not be asked."""

    endpoint: NodeEndpoint = field(repr=False)
    info: dict[str, Any]
    problem: str = ""

    @property
    def address(self) -> str:
        """What people call it."""
        return self.endpoint.address

    @property
    def is_local(self) -> bool:
        """Whether no other machine lies between."""
        return self.endpoint.path is not None or is_loopback(self.endpoint.host)

    @property
    def role(self) -> str:
        """`master`, `slave`, or nothing."""
        return str(self.info.get("role", ""))


def ask_node(url: str) -> NodeFacts:
    """Ask a node. Raises ConfigurationError for a URL whose certificates cannot be loaded."""
    endpoint = NodeEndpoint.from_url(url)
    client = open_client(url)
    try:
        return NodeFacts(endpoint, dict(client.info()))
    except NO_ANSWER as error:
        return NodeFacts(endpoint, {}, why(error))
    finally:
        client.close()


def open_client(url: str) -> Any:
    """A client that says at once when it cannot."""
    return redis.Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=PATIENCE,
        socket_connect_timeout=PATIENCE,
        decode_responses=True,
    )


def why(error: Exception) -> str:
    """Why there was no answer, in words that hold nothing that was sent or that a node chose."""
    if isinstance(error, redis.AuthenticationError):
        return "it refuses the user or the password, or wants one"
    if isinstance(error, redis.ResponseError):
        return f"it answers with an error: {kind_of_refusal(str(error))}"
    if isinstance(error, redis.TimeoutError):
        return "it does not answer in time"
    if isinstance(error, redis.ConnectionError | OSError):
        text = str(error).lower()
        if "certificate verify failed" in text:
            return "its certificate is not trusted, or is for another name"
        return "it cannot be reached" if "refused" not in text else "it cannot be reached: connection refused"
    return "what it answers is no answer of Redis"
