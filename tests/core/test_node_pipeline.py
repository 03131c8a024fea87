"""A node's conversation: order, bounds, faults."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wireproto.core.bundle import Batch, Bundle
from wireproto.core.node_health import NodeEvent, NodeState
from wireproto.core.node_pipeline import NodePipeline, NodeProtocolError


class Owner:
    """Writes down what it is given."""

    def __init__(self) -> None:
        self.replies: list[object] = []
        self.failures: list[tuple[str, int | None]] = []
        self.bugs: list[Exception] = []
        self.has_bug = False

    def deliver(self, bundle: Bundle, first: int, replies: list[object], size: int, now: float) -> None:
        if self.has_bug:
            raise RuntimeError("a bug")
        assert size >= 0
        assert first + len(replies) == bundle.answered
        self.replies += replies

    def fail(self, bundle: Bundle, code: str, text: str, retry_ms: int | None = None) -> None:
        if self.has_bug:
            raise RuntimeError("a bug")
        self.failures.append((code, retry_ms))

    def give_up(self, error: Exception) -> None:
        self.bugs.append(error)


def pipeline(*, up: bool = True, max_requests: int = 100, max_bytes: int = 1000) -> NodePipeline:
    made = NodePipeline("n", lambda: None, max_requests=max_requests, max_bytes=max_bytes, max_value=1000)
    made.change(NodeEvent.TRY)
    if up:
        made.change(NodeEvent.GREETED)
    return made


def bundle(owner: Owner, count: int = 1, cost: int = 0) -> Bundle:
    made = Bundle(owner, Batch(), 0.0)
    made.commands = [b"\r\n*1\r\n$4\r\nPING"] * count
    made.kinds, made.slots = [1] * count, list(range(count))
    made.cost = cost
    return made


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.lists(st.integers(0, 400), max_size=10))
def test_replies_reach_their_owners_in_order_however_they_are_cut(counts: list[int], places: list[int]) -> None:
    node = pipeline()
    owners = [Owner() for _ in counts]
    for owner, count in zip(owners, counts, strict=True):
        node.submit(bundle(owner, count))
    assert node.data_to_send(1.0) == b"*1\r\n$4\r\nPING\r\n" * sum(counts)
    data = b"".join(b"$%d\r\n%d\r\n" % (len(str(number)), number) for number in range(sum(counts)))
    bounds = sorted({0, len(data), *(place % len(data) for place in places)})
    for start, stop in pairwise(bounds):
        node.receive(data[start:stop], 2.0)
    seen = [reply for owner in owners for reply in owner.replies]
    assert seen == [b"%d" % number for number in range(sum(counts))]
    assert [len(owner.replies) for owner in owners] == counts
    assert (node.in_flight_requests, node.waiting_requests, node.queued_bytes) == (0, 0, 0)


@pytest.mark.parametrize("state", [NodeState.PROBING, NodeState.DOWN])
def test_a_node_that_is_not_up_refuses_at_once(state: NodeState) -> None:
    node = pipeline(up=False)
    if state is NodeState.DOWN:
        node.change(NodeEvent.LOST)
    owner = Owner()
    node.submit(bundle(owner))
    assert owner.failures == [("DOWN", None)]
    assert not node.waiting


def test_queues_are_bounded_by_number_and_by_bytes() -> None:
    node, owner = pipeline(max_requests=10), Owner()
    node.submit(bundle(owner, 6))
    node.data_to_send(0.0)
    node.submit(bundle(owner, 5))
    assert owner.failures == [("BUSY", 50)]
    node.submit(bundle(owner, 4))
    assert len(owner.failures) == 1
    node, owner = pipeline(max_bytes=1000), Owner()
    node.submit(bundle(owner, 1, 600))
    node.submit(bundle(owner, 1, 401))
    node.submit(bundle(owner, 1, 400))
    assert owner.failures == [("BUSY", 50)]


def test_room_comes_back_with_the_answers() -> None:
    node, owner = pipeline(max_requests=1, max_bytes=10), Owner()
    for _ in range(5):
        node.submit(bundle(owner, 1, 10))
        node.data_to_send(0.0)
        node.receive(b"+OK\r\n", 0.0)
    assert owner.replies == [b"OK"] * 5
    assert not owner.failures


def test_nothing_is_sent_while_the_connection_takes_nothing() -> None:
    node, owner = pipeline(), Owner()
    node.submit(bundle(owner))
    node.stopped = True
    assert node.data_to_send(0.0) == b""
    node.stopped = False
    assert node.data_to_send(0.0) != b""


def test_what_is_late_is_not_sent() -> None:
    node, early, late = pipeline(), Owner(), Owner()
    in_time, too_late = bundle(early, 2), bundle(late, 3, 30)
    in_time.deadline, too_late.deadline = 3.0, 1.0
    node.submit(in_time)
    node.submit(too_late)
    assert node.data_to_send(2.0).count(b"PING") == 2
    assert late.failures == [("LATE", None)]
    assert (node.waiting_requests, node.in_flight_requests, node.queued_bytes) == (0, 2, 0)


def test_a_lost_connection_tells_everyone_what_happened() -> None:
    node = pipeline()
    overdue, sent, waiting = Owner(), Owner(), Owner()
    node.submit(bundle(overdue))
    node.data_to_send(1.0)
    node.submit(bundle(sent))
    node.data_to_send(5.0)
    node.submit(bundle(waiting))
    assert node.is_overdue(before=2.0)
    node.lost(sent_before=2.0)
    assert (overdue.failures, sent.failures, waiting.failures) == (
        [("TIMEOUT", None)],
        [("LOST", None)],
        [("DOWN", None)],
    )
    assert node.state is NodeState.DOWN
    assert not node.is_overdue(before=9.0)


def test_half_a_reply_of_a_lost_connection_is_forgotten() -> None:
    node, before, after = pipeline(), Owner(), Owner()
    node.submit(bundle(before))
    node.data_to_send(0.0)
    node.receive(b"$5\r\nhal", 0.0)
    node.lost()
    node.change(NodeEvent.TRY)
    node.change(NodeEvent.GREETED)
    node.submit(bundle(after))
    node.data_to_send(0.0)
    node.receive(b"$3\r\nnew\r\n", 0.0)
    assert after.replies == [b"new"]
    assert before.replies == []


@pytest.mark.parametrize("garbage", [b"garbage\r\n", b"HTTP/1.1 200 OK\r\n", b"\x00\x01\x02", b"$abc\r\n", b":x\r\n"])
def test_garbage_is_not_taken_for_a_reply(garbage: bytes) -> None:
    node, owner = pipeline(), Owner()
    node.submit(bundle(owner))
    node.data_to_send(0.0)
    with pytest.raises(NodeProtocolError):
        node.receive(garbage, 0.0)
    assert owner.replies == []


def test_a_reply_that_nobody_asked_for_is_not_taken() -> None:
    node, owner = pipeline(), Owner()
    with pytest.raises(NodeProtocolError):
        node.receive(b"+OK\r\n", 0.0)
    node = pipeline()
    node.submit(bundle(owner))
    node.data_to_send(0.0)
    with pytest.raises(NodeProtocolError):
        node.receive(b"+OK\r\n+OK\r\n", 0.0)
    assert owner.replies == [b"OK"]


def test_a_reply_longer_than_any_value_is_cut_off() -> None:
    node, owner = pipeline(), Owner()
    node.submit(bundle(owner))
    node.data_to_send(0.0)
    node.receive(b"$100000000\r\n", 0.0)
    for _ in range(15):
        node.receive(b"a" * (1 << 20), 0.0)
    with pytest.raises(NodeProtocolError):
        node.receive(b"a" * (2 << 20), 0.0)


def test_a_bug_of_one_owner_is_not_the_others() -> None:
    node, buggy, other = pipeline(), Owner(), Owner()
    buggy.has_bug = True
    node.submit(bundle(buggy))
    node.submit(bundle(other))
    node.data_to_send(0.0)
    node.receive(b"+A\r\n+B\r\n", 0.0)
    assert other.replies == [b"B"]
    assert isinstance(buggy.bugs[0], RuntimeError)
    node.submit(bundle(buggy))
    node.submit(bundle(other))
    node.lost()
    assert other.failures == [("DOWN", None)]


def test_the_round_trip_is_smoothed() -> None:
    node, owner = pipeline(), Owner()
    for _ in range(100):
        node.submit(bundle(owner))
        node.data_to_send(1.0)
        node.receive(b"+OK\r\n", 1.5)
    assert node.round_trip == pytest.approx(0.5, rel=0.01)
