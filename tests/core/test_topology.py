"""Who is master, and what replicas have: from reports and from what Sentinels answer."""

from __future__ import annotations

import json
from itertools import accumulate, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis._parsers.helpers import parse_info

from wireproto.core.shard_lane import NEVER
from wireproto.core.topology import FENCE, REPORT_LIFE, NodeReport, NodeView, ShardTopology, ShardView

MASTER_INFO = """# Replication
role:master
connected_slaves:1
slave0:ip=127.0.0.1,port=17912,state=online,offset=94,lag=0
master_failover_state:no-failover
master_replid:b1f89bee03640c625ffec85b90f744e96dce9c15
master_replid2:0000000000000000000000000000000000000000
master_repl_offset:131
second_repl_offset:-1
repl_backlog_active:1
repl_backlog_size:1048576
repl_backlog_first_byte_offset:1
repl_backlog_histlen:131
"""
REPLICA_INFO = """# Replication
role:slave
master_host:127.0.0.1
master_port:17911
master_link_status:up
master_last_io_seconds_ago:0
master_sync_in_progress:0
slave_read_repl_offset:140
slave_repl_offset:131
slave_priority:100
slave_read_only:1
replica_announced:1
connected_slaves:0
master_failover_state:no-failover
master_replid:b1f89bee03640c625ffec85b90f744e96dce9c15
master_replid2:0000000000000000000000000000000000000000
master_repl_offset:131
second_repl_offset:-1
"""
HISTORY = "b1f89bee03640c625ffec85b90f744e96dce9c15"
SYNCING_INFO = REPLICA_INFO.replace("link_status:up", "link_status:down").replace(
    "sync_in_progress:0", "sync_in_progress:1\nmaster_sync_left_bytes:17\nmaster_sync_perc:3.50"
)


def locate(address: str) -> tuple[str, int | None]:
    return f"redis://{address}", None


def master(at: float, offset: int = 0, *, history: str = "h", followers: int = 0) -> NodeReport:
    return NodeReport(at, "master", history, offset, False, followers)


def replica(at: float, offset: int = 0, *, history: str = "h", in_sync: bool = True) -> NodeReport:
    return NodeReport(at, "replica", history, offset, in_sync, 0)


def fixed(*addresses: str) -> ShardTopology:
    """A shard of a fixed list of nodes."""
    topology = ShardTopology("s", is_watched=False)
    topology.set_members(addresses)
    return topology


def watched(**more: tuple[str, ...]) -> ShardTopology:
    return ShardTopology("s", is_watched=True, **more)


def master_of(topology: ShardTopology, now: float = 10.0) -> str | None:
    topology.judge(now)
    view = topology.view(locate)
    return None if view.master is None else view.master.address


# -- what a node says


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MASTER_INFO, NodeReport(1.0, "master", HISTORY, 131, False, 1)),
        (REPLICA_INFO, NodeReport(1.0, "replica", HISTORY, 131, True, 0)),
        (SYNCING_INFO, NodeReport(1.0, "replica", HISTORY, 131, False, 0)),
        ("role:sentinel\n", NodeReport(1.0, "unknown", "", -1, False, 0)),
        ("role:slave\nmaster_repl_offset:7\n", NodeReport(1.0, "replica", "", -1, False, 0)),
        ("role:master\nmaster_repl_offset:abc\nconnected_slaves:abc\n", NodeReport(1.0, "master", "", -1, False, 0)),
        ("role:master\nconnected_slaves:a=1,b=2\n", NodeReport(1.0, "master", "", -1, False, 0)),
        ("role:master\nconnected_slaves:1e999.\n", NodeReport(1.0, "master", "", -1, False, 0)),
        ("", NodeReport(1.0, "unknown", "", -1, False, 0)),
    ],
)
def test_a_report_is_what_info_says(text: str, expected: NodeReport) -> None:
    assert NodeReport.from_info(parse_info(text), 1.0) == expected


