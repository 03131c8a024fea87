"""What WHERE tells: the node that serves a key, and the nodes beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wireproto.core.reply_wire import whole_number
from wireproto.errors import ProtocolError


@dataclass(frozen=True, slots=True)
class NodeOfShard:
    """One node of the shard that owns a key: its role and state as the server sees them, and where it is."""

    role: str
    state: str
    lag: float | None
    """Seconds that a replica is behind its master at most; None where that is not known, and for a master."""
    address: str


@dataclass(frozen=True, slots=True)
class Location:
    """The shard that owns a key, what the server says about it (`role`, `state` and the like), and its nodes."""

    node: str
    details: Mapping[str, str]
    nodes: tuple[NodeOfShard, ...] = ()


def read_node(argument: bytes) -> NodeOfShard:
    """A node from `replica up lag_ms=3 127.0.0.1:7002`.

    Words between the state and the address that are not known are passed over. Raises ProtocolError.
    """
    text = argument.decode("utf-8", "replace")
    # The address comes last; if it is a path, it may hold spaces.
    words, slash, path = text.partition(" /")
    role, _, rest = words.partition(" ")
    state, *options = rest.split(" ")
    address = f"/{path}" if slash else options.pop() if options else ""
    if not (role and state and address):
        raise ProtocolError("WHERE was answered with a node without role, state or address")
    known = dict(option.partition("=")[::2] for option in options)
    lag = known.get("lag_ms")
    return NodeOfShard(role, state, None if lag is None else whole_number(lag) / 1000, address)
