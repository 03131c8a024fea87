"""Which replica a key is read from, and what a client has written lately."""

from __future__ import annotations

import zlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wireproto.core.node_health import NodeEvent
from wireproto.core.node_pipeline import NodePipeline
from wireproto.core.shard_lane import NEVER, RecentWrites, Replica, ShardLane

KEYS = [b"ns:key-%d" % number for number in range(3000)]


def pipeline(name: str) -> NodePipeline:
    made = NodePipeline(name, lambda: None, max_requests=10, max_bytes=1000, max_value=100)
    made.change(NodeEvent.TRY)
    made.change(NodeEvent.GREETED)
    return made


def lane(count: int, caught_up_to: float = 10.0) -> ShardLane:
    made = ShardLane(pipeline("master"))
    for number in range(count):
        name = f"127.0.0.1:{6380 + number}"
        replica = Replica(pipeline(name), zlib.crc32(name.encode()))
        replica.caught_up_to = caught_up_to
        made.replicas.append(replica)
    return made


def choices(of: ShardLane, since: float = 9.0) -> dict[bytes, str | None]:
    chosen = {key: of.replica_for(key, since) for key in KEYS}
    return {key: None if found is None else found.name for key, found in chosen.items()}


def test_a_lane_without_replicas_has_none_to_choose() -> None:
    assert lane(0).replica_for(b"key", NEVER) is None


def test_a_key_stays_with_its_replica_in_whatever_order_they_stand() -> None:
    one, other = lane(3), lane(3)
    other.replicas.reverse()
    assert choices(one) == choices(one) == choices(other)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_keys_are_spread_over_the_replicas(count: int) -> None:
    shares = Counter(choices(lane(count)).values())
    assert len(shares) == count
    mean = len(KEYS) / count
    assert all(0.85 * mean < share < 1.15 * mean for share in shares.values())


@pytest.mark.parametrize("gone", [0, 1, 2, 3])
def test_only_the_keys_of_a_replica_that_goes_move(gone: int) -> None:
    shard = lane(4)
    before = choices(shard)
    name = shard.replicas.pop(gone).pipeline.name
    after = choices(shard)
    assert {key for key in KEYS if before[key] != after[key]} == {key for key in KEYS if before[key] == name}
    assert len({after[key] for key in KEYS if before[key] == name}) == 3, "and they go to all others"


def test_a_replica_is_read_only_if_it_is_as_far_as_is_asked() -> None:
    shard = lane(2, caught_up_to=10.0)
    shard.replicas[0].caught_up_to = 9.0
    assert set(choices(shard, since=9.0).values()) == {"127.0.0.1:6380", "127.0.0.1:6381"}
    assert set(choices(shard, since=9.001).values()) == {"127.0.0.1:6381"}
    assert set(choices(shard, since=10.0).values()) == {"127.0.0.1:6381"}
    assert set(choices(shard, since=10.001).values()) == {None}


def test_a_new_replica_is_not_read_before_something_is_known_of_it() -> None:
    shard = ShardLane(pipeline("master"))
    shard.replicas.append(Replica(pipeline("replica"), 1))
    assert shard.replica_for(b"key", -1e9) is None


@pytest.mark.parametrize("events", [[NodeEvent.REFUSED], [NodeEvent.LOST], [NodeEvent.LOST, NodeEvent.TRY]])
def test_a_replica_that_is_not_up_is_not_read(events: list[NodeEvent]) -> None:
    shard = lane(2)
    for event in events:
        shard.replicas[1].pipeline.change(event)
    assert set(choices(shard).values()) == {"127.0.0.1:6380"}
    for event in events:
        shard.replicas[0].pipeline.change(event)
    assert set(choices(shard).values()) == {None}


# -- what was written lately


@given(
    st.lists(st.tuples(st.binary(max_size=3), st.floats(0.0, 10.0)), max_size=60),
    st.lists(st.binary(max_size=3), min_size=1, max_size=20),
    st.floats(0.0, 100.0),
)
def test_no_key_is_taken_for_written_earlier_than_it_was(
    writes: list[tuple[bytes, float]], never_written: list[bytes], start: float
) -> None:
    recent, now = RecentWrites(start), start
    last: dict[bytes, float] = {}
    for key, pause in writes:
        now += pause
        recent.note(key, now)
        last[key] = now
        assert recent.last(key) == now
    for key in (*last, *never_written):
        assert last.get(key, start) <= recent.last(key) <= now


def test_most_keys_are_not_taken_for_written_because_of_others() -> None:
    recent = RecentWrites(1.0)
    for key in KEYS[:50]:
        recent.note(key, 2.0)
    taken = sum(recent.last(key) == 2.0 for key in KEYS[50:])
    assert taken < 0.1 * len(KEYS)