def test_a_replica_that_is_connected_and_still_loading_is_not_in_sync() -> None:
    text = REPLICA_INFO.replace("sync_in_progress:0", "sync_in_progress:1")
    assert not NodeReport.from_info(parse_info(text), 1.0).in_sync


# -- the nodes of a list


def test_the_one_that_says_so_is_master() -> None:
    topology = fixed("a", "b")
    topology.node_said("a", replica(9.9))
    topology.node_said("b", master(9.9, followers=1))
    assert master_of(topology) == "b"
    assert topology.problem == ""
    assert topology.failovers == 0


def test_the_present_master_stays_beside_one_that_returns_as_master() -> None:
    topology = fixed("a", "b")
    topology.node_said("a", master(9.9, followers=1))
    topology.node_said("b", replica(9.9))
    assert master_of(topology) == "a"
    topology.node_said("a", None)
    topology.node_said("b", master(10.5))
    assert master_of(topology, 10.6) == "a", "one look that fails unseats nobody"
    topology.node_said("b", master(9.9 + REPORT_LIFE))
    assert master_of(topology, 9.9 + REPORT_LIFE) == "b"
    assert topology.failovers == 1
    topology.node_said("a", master(11.0, followers=1))
    topology.node_said("b", master(11.0))
    assert master_of(topology, 11.1) == "b"
    assert topology.problem == "another node says that it is the master: a"
    topology.node_said("a", replica(11.2))
    assert master_of(topology, 11.3) == "b"
    assert topology.problem == ""
    assert topology.failovers == 1


@pytest.mark.parametrize("order", list(permutations(("old", "new", "third"))))
def test_at_the_start_the_claimant_that_is_followed_is_taken_whoever_answers_first(order: tuple[str, ...]) -> None:
    topology = fixed("old", "new", "third")
    reports = {"old": master(9.9), "new": master(9.9, followers=1), "third": replica(9.9)}
    for address in order:
        topology.node_said(address, reports[address])
        assert master_of(topology) in (None, "new")
    assert master_of(topology) == "new"


def test_at_the_start_a_claimant_that_nobody_follows_is_taken_once_all_have_been_asked() -> None:
    topology = fixed("a", "b", "c")
    topology.node_said("a", master(9.9))
    assert master_of(topology) is None
    assert topology.problem == "not all nodes have been asked yet"
    topology.node_said("b", None)
    assert master_of(topology) is None
    topology.node_said("c", None)
    assert master_of(topology) == "a"
    assert topology.problem == ""


@pytest.mark.parametrize("followers", [0, 1])
def test_of_several_claimants_that_are_alike_none_is_taken(followers: int) -> None:
    topology = fixed("a", "b")
    for address in ("a", "b"):
        topology.node_said(address, master(9.9, followers=followers))
    assert master_of(topology) is None
    assert topology.problem == "several nodes say that they are the master: a, b"
    assert topology.view(locate).problem == topology.problem


def test_where_no_node_says_that_it_is_the_master_there_is_none() -> None:
    topology = fixed("a", "b")
    assert master_of(topology) is None
    assert topology.problem == "not all nodes have been asked yet"
    topology.node_said("a", None)
    topology.node_said("b", replica(9.9))
    assert master_of(topology) is None
    assert topology.problem == "no node says that it is the master"
    topology.node_said("a", master(9.9, followers=1))
    assert master_of(topology) == "a"
    topology.node_said("a", replica(10.0))
    topology.node_said("b", replica(10.0))
    assert master_of(topology) is None
    assert topology.problem == "no node says that it is the master"
    topology.node_said("a", master(10.1))
    assert master_of(topology) == "a"
    assert topology.failovers == 0, "the same one again is no failover"


