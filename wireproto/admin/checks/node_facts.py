"""What a node or a Sentinel says of itself, asked once, with short time-outs, over a connection of its own."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from wireproto.core.scripts import READ_SCRIPT
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
    denied: tuple[str, ...] = ()
    """Commands that a server needs, and its user may not give."""
    denies_keys: bool = False
    """Whether its user may not use the keys of the namespace that is there without being made."""

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
        info = dict(client.info())
        if info.get("loading"):
            return NodeFacts(endpoint, info)  # it answers nothing else
        denied, denies_keys = _denied(client)
        return NodeFacts(endpoint, info, denied=denied, denies_keys=denies_keys)
    except NO_ANSWER as error:
        return NodeFacts(endpoint, {}, why(error))
    finally:
        client.close()


def _denied(client: Any) -> tuple[tuple[str, ...], bool]:
    """The commands that a server needs and the node does not permit its user, and whether it denies the keys.

    Nothing is changed by asking.
    """
    absent = f"default:wireproto-doctor-{secrets.token_hex(8)}"
    words = {
        "PING": (),
        "ROLE": (),
        "GET": (absent,),
        "SET": (absent, "", "XX"),
        "UNLINK": (absent,),
        "GETRANGE": (absent, 0, 0),
        "PTTL": (absent,),
        "PEXPIRE": (absent, 1),
        "INCRBY": (absent, "no number"),
        "SCRIPT|LOAD": (READ_SCRIPT.text,),
        "EVALSHA": (READ_SCRIPT.name, 1, absent, 0, "", "", 0, 0),
    }
    asked = client.pipeline(transaction=False)
    for command, arguments in words.items():
        asked.execute_command(*command.split("|"), *arguments)
    replies = asked.execute(raise_on_error=False)
    refusals = {
        command: str(reply)
        for command, reply in zip(words, replies, strict=True)
        if isinstance(reply, redis.exceptions.NoPermissionError)
    }
    of_keys = {command for command, text in refusals.items() if "permissions to access" in text}
    return tuple(command for command in refusals if command not in of_keys), bool(of_keys)


def open_client(url: str) -> Any:
    """A client that says at once when it cannot."""
    return redis.Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=PATIENCE,
        socket_connect_timeout=PATIENCE,
        decode_responses=True,
        protocol=2,  # what a node pushes with 3, redis-py may print
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
