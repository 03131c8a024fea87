"""A node's conversation: order, bounds, faults."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from wireproto.core.bundle import Batch, Bundle
from wireproto.core.node_health import NodeEvent, NodeState
from wireproto.core.node_pipeline import NodePipeline, NodeProtocolError
from wireproto.core.scripts import SCRIPTS


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


NO_REPLIES = [b"garbage\r\n", b"HTTP/1.1 200 OK\r\n", b"\x00\x01\x02", b"$abc\r\n", b":x\r\n"]
MAPS_THAT_NO_DICTIONARY_CAN_BE = [b"%1\r\n*0\r\n:1\r\n", b"%1\r\n%0\r\n:1\r\n", b"*1\r\n%1\r\n*1\r\n:1\r\n:1\r\n"]


@pytest.mark.parametrize("garbage", [*NO_REPLIES, *MAPS_THAT_NO_DICTIONARY_CAN_BE])
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


# -- a node that is not trusted


def suspect() -> NodePipeline:
    node = pipeline(up=False)
    node.greeted("master", b"h", 0.0, trusted=False)
    return node


def counts(node: NodePipeline) -> tuple[int, int, int]:
    return node.waiting_requests, node.in_flight_requests, node.queued_bytes


def test_a_suspect_takes_one_bundle_at_a_time_until_it_answers() -> None:
    node, tried, refused = suspect(), Owner(), Owner()
    assert node.state is NodeState.SUSPECT
    node.submit(bundle(tried, 2, 10))
    node.submit(bundle(refused))
    assert node.data_to_send(1.0).count(b"PING") == 2
    node.submit(bundle(refused))
    node.receive(b"+A\r\n", 1.1)
    assert node.state is NodeState.UP, "it answers"
    assert refused.failures == [("DOWN", None)] * 2
    node.submit(bundle(tried))
    node.submit(bundle(tried))
    assert node.data_to_send(1.2).count(b"PING") == 2
    node.receive(b"+B\r\n+C\r\n+D\r\n", 1.3)
    assert tried.replies == [b"A", b"B", b"C", b"D"]
    assert counts(node) == (0, 0, 0)


def test_a_suspect_that_does_not_answer_fails_the_one_that_tried() -> None:
    node, owner = suspect(), Owner()
    node.submit(bundle(owner, 1, 10))
    node.data_to_send(1.0)
    node.lost(sent_before=2.0)
    assert owner.failures == [("TIMEOUT", None)]
    assert node.state is NodeState.DOWN
    assert counts(node) == (0, 0, 0)


def test_what_a_suspect_took_and_was_not_sent_is_told() -> None:
    node, owner = suspect(), Owner()
    node.submit(bundle(owner, 1, 10))
    node.lost()
    assert owner.failures == [("DOWN", None)]
    assert counts(node) == (0, 0, 0)


@pytest.mark.parametrize("make", [pipeline, suspect])
def test_a_node_that_has_refused_a_write_as_a_replica_gets_nothing(make: Callable[[], NodePipeline]) -> None:
    node, sent, waiting, refused = make(), Owner(), Owner(), Owner()
    node.submit(bundle(sent, 2))
    node.data_to_send(1.0)
    if node.state is NodeState.UP:
        node.submit(bundle(waiting))
    node.receive(b"+A\r\n", 1.1)
    node.no_master()
    assert node.state is NodeState.SUSPECT
    node.submit(bundle(refused))
    assert refused.failures == [("DOWN", None)]
    assert node.data_to_send(1.2) == b""
    node.receive(b"+B\r\n", 1.3)
    assert sent.replies == [b"A", b"B"], "what it was sent before is still read"
    assert node.state is NodeState.SUSPECT, "and does not make it trusted"
    node.lost()
    assert waiting.failures in ([], [("DOWN", None)])
    assert counts(node) == (0, 0, 0)
    node.change(NodeEvent.TRY)
    node.submit(bundle(refused))
    assert len(refused.failures) == 2
    node.greeted("master", b"h", 0.0, trusted=True)
    node.submit(bundle(refused))
    assert node.data_to_send(2.0) != b""
    assert len(refused.failures) == 2


def test_what_a_node_says_in_its_greeting_is_known() -> None:
    node = pipeline(up=False)
    assert (node.role, node.history) == ("unknown", b"")
    node.greeted("master", b"abc", 0.0, trusted=True)
    assert (node.role, node.history) == ("master", b"abc")


# -- scripts

LOADED = b"$40\r\n" + b"a" * 40 + b"\r\n"


def test_scripts_are_sent_once_until_the_node_has_answered_for_all_of_them() -> None:
    node = pipeline()
    first, behind = Owner(), Owner()
    node.submit(bundle(first))
    node.load_scripts()
    node.load_scripts()
    node.submit(bundle(behind))
    sent = node.data_to_send(0.0)
    assert sent.count(b"LOAD") == len(SCRIPTS)
    assert all(script.text in sent for script in SCRIPTS)
    assert counts(node) == (0, 2 + len(SCRIPTS), 0)
    for number in range(len(SCRIPTS)):
        node.load_scripts()
        assert not node.waiting, "they are on their way"
        node.receive((b"+PONG\r\n" if not number else b"") + LOADED, 0.0)
    node.receive(b"$1\r\nv\r\n", 0.0)
    assert (first.replies, behind.replies) == ([b"PONG"], [b"v"]), "everybody has the own answer"
    node.load_scripts()
    assert node.data_to_send(0.0).count(b"LOAD") == len(SCRIPTS), "the node has forgotten them again"


@pytest.mark.parametrize("reply", [LOADED, b"-NOPERM no\r\n", b"-OOM no\r\n", b":1\r\n"])
def test_whatever_a_node_says_to_the_scripts_they_can_be_sent_again(reply: bytes) -> None:
    node, owner = pipeline(), Owner()
    node.load_scripts()
    node.data_to_send(0.0)
    node.receive(reply * len(SCRIPTS), 0.0)
    node.submit(bundle(owner))
    node.data_to_send(0.0)
    node.receive(b"+PONG\r\n", 0.0)
    assert owner.replies == [b"PONG"]
    node.load_scripts()
    assert node.waiting_requests == len(SCRIPTS)


def test_a_node_that_is_lost_before_it_has_the_scripts_gets_them_again() -> None:
    node = pipeline()
    node.load_scripts()
    node.data_to_send(0.0)
    node.receive(LOADED, 0.0)
    node.lost()
    node.load_scripts()
    assert not node.waiting, "who greets it tells it"
    node.change(NodeEvent.TRY)
    node.change(NodeEvent.GREETED)
    node.load_scripts()
    assert node.waiting_requests == len(SCRIPTS)
    node.lost()
    assert not node.waiting


# -- while requests are held


def held(until: float = 5.0) -> NodePipeline:
    """A node that was up, and is lost."""
    node = pipeline()
    node.lost(hold_until=until)
    return node


def received(owner: Owner, at: float, cost: int = 0) -> Bundle:
    made = bundle(owner, 1, cost)
    made.received_at = at
    return made


def test_held_requests_are_sent_when_the_node_is_back() -> None:
    node, before, after = pipeline(), Owner(), Owner()
    node.submit(bundle(before, 2, 10))
    node.lost(hold_until=5.0)
    node.submit(received(after, 1.0, 20))
    assert node.data_to_send(1.0) == b""
    node.give_up_held(4.9)
    node.change(NodeEvent.TRY)
    node.submit(received(after, 2.0))
    assert node.data_to_send(2.0) == b""
    assert counts(node) == (4, 0, 30)
    node.greeted("master", b"h", 0.0, trusted=True)
    assert node.held_until == 0.0
    assert node.data_to_send(3.0).count(b"PING") == 4
    node.receive(b"+A\r\n+B\r\n+C\r\n+D\r\n", 3.1)
    assert (before.replies, after.replies) == ([b"A", b"B"], [b"C", b"D"])
    assert before.failures == after.failures == []
    assert counts(node) == (0, 0, 0)


def test_what_was_sent_is_not_held_for_its_outcome_is_unknown() -> None:
    node, sent, waiting = pipeline(), Owner(), Owner()
    node.submit(bundle(sent, 1, 10))
    node.data_to_send(1.0)
    node.submit(bundle(waiting, 1, 20))
    node.lost(hold_until=5.0)
    assert sent.failures == [("LOST", None)]
    assert waiting.failures == []
    assert counts(node) == (1, 0, 20)


def test_held_requests_are_given_up_when_their_time_is_over() -> None:
    node, early, late = held(5.0), Owner(), Owner()
    node.submit(received(early, 1.0, 10))
    node.submit(received(late, 5.0, 10))
    assert late.failures == [("DOWN", None)], "it came too late to be held"
    node.give_up_held(4.999)
    assert early.failures == []
    node.give_up_held(5.0)
    assert early.failures == [("DOWN", None)]
    node.submit(received(early, 4.0))
    assert len(early.failures) == 2, "nothing is held any more"
    assert counts(node) == (0, 0, 0)


def test_a_node_that_is_lost_again_before_it_was_of_use_holds_what_waits() -> None:
    node, owner = held(5.0), Owner()
    node.submit(received(owner, 1.0))
    for hold_until in (0.0, 4.0):
        node.change(NodeEvent.TRY)
        node.lost(hold_until=hold_until)
        assert node.held_until == 5.0
        assert owner.failures == []
    node.give_up_held(5.0)
    assert owner.failures == [("DOWN", None)]


def test_a_deadline_passes_while_requests_are_held() -> None:
    node, patient, hasty = held(5.0), Owner(), Owner()
    node.submit(received(patient, 1.0, 10))
    made = received(hasty, 1.0, 20)
    made.deadline = 2.0
    node.submit(made)
    node.give_up_late(2.0)
    assert hasty.failures == []
    node.give_up_late(2.1)
    assert hasty.failures == [("LATE", None)]
    assert counts(node) == (1, 0, 10)
    node.change(NodeEvent.TRY)
    node.greeted("master", b"h", 0.0, trusted=True)
    assert node.data_to_send(3.0).count(b"PING") == 1
    assert patient.failures == []


def test_what_is_held_is_bounded_too() -> None:
    node, owner = held(), Owner()
    node.submit(received(owner, 1.0, 1000))
    node.submit(received(owner, 1.0, 1))
    assert owner.failures == [("BUSY", 50)]


def test_the_node_is_woken_for_what_was_held() -> None:
    woken: list[int] = []
    node = NodePipeline("n", lambda: woken.append(1), max_requests=9, max_bytes=9, max_value=9)
    node.held_until = 5.0
    node.submit(received(Owner(), 1.0))
    node.submit(received(Owner(), 1.0))
    assert woken == [1]


# -- everything that may happen, in any order


class PipelineMachine(RuleBasedStateMachine):
    """Whatever happens, every entry is answered once, and the counts are those of what waits and is in flight."""

    @initialize()
    def begin(self) -> None:
        self.node = NodePipeline("n", lambda: None, max_requests=12, max_bytes=60, max_value=100)
        self.now = 1.0
        self.owners: list[tuple[Owner, Bundle]] = []

    def _answered(self, owner: Owner, made: Bundle) -> int:
        assert len(owner.failures) <= 1, "a bundle fails once"
        return len(made.kinds) if owner.failures else len(owner.replies)

    @rule(count=st.integers(1, 4), cost=st.integers(0, 30), deadline=st.sampled_from([0.0, 0.0, 0.5, 2.0]))
    def submit(self, count: int, cost: int, deadline: float) -> None:
        owner = Owner()
        made = bundle(owner, count, cost)
        made.received_at = self.now
        made.deadline = self.now + deadline if deadline else 0.0
        self.owners.append((owner, made))
        self.node.submit(made)

    @rule(seconds=st.sampled_from([0.1, 0.6, 3.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def send(self) -> None:
        before = self.node.waiting_requests
        data = self.node.data_to_send(self.now)
        if data:
            assert self.node.state in (NodeState.UP, NodeState.SUSPECT)
            assert not self.node.refused_as_replica
            assert not self.node.stopped
            assert data.count(b"PING") <= before

    @precondition(lambda self: self.node.in_flight)
    @rule(share=st.floats(0.0, 1.0))
    def receive(self, share: float) -> None:
        count = max(1, round(share * self.node.in_flight_requests))
        self.node.receive(b"+OK\r\n" * count, self.now)

    @precondition(lambda self: self.node.in_flight)
    @rule()
    def receive_half(self) -> None:
        self.node.receive(b"$3\r\n", self.now)
        self.node.receive(b"abc\r\n", self.now)

    @precondition(lambda self: self.node.state is NodeState.DOWN)
    @rule()
    def try_again(self) -> None:
        self.node.change(NodeEvent.TRY)

    @precondition(lambda self: self.node.state is NodeState.PROBING)
    @rule(trusted=st.booleans())
    def greet(self, trusted: bool) -> None:
        self.node.greeted("master", b"h", 0.0, trusted=trusted)

    @precondition(lambda self: self.node.state is not NodeState.DOWN)
    @rule(hold=st.sampled_from([0.0, 1.0]), silence=st.sampled_from([0.0, 0.5]))
    def lose(self, hold: float, silence: float) -> None:
        self.node.lost(self.now - silence if silence else 0.0, self.now + hold if hold else 0.0)

    @precondition(lambda self: self.node.state in (NodeState.UP, NodeState.SUSPECT))
    @rule()
    def refuse(self) -> None:
        self.node.no_master()

    @rule(stopped=st.booleans())
    def stop(self, stopped: bool) -> None:
        if self.node.state in (NodeState.UP, NodeState.SUSPECT):
            self.node.stopped = stopped

    @rule()
    def look_at_the_time(self) -> None:
        self.node.give_up_late(self.now)
        self.node.give_up_held(self.now)
        assert not any(made.deadline and made.deadline < self.now for made in self.node.waiting)

    @invariant()
    def the_counts_are_right(self) -> None:
        waiting, in_flight = list(self.node.waiting), list(self.node.in_flight)
        assert self.node.waiting_requests == sum(len(made.kinds) for made in waiting)
        assert self.node.in_flight_requests == sum(len(made.kinds) - made.answered for made in in_flight)
        assert self.node.queued_bytes == sum(made.cost for made in (*waiting, *in_flight))
        kept = {id(made) for made in (*waiting, *in_flight)}
        for owner, made in self.owners:
            assert (self._answered(owner, made) < len(made.kinds)) == (id(made) in kept)
            assert not owner.bugs

    def teardown(self) -> None:
        if not hasattr(self, "node"):
            return
        if self.node.state is NodeState.DOWN:
            self.node.change(NodeEvent.TRY)
        self.node.lost()
        self.node.give_up_held(1e9)
        assert counts(self.node) == (0, 0, 0)
        for owner, made in self.owners:
            assert self._answered(owner, made) == len(made.kinds)
            assert len(owner.replies) <= len(made.kinds) - bool(owner.failures)


TestPipelineMachine = PipelineMachine.TestCase