def test_a_master_that_cannot_be_reached_stays() -> None:
    topology = fixed("a", "b")
    topology.node_said("a", master(9.9, followers=1))
    topology.node_said("b", replica(9.9))
    assert master_of(topology) == "a"
    topology.node_said("a", None)
    for now in (10.0, 20.0, 3000.0):
        topology.node_said("b", replica(now))
        assert master_of(topology, now) == "a"
        assert topology.problem == ""


def test_what_a_node_said_long_ago_counts_for_nothing() -> None:
    topology = fixed("a", "b")
    topology.node_said("b", None)
    topology.node_said("a", master(10.0, followers=1))
    assert master_of(topology, 10.0 + REPORT_LIFE) is None
    assert topology.problem == "no node says that it is the master"
    assert master_of(topology, 10.0 + REPORT_LIFE - 0.01) == "a"
    topology.node_said("b", master(11.0))
    assert master_of(topology, 10.0 + REPORT_LIFE) == "b", "the present one has not been heard for too long"


def test_a_list_of_one_is_not_judged() -> None:
    topology = fixed("a")
    topology.appoint("a")
    topology.node_said("a", replica(9.9))
    assert master_of(topology) == "a"
    assert topology.problem == ""


# -- Sentinels

ANSWERS = st.lists(
    st.tuples(st.sampled_from("xyz"), st.integers(0, 4), st.sampled_from("abc")), min_size=1, max_size=12
)


@given(ANSWERS)
def test_a_sentinel_that_counts_forward_never_moves_the_master_back(answers: list[tuple[str, int, str]]) -> None:
    topology = watched()
    numbers: dict[str, int] = {}
    chosen: tuple[int, str] | None = None
    for sentinel, number, named in answers:
        number = numbers[sentinel] = max(number, numbers.get(sentinel, 0))
        topology.sentinel_said(sentinel, number, f"m{number}", [named])
        if chosen is None or number > chosen[0]:
            chosen = number, f"m{number}"
        assert master_of(topology) == chosen[1]
        assert topology.problem == ""


@given(st.permutations([("x", 7, "new"), ("y", 6, "old"), ("z", 5, "oldest"), ("w", 7, "new")]))
def test_the_latest_number_wins_in_any_order(answers: list[tuple[str, int, str]]) -> None:
    topology = watched()
    for sentinel, number, named in answers:
        topology.sentinel_said(sentinel, number, named, ["new", "old"])
    for sentinel, number, named in answers:
        topology.sentinel_said(sentinel, number, named, [])
        assert master_of(topology) == "new"


def test_nobody_is_master_before_a_sentinel_has_said_so() -> None:
    topology = watched(known=("a", "b"))
    topology.node_said("a", master(9.9, followers=1))
    assert master_of(topology) is None
    assert topology.problem == "no Sentinel has named a master"


def test_it_is_told_when_the_master_that_sentinels_name_is_a_replica() -> None:
    topology = watched()
    topology.sentinel_said("s1", 7, "a", ["b"])
    topology.node_said("a", replica(9.9))
    topology.judge(10.0)
    assert (topology.master, "a, which says that it is a replica" in topology.problem) == ("a", True)
    topology.judge(9.9 + REPORT_LIFE)
    assert topology.problem == "", "nobody knows any more"
    topology.node_said("a", master(12.0))
    topology.judge(12.0)
    assert topology.problem == ""


def test_a_node_that_says_it_is_master_is_none_while_sentinels_say_otherwise() -> None:
    topology = watched()
    topology.sentinel_said("x", 1, "a", ["b"])
    topology.node_said("a", replica(9.9))
    topology.node_said("b", master(9.9, followers=1))
    assert master_of(topology) == "a"


def test_what_a_sentinel_said_before_it_was_told_to_forget_the_shard_counts_for_nothing() -> None:
    topology = watched()
    topology.sentinel_said("x", 5, "a", ["b"])
    topology.sentinel_forgot("x")
    topology.sentinel_forgot("never heard of")
    topology.sentinel_said("x", 0, "b", ["a"])
    assert master_of(topology) == "b"


