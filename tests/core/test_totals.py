"""Workers' records, added up."""

from __future__ import annotations

import pytest

from wireproto.core.metrics import Metrics
from wireproto.core.totals import total, what_remains

Json = dict[str, object]


def record(metrics: Metrics, *nodes: Json, failovers: int = 0) -> Json:
    shards = [{"shard": "a", "failovers": failovers, "problem": ""}]
    return {"counters": metrics.as_json(), "nodes": list(nodes), "shards": shards}


def node(state: str = "up", **more: object) -> Json:
    numbers = {"connections": 1, "connects": 2, "waiting": 3, "in_flight": 4, "round_trip_us": 500}
    return {"shard": "a", "role": "master", "address": "h:1", "state": state, **numbers, "pid": 77, **more}


def test_counters_of_every_kind_are_added() -> None:
    one, other = Metrics(accepted=3, open=2, hits=5, bytes_in=10), Metrics(accepted=4, open=1, misses=6, bytes_in=1)
    one.outcomes["DELETE", "OK"] = 1
    other.outcomes["DELETE", "MISS"] = 2
    other.outcomes["DELETE", "OK"] = 3
    one.closed_by_limit["drain"] = 1
    other.closed_by_limit["drain"] = 1
    other.closed_by_limit["idle_timeout"] = 1
    both = Metrics(accepted=7, open=3, hits=5, misses=6, bytes_in=11)
    both.outcomes.update({("DELETE", "OK"): 4, ("DELETE", "MISS"): 2})
    both.closed_by_limit.update({"drain": 2, "idle_timeout": 1})
    first, second = record(one), record(other)
    assert total([first, second]) == total([second, first]) == record(both)
    assert first == record(one), "what is added stays as it was"


def test_one_record_alone_is_itself() -> None:
    metrics = Metrics(accepted=3, open=2, stored=5)
    assert total([record(metrics, node())]) == record(metrics, node())


def test_a_node_as_several_workers_see_it() -> None:
    first, second = node(round_trip_us=100, in_flight=0), node(round_trip_us=900, connects=9)
    (seen,) = total([record(Metrics(), first), record(Metrics(), second)])["nodes"]
    assert seen == node(connections=2, connects=11, waiting=6, in_flight=4, round_trip_us=900)


@pytest.mark.parametrize(
    ("states", "seen"),
    [
        (("up", "up"), "up"),
        (("up", "down"), "down"),
        (("up", "probing"), "probing"),
        (("probing", "down"), "down"),
        (("suspect", "up"), "suspect"),
        (("probing", "suspect"), "probing"),
    ],
)
def test_a_node_is_as_well_as_the_worker_says_that_sees_it_worst(states: tuple[str, str], seen: str) -> None:
    for order in (states, states[::-1]):
        records = [record(Metrics(), node(state)) for state in order]
        assert total(records)["nodes"][0]["state"] == seen


def test_what_a_worker_that_has_ended_leaves() -> None:
    gone = record(Metrics(accepted=3, open=2, handshaking=1, hits=5), node("down", round_trip_us=9999))
    left = what_remains(gone)
    assert total([record(Metrics(open=1), node()), left]) == record(
        Metrics(accepted=3, open=1, hits=5), node(connects=4)
    )
    assert what_remains(left) == left
    assert gone["counters"] == Metrics(accepted=3, open=2, handshaking=1, hits=5).as_json()


def test_nodes_are_told_apart_by_their_addresses_and_those_that_are_gone_are_not_told() -> None:
    first, second, gone = node(), node(address="h:2", role="replica"), node(address="h:3", role="replica")
    left = what_remains(record(Metrics(), first, gone))
    nodes = total([record(Metrics(), second, first), record(Metrics(), first, second), left])["nodes"]
    assert [(found["address"], found["connects"]) for found in nodes] == [("h:2", 4), ("h:1", 6)]


def test_a_shard_is_as_the_worker_knows_it_that_knows_most() -> None:
    records = [record(Metrics(), node(), failovers=count) for count in (1, 3, 2)]
    assert total(records)["shards"] == [{"shard": "a", "failovers": 3, "problem": ""}]
