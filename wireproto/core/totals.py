"""What the workers of a server have counted, added up.

A worker's record is a JSON object: `counters`, as `Metrics.as_json` gives them, and the lists `nodes` and `shards` of
what is told of each. Everything that STATS tells of the whole server is made from such records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from wireproto.core.node_health import WORST_FIRST

Record = Mapping[str, Any]

_WORST_FIRST: Final = tuple(state.value for state in WORST_FIRST)
_NODE: Final = ("shard", "address")
_SUMMED: Final = ("connections", "connects", "waiting", "in_flight")


def what_remains(record: Record) -> dict[str, Any]:
    """What still counts of a worker that has ended: what it had counted, and nothing of what it had open."""
    counters = dict(record["counters"])
    counters["connections"] = {**counters["connections"], "open": 0, "handshaking": 0}
    nodes = [{name: node[name] for name in (*_NODE, "connects")} for node in record["nodes"]]
    return {"counters": counters, "nodes": nodes, "shards": record["shards"]}


def total(records: Sequence[Record]) -> dict[str, Any]:
    """One record for all of them, of which there must be one at least.

    A node of which only a worker that has ended knew is none any more.
    """
    counters: dict[str, Any] = {}
    for record in records:
        counters = _sum(counters, record["counters"])
    nodes = [_one_node(views) for views in _by(_NODE, records, "nodes")]
    shards = [_one_shard(views) for views in _by(("shard",), records, "shards")]
    return {"counters": counters, "nodes": [node for node in nodes if "state" in node], "shards": shards}


def _by(names: Sequence[str], records: Sequence[Record], part: str) -> list[list[Mapping[str, Any]]]:
    """What all records tell of one thing, for each thing, in the order of the first record."""
    found: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for record in records:
        for entry in record[part]:
            found.setdefault(tuple(entry[name] for name in names), []).append(entry)
    return list(found.values())


def _one_shard(views: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A shard as all workers know it; one may be a moment behind."""
    return dict(max(views, key=lambda view: view["failovers"]))


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