def test_equal_numbers_do_not_move_the_master_as_long_as_one_still_names_it() -> None:
    topology = watched()
    topology.sentinel_said("x", 3, "a", ["b"])
    topology.sentinel_said("y", 3, "b", ["a"])
    assert master_of(topology) == "a"
    assert topology.members == ["a", "b"]
    topology.sentinel_said("x", 3, "b", ["a"])
    assert master_of(topology) == "b", "nobody names the other any more"
    assert topology.failovers == 1


def test_a_failover_is_counted_once_however_many_tell_of_it() -> None:
    topology = watched()
    for sentinel in "xyz":
        topology.sentinel_said(sentinel, 1, "a", ["b"])
    assert topology.failovers == 0
    for _ in range(3):
        for sentinel in "xyz":
            topology.sentinel_said(sentinel, 2, "b", ["a"])
    assert topology.failovers == 1
    topology.sentinel_said("x", 3, "a", ["b"])
    topology.sentinel_said("y", 2, "b", ["a"])
    topology.sentinel_said("z", 3, "a", ["b"])
    assert topology.failovers == 2
    assert master_of(topology) == "a"


def test_members_are_those_that_a_sentinel_knows_and_those_that_were_known_before() -> None:
    topology = watched(known=("k", "a"))
    topology.sentinel_said("x", 1, "a", ["b", "b"])
    assert topology.members == ["a", "b", "k"]
    topology.node_said("b", replica(9.9))
    topology.sentinel_said("x", 2, "k", ["a"])
    assert topology.members == ["k", "a"]
    assert [node.address for node in topology.view(locate).replicas] == ["a"]
    topology.sentinel_said("y", 1, "a", ["b"])
    assert topology.members == ["k", "a"], "what an old configuration holds is not added"


# -- while another master is made


def test_nobody_is_written_to_while_another_master_is_made() -> None:
    topology = watched()
    topology.sentinel_said("x", 1, "a", ["b"])
    topology.failover_begins("b", 10.0)
    assert topology.view(locate).master is None, "at once"
    assert master_of(topology, 10.5) is None
    assert topology.problem == "another master is being made"
    topology.sentinel_said("x", 1, "a", ["b"])
    assert master_of(topology, 11.0) is None, "the old configuration, told again, ends nothing"
    topology.sentinel_said("x", 2, "b", ["a"])
    assert topology.view(locate).master == NodeView("b", "redis://b")
    assert master_of(topology, 11.0) == "b"
    assert topology.problem == ""


def test_the_old_master_is_written_to_again_when_the_sentinel_gives_up_or_says_nothing_more() -> None:
    topology = watched()
    topology.sentinel_said("x", 1, "a", ["b"])
    topology.failover_begins("b", 10.0)
    topology.failover_ends()
    assert master_of(topology, 10.1) == "a"
    topology.failover_begins("b", 20.0)
    assert master_of(topology, 20.0 + FENCE - 0.01) is None
    assert master_of(topology, 20.0 + FENCE) == "a"
    assert topology.problem == ""
    assert topology.failovers == 0


def test_the_new_master_is_written_to_as_soon_as_it_says_so_and_no_sentinel_takes_that_back() -> None:
    topology = watched()
    for sentinel in ("x", "y", "z"):
        topology.sentinel_said(sentinel, 1, "a", ["b", "c"])
    topology.failover_begins("b", 10.0)
    topology.node_said("a", master(10.1))
    topology.node_said("c", master(10.1))
    assert master_of(topology, 10.1) is None, "only the one that was told to"
    topology.node_said("b", replica(10.1))
    assert master_of(topology, 10.1) is None
    topology.node_said("b", master(10.2, history="new"))
    assert master_of(topology, 10.2) == "b"
    assert topology.problem == ""
    topology.sentinel_said("y", 1, "a", ["b", "c"])
    assert master_of(topology, 10.3) == "b", "a Sentinel that has not heard of it yet"
    topology.sentinel_said("x", 2, "b", ["a", "c"])
    topology.sentinel_said("y", 1, "a", ["b", "c"])
    assert master_of(topology, 30.0) == "b"
    assert topology.failovers == 1


