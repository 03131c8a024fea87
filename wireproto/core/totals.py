"""What the workers of a server have counted, added up.

A worker's record is a JSON object: `counters`, as `Metrics.as_json` gives them, and `nodes`, a list of what is told of
each, in the order of the ring. Everything that STATS tells of the whole server is made from such records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from wireproto.core.node_health import NodeState

Record = Mapping[str, Any]

_WORST_FIRST: Final = (NodeState.DOWN.value, NodeState.PROBING.value, NodeState.UP.value)
_SUMMED: Final = ("connections", "connects", "waiting", "in_flight")


def what_remains(record: Record) -> dict[str, Any]:
    """What still counts of a worker that has ended: what it had counted, and nothing of what it had open."""
    counters = dict(record["counters"])
    counters["connections"] = {**counters["connections"], "open": 0, "handshaking": 0}
    nodes = [{"shard": node["shard"], "connects": node["connects"]} for node in record["nodes"]]
    return {"counters": counters, "nodes": nodes}


def total(records: Sequence[Record]) -> dict[str, Any]:
    """One record for all of them, of which there must be one at least. All must be of the same ring."""
    counters: dict[str, Any] = {}
    for record in records:
        counters = _sum(counters, record["counters"])
    nodes = [_one_node(views) for views in zip(*(record["nodes"] for record in records), strict=True)]
    return {"counters": counters, "nodes": nodes}


def _sum(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Add numbers of the same name, at any depth."""
    result = dict(one)
    for name, value in other.items():
        if isinstance(value, Mapping):
            result[name] = _sum(result.get(name, {}), value)
        else:
            result[name] = result.get(name, 0) + value
    return result


def _one_node(views: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A node as all workers see it. It is as well as the one that sees it worst says: its clients meet that."""
    node: dict[str, Any] = {}
    for view in views:
        for name, value in view.items():
            if name not in node:
                node[name] = value
            elif name in _SUMMED:
                node[name] += value
            elif name == "round_trip_us":
                node[name] = max(node[name], value)
            elif name == "state":
                node[name] = min(node[name], value, key=_WORST_FIRST.index)
    return node