def test_a_new_master_that_no_sentinel_comes_to_name_is_left_again() -> None:
    topology = watched()
    topology.sentinel_said("x", 1, "a", ["b"])
    topology.failover_begins("b", 10.0)
    topology.node_said("b", master(10.2))
    assert master_of(topology, 10.0 + FENCE) == "b"
    topology.sentinel_said("x", 1, "a", ["b"])
    assert master_of(topology, 10.1 + FENCE) == "a"


def test_a_beginning_that_is_heard_of_after_the_end_fences_nobody() -> None:
    topology = watched()
    topology.sentinel_said("x", 1, "a", ["b"])
    topology.sentinel_said("y", 2, "b", ["a"])
    topology.failover_begins("b", 10.0)
    assert master_of(topology, 10.0) == "b"
    assert topology.problem == ""


# -- what replicas have

STEPS = st.lists(st.tuples(st.floats(0.01, 0.5), st.integers(0, 50)), min_size=1, max_size=40)


@given(STEPS, st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40), st.floats(0.0, 2.0))
def test_a_replica_is_never_taken_to_have_more_than_it_has(
    growth: list[tuple[float, int]], looks: list[float], delay: float
) -> None:
    """The master's offset grows in steps; the replica has at each moment what the master had `delay` before."""
    moments = list(accumulate(step for step, _ in growth))
    offsets = list(accumulate(size for _, size in growth))

    def offset_at(moment: float) -> int:
        return max((offset for at, offset in zip(moments, offsets, strict=True) if at <= moment), default=0)

    topology = watched()
    topology.sentinel_said("x", 1, "m", ["r"])
    now = 0.0
    for pause in looks:
        # Asked at `now`, answered a little later, when there may be more.
        topology.node_said("m", master(now, offset_at(now + pause / 3)))
        topology.node_said("r", replica(now + pause / 2, offset_at(now + 2 * pause / 3 - delay)))
        (seen,) = topology.view(locate).replicas
        now += pause
        if seen.caught_up_to == NEVER:
            continue
        # It has everything until the first change that it has not.
        has = offset_at(now - pause / 3 - delay)
        missing = min((at for at, offset in zip(moments, offsets, strict=True) if offset > has), default=float("inf"))
        assert seen.caught_up_to < missing
        assert seen.lag_ms is not None
        assert seen.lag_ms >= 0


@given(st.floats(0.0, 3.0))
def test_what_is_known_of_a_replica_comes_near_the_truth(delay: float) -> None:
    topology = watched()
    topology.sentinel_said("x", 1, "m", ["r"])
    period, rate = 0.2, 1000
    for number in range(100):
        now = number * period
        topology.node_said("m", master(now, round(now * rate)))
        topology.node_said("r", replica(now, round((now - delay) * rate)))
    (seen,) = topology.view(locate).replicas
    assert now - delay - period - 0.001 <= seen.caught_up_to <= now - delay + 0.001
    assert seen.lag_ms is not None
    assert delay * 1000 - 1 <= seen.lag_ms <= (delay + period) * 1000 + 1


def test_a_replica_that_was_asked_before_the_master_is_not_behind_it() -> None:
    topology = watched()
    topology.sentinel_said("x", 1, "m", ["r"])
    for now, offset in ((1.0, 100), (1.2, 200)):
        topology.node_said("r", replica(now - 0.05, offset - 100))
        topology.node_said("m", master(now, offset))
    assert topology.view(locate).replicas == (NodeView("r", "redis://r", lag_ms=0, caught_up_to=1.0),)


def test_an_idle_master_leaves_its_replicas_without_lag() -> None:
    topology = watched()
    topology.sentinel_said("x", 1, "m", ["r"])
    for number in range(200):
        topology.node_said("m", master(number / 5, 700))
        topology.node_said("r", replica(number / 5, 700))
    (seen,) = topology.view(locate).replicas
    assert (seen.lag_ms, seen.caught_up_to) == (0, 199 / 5)


@pytest.mark.parametrize(
    ("report", "lag_ms"),
    [
        (None, None),
        (replica(5.0, 300, history="another"), None),
        (replica(5.0, -1), None),
        (replica(5.0, 99), None),
        (NodeReport(5.0, "unknown", "h", 300, True, 0), None),
        (NodeReport(5.0, "master", "h", 300, True, 0), None),
        (replica(5.0, 100, in_sync=False), 2000),
        (replica(5.0, 300, in_sync=False), 0),
    ],
)
def test_replicas_that_are_not_to_be_read(report: NodeReport | None, lag_ms: int | None) -> None:
    topology = watched()
    topology.sentinel_said("x", 1, "m", ["r"])
    for at, offset in ((3.0, 100), (5.0, 300)):
        topology.node_said("m", master(at, offset))
    topology.node_said("r", replica(4.9, 300))
    assert topology.view(locate).replicas[0].caught_up_to == 4.9
    topology.node_said("r", report)
    (seen,) = topology.view(locate).replicas
    assert (seen.caught_up_to, seen.lag_ms) == (NEVER, lag_ms)


def test_a_replica_that_is_not_heard_of_falls_behind_though_nothing_changes() -> None:
    topology = watched()
    topology.sentinel_said("x", 1, "m", ["r"])
    topology.node_said("r", replica(1.0, 100))
    for now in (1.1, 2.0, 9.0):
        topology.node_said("m", master(now, 100))
    assert topology.view(locate).replicas[0].caught_up_to == 1.0


def test_offsets_of_another_stream_are_not_compared() -> None:
    topology = watched()
    topology.sentinel_said("x", 1, "m", ["r"])
    topology.node_said("m", master(1.0, 100))
    topology.node_said("r", replica(1.0, 100))
    assert topology.view(locate).replicas[0].caught_up_to == 1.0
    topology.node_said("m", master(2.0, 5, history="restarted"))
    assert topology.view(locate).replicas[0].caught_up_to == NEVER
    topology.node_said("r", replica(2.1, 5, history="restarted"))
    assert topology.view(locate).replicas[0].caught_up_to == 2.0
    topology.sentinel_said("x", 2, "r", ["m"])
    topology.node_said("m", replica(2.2, 5, history="restarted"))
    assert topology.view(locate).replicas[0].caught_up_to == NEVER, "nothing is known of the new master yet"


def test_what_a_master_says_that_takes_itself_for_a_replica_is_no_sample() -> None:
    topology = watched()
    topology.sentinel_said("x", 1, "m", ["r"])
    topology.node_said("m", replica(1.0, 100))
    topology.node_said("r", replica(1.0, 100))
    assert topology.view(locate).replicas[0].caught_up_to == NEVER


# -- what is told


@pytest.mark.parametrize(
    "view",
    [
        ShardView("s", None, problem="none"),
        ShardView("s", NodeView("a", "redis://:secret@a", 7), (NodeView("b", "u"), NodeView("c", "u", 8, 12, 34.5)), 3),
    ],
)
def test_a_view_survives_json(view: ShardView) -> None:
    assert ShardView.from_json(json.loads(json.dumps(view.to_json()))) == view


def test_a_url_is_not_told_by_accident() -> None:
    assert "secret" not in repr(ShardView("s", NodeView("a", "redis://:secret@a"), (NodeView("b", "r://secret"),)))


def test_a_view_locates_every_node() -> None:
    topology = watched()
    topology.sentinel_said("x", 1, "m", ["r"])
    view = topology.view(lambda address: (f"unix:{address}", len(address)))
    assert view == ShardView("s", NodeView("m", "unix:m", 1), (NodeView("r", "unix:r", 1),), 0, "")
