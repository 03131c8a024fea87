"""Requests of shards with replicas: who reads where, what is answered when replicas have it, and in which order."""

from __future__ import annotations

import pytest

from tests.core.conversation import Conversation, DictionaryNode, key_of
from wireproto.core.bundle import Asker, Bundle
from wireproto.core.confirmations import ShardConfirmations
from wireproto.core.limits import Limits
from wireproto.core.node_health import NodeEvent, NodeState
from wireproto.core.node_pipeline import NodePipeline
from wireproto.core.replication_policy import ReplicationPolicy
from wireproto.core.shard_lane import Replica

NOSYNC = b"ERR NOSYNC :0 of 1 replicas have it\n"


class Confirmer:
    """Is asked, and answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[Asker, Bundle, int, bytes, int]] = []

    def ask(self, asker: Asker, bundle: Bundle, index: int, line: bytes, needed: int, now: float) -> None:
        self.asked.append((asker, bundle, index, line, needed))

    @property
    def needed(self) -> list[int]:
        return [question[-1] for question in self.asked]

    def answer(self, number: int = 0, problem: str = "", now: float = 10.0) -> None:
        asker, bundle, index, line, _ = self.asked.pop(number)
        asker.confirm(bundle, index, line, problem, now)


class ReplicatedConversation(Conversation):
    """A conversation where each shard has a replica, which has everything until `caught_up_to`, and a Confirmer.

    Replicas hold what the test puts there: they are not told what is written.
    """

    def __init__(
        self, policy: ReplicationPolicy | None = None, *, limits: Limits | None = None, nodes_answer: bool = True
    ) -> None:
        super().__init__(policy=policy, limits=limits)
        self.copies = [DictionaryNode() for _ in self.nodes]
        self.confirmers = [Confirmer() for _ in self.nodes]
        self.copy_pipelines = [self._attach(index) for index in range(len(self.nodes))]
        self.open_window()
        self.nodes_answer = nodes_answer

    def _attach(self, index: int) -> NodePipeline:
        pipeline = NodePipeline(f"copy-{index}", lambda: None, max_requests=100, max_bytes=1 << 20, max_value=1 << 20)
        pipeline.change(NodeEvent.TRY)
        pipeline.greeted("replica", b"h", 0.0, trusted=True)
        replica = Replica(pipeline, index)
        replica.caught_up_to = self.now
        self.lanes[index].replicas.append(replica)
        self.lanes[index].confirmations = self.confirmers[index]
        return pipeline

    def exchange_with(self, index: int) -> bool:
        moved = super().exchange_with(index)
        return self.exchange_with_copy(index) or moved

    def exchange_with_copy(self, index: int) -> bool:
        if not hasattr(self, "copies"):
            return False
        pipeline = self.copy_pipelines[index]
        data = pipeline.data_to_send(self.now)
        if data:
            pipeline.receive(b"".join(self.copies[index].execute(data)), self.now)
        return bool(data)

    def reaches(self, now: float) -> None:
        """It is later now, and replicas have everything until then."""
        self.now = now
        self.world.now += 1
        for lane in self.lanes:
            lane.replicas[0].caught_up_to = now

    def put(self, key: bytes) -> None:
        """The master and the replica of a key have different values, which tell them apart."""
        owner = self.owner(key)
        self.nodes[owner].values[b"ns:" + key] = b"master"
        self.copies[owner].values[b"ns:" + key] = b"copy"

    def hand_out(self, index: int) -> bytes:
        """Let the master answer, and see what leaves."""
        self.exchange_with(index)
        return self.session.data_to_send()

    @property
    def in_flight(self) -> tuple[int, int]:
        answers = self.session._answers
        return answers.in_flight, answers.in_flight_bytes


FROM_MASTER, FROM_COPY = b"OK 6:master\n", b"OK 4:copy\n"
ALL_READ = ReplicationPolicy(reads_replicas=True)


def command(verb: bytes, key: bytes, rest: bytes = b"") -> bytes:
    return b"%b %d:%b%b\n" % (verb, len(key), key, rest)


# -- reads


def test_a_read_that_says_so_goes_to_the_replica_and_others_to_the_master() -> None:
    talk = ReplicatedConversation()
    talk.put(b"k")
    talk.reaches(20.0)
    assert talk.say(b"READ 1:k replica\nREAD 1:k\n#t GET 1:k replica\nREAD 1:k ttl\n") in (
        FROM_COPY + FROM_MASTER + FROM_MASTER + b"#t " + FROM_COPY,
        b"#t " + FROM_COPY + FROM_COPY + FROM_MASTER + FROM_MASTER,
    )
    assert talk.say(b"READ 1:k replica ttl\n") == FROM_COPY
    assert talk.in_flight == (0, 0)


def test_with_the_policy_every_read_goes_to_the_replica() -> None:
    talk = ReplicatedConversation(ALL_READ)
    talk.put(b"k")
    talk.reaches(20.0)
    assert talk.say(b"READ 1:k\nGET 1:k\nread 1:k ttl\nREAD 1:k trace\n") == (
        FROM_COPY * 3 + b"OK 4:copy node=copy-%d role=replica queue_us=0 node_us=0\n" % talk.owner(b"k")
    )


def test_a_miss_of_a_replica_is_a_miss() -> None:
    talk = ReplicatedConversation()
    talk.reaches(20.0)
    assert talk.say(b"READ 1:k replica\n") == b"MISS\n"


@pytest.mark.parametrize("trouble", ["behind", "down", "gone"])
def test_where_no_replica_is_fit_the_master_answers(trouble: str) -> None:
    talk = ReplicatedConversation(ReplicationPolicy(max_lag=1.0))
    talk.put(b"k")
    talk.reaches(20.0)
    assert talk.say(b"READ 1:k replica\n") == FROM_COPY
    lane = talk.lanes[talk.owner(b"k")]
    if trouble == "behind":
        lane.replicas[0].caught_up_to = 18.9
    elif trouble == "down":
        lane.replicas[0].pipeline.lost()
    else:
        lane.replicas = []
    assert talk.say(b"READ 1:k replica\n") == FROM_MASTER


WRITES = {
    "plain WRITE": b"WRITE 1:k 6:master\n",
    "tagged WRITE": b"#a SET 1:k 6:master\n",
    "WRITE with a time": b"WRITE 1:k 6:master ex=9\n",
    "typed WRITE": b'write "k" "master"\n',
    "WRITE on a condition": b"WRITE 1:k 6:master xx\n",
    "WRITE with a deadline": b"WRITE 1:k 6:master deadline=50\n",
    "WRITE before one with a deadline": b"WRITE 1:k 6:master\nREAD 1:k deadline=50\n",
    "TOUCH": b"TOUCH 1:k ex=9\n",
    "DELETE and WRITE": b"DELETE 1:k\nWRITE 1:k 6:master\n",
}


@pytest.mark.parametrize("policy", [ReplicationPolicy(longest_answer=2.0), ALL_READ, ReplicationPolicy(sync=1)])
@pytest.mark.parametrize("has_read_before", [False, True])
@pytest.mark.parametrize("name", WRITES)
def test_what_this_client_has_just_written_is_read_from_the_master(
    name: str, has_read_before: bool, policy: ReplicationPolicy
) -> None:
    talk = ReplicatedConversation(policy)
    talk.put(b"k")
    talk.reaches(20.0)
    if has_read_before:
        assert talk.say(b"READ 1:k replica\n") == FROM_COPY
    talk.say(WRITES[name])
    for confirmer in talk.confirmers:
        while confirmer.asked:
            confirmer.answer()
    talk.settle()
    # Until then the write may not have been executed.
    bound = 20.0 + policy.longest_answer
    for caught_up_to in (20.0, 20.5, bound - 0.001):
        talk.reaches(caught_up_to)
        assert talk.say(b"READ 1:k replica\n") == FROM_MASTER, caught_up_to
    talk.reaches(bound)
    assert talk.say(b"READ 1:k replica\n") == FROM_COPY


def test_a_write_that_had_to_wait_for_its_node_counts_from_when_it_was_sent() -> None:
    talk = ReplicatedConversation(ReplicationPolicy(longest_answer=2.0, max_lag=9.0))
    talk.put(b"k")
    talk.reaches(20.0)
    assert talk.say(b"READ 1:k replica\n") == FROM_COPY
    master = talk.pipelines[talk.owner(b"k")]
    master.stopped = True
    talk.say(b"WRITE 1:k 6:master\n")
    talk.now = 25.0
    master.takes_more(25.0)
    assert talk.settle() == b"OK\n"
    talk.reaches(26.9)
    assert talk.say(b"READ 1:k replica\n") == FROM_MASTER
    talk.reaches(27.0)
    assert talk.say(b"READ 1:k replica\n") == FROM_COPY


@pytest.mark.parametrize("has_read_before", [False, True])
@pytest.mark.parametrize("name", WRITES)
def test_the_same_within_one_read_of_the_client(name: str, has_read_before: bool) -> None:
    talk = ReplicatedConversation()
    talk.put(b"k")
    talk.reaches(20.0)
    if has_read_before:
        assert talk.say(b"READ 1:k replica\n") == FROM_COPY
    assert talk.say(WRITES[name] + b"READ 1:k replica\n").endswith(FROM_MASTER)


def test_what_others_write_is_read_from_the_replica_all_the_same() -> None:
    talk = ReplicatedConversation()
    mine, other = key_of(talk, 0), key_of(talk, 1)
    talk.put(other)
    talk.reaches(20.0)
    talk.say(command(b"READ", other, b" replica"))
    talk.say(command(b"WRITE", mine, b" 1:v"))
    assert talk.say(command(b"READ", other, b" replica")) == FROM_COPY


def test_reads_before_do_not_count_as_writes() -> None:
    talk = ReplicatedConversation()
    talk.put(b"k")
    talk.reaches(20.0)
    assert talk.say(b"READ 1:k\nREAD 1:k\n", b"READ 1:k replica\n") == FROM_MASTER * 2 + FROM_COPY


def test_a_read_of_a_replica_with_a_deadline() -> None:
    talk = ReplicatedConversation(nodes_answer=False)
    talk.put(b"k")
    talk.reaches(20.0)
    owner = talk.owner(b"k")
    talk.session.receive(b"READ 1:k replica\nREAD 1:k replica deadline=20\nREAD 1:k replica\n", 20.0)
    talk.copy_pipelines[owner].stopped = True
    talk.copy_pipelines[owner].give_up_late(20.03)
    talk.copy_pipelines[owner].stopped = False
    late = b"ERR LATE :the deadline passed before the request could be sent\n"
    assert talk.hand_out(owner) == FROM_COPY + late + FROM_COPY
    assert talk.in_flight == (0, 0)


def test_a_slow_replica_keeps_untagged_order_and_holds_no_tagged_reply_up() -> None:
    talk = ReplicatedConversation(nodes_answer=False)
    talk.put(b"k")
    talk.reaches(20.0)
    owner = talk.owner(b"k")
    talk.session.receive(b"READ 1:k replica\nREAD 1:k\n#t READ 1:k\n", 20.0)
    Conversation.exchange_with(talk, owner)
    assert talk.session.data_to_send() == b"#t " + FROM_MASTER
    talk.exchange_with_copy(owner)
    assert talk.session.data_to_send() == FROM_COPY + FROM_MASTER
    assert talk.session.owes_nothing


def test_a_replica_that_is_lost_with_a_request_is_told() -> None:
    talk = ReplicatedConversation(nodes_answer=False)
    talk.reaches(20.0)
    owner = talk.owner(b"k")
    talk.session.receive(b"READ 1:k replica\n", 20.0)
    talk.copy_pipelines[owner].data_to_send(20.0)
    talk.copy_pipelines[owner].lost()
    assert talk.session.data_to_send() == b"ERR LOST :the connection to node copy-%d broke\n" % owner
    assert talk.in_flight == (0, 0)


# -- confirmed writes


def test_a_write_with_sync_is_answered_when_it_is_confirmed() -> None:
    talk = ReplicatedConversation()
    confirmer = talk.confirmers[talk.owner(b"k")]
    assert talk.say(b"WRITE 1:k 1:v sync=2\n") == b""
    assert talk.nodes[talk.owner(b"k")].values[b"ns:k"] == b"v"
    assert confirmer.needed == [2]
    assert not talk.session.owes_nothing
    outputs = talk.outputs
    confirmer.answer()
    assert talk.outputs > outputs, "the shell is told that there is something to send"
    assert talk.session.data_to_send() == b"OK\n"
    assert talk.session.owes_nothing
    assert talk.in_flight == (0, 0)
    assert talk.metrics.outcomes["WRITE", "OK"] + talk.metrics.stored == 1


def test_a_write_that_is_not_confirmed_is_told_so() -> None:
    talk = ReplicatedConversation()
    confirmer = talk.confirmers[talk.owner(b"k")]
    talk.say(b"WRITE 1:k 1:v sync=1\n#t DELETE 1:k sync=1\n")
    for _ in range(2):
        confirmer.answer(problem="0 of 1 replicas have it")
    assert talk.session.data_to_send() == b"#t " + NOSYNC + NOSYNC
    outcomes = talk.metrics.all_outcomes()
    assert (outcomes["WRITE", "NOSYNC"], outcomes["DELETE", "NOSYNC"]) == (1, 1)
    assert ("WRITE", "OK") not in outcomes
    assert talk.in_flight == (0, 0)


def test_untagged_answers_wait_for_a_confirmation_and_tagged_ones_overtake() -> None:
    talk = ReplicatedConversation(nodes_answer=False)
    owner = talk.owner(b"k")
    talk.session.receive(b"READ 1:k\nWRITE 1:k 1:v sync=1\nREAD 1:k\n#t READ 1:k\nDELETE 1:k sync=1\nPING\n", talk.now)
    assert talk.hand_out(owner) == b"#t OK 1:v\n"
    assert talk.session.data_to_send(partial=True) == b"MISS\n"
    assert talk.session.data_to_send(partial=True) == b""
    talk.confirmers[owner].answer(1)
    assert talk.session.data_to_send(partial=True) == b""
    talk.session.receive(b"PING 1:p\n", talk.now)
    talk.confirmers[owner].answer(problem="0 of 1 replicas have it")
    assert talk.session.data_to_send() == NOSYNC + b"OK 1:v\nOK\nOK\nOK 1:p\n"
    assert talk.session.owes_nothing
    assert talk.in_flight == (0, 0)


def test_a_tagged_write_leaves_when_it_is_confirmed_whatever_else_is_waited_for() -> None:
    talk = ReplicatedConversation()
    confirmer = talk.confirmers[talk.owner(b"k")]
    assert talk.say(b"#a WRITE 1:k 1:v sync=1\n#b WRITE 1:k 1:w sync=2\nWRITE 1:k 1:x sync=1\n") == b""
    assert confirmer.needed == [1, 2, 1]
    confirmer.answer(1)
    assert talk.session.data_to_send() == b"#b OK\n"
    confirmer.answer(1)
    assert talk.session.data_to_send() == b"OK\n"
    confirmer.answer()
    assert talk.session.data_to_send() == b"#a OK\n"
    assert talk.in_flight == (0, 0)


def test_a_confirmer_that_answers_at_once() -> None:
    talk = ReplicatedConversation()
    owner = talk.owner(b"k")

    class AtOnce:
        def ask(self, asker: Asker, bundle: Bundle, index: int, line: bytes, needed: int, now: float) -> None:
            asker.confirm(bundle, index, line, "" if index else "0 of 1 replicas have it", now)

    talk.lanes[owner].confirmations = AtOnce()
    assert talk.say(b"WRITE 1:k 1:v sync=1\nDELETE 1:k sync=1\nREAD 1:k\n") == NOSYNC + b"OK\nMISS\n"
    assert talk.in_flight == (0, 0)


NOT_CONFIRMED = {
    "sync=0": (b"WRITE 1:k 1:v sync=0\n", b"OK\n"),
    "CONFLICT": (b"WRITE 1:k 1:v xx sync=1\n", b"CONFLICT\n"),
    "READ": (b"READ 1:k\n", b"MISS\n"),
    "TOUCH": (b"TOUCH 1:k ex=1\n", b"MISS\n"),
}


@pytest.mark.parametrize("sync", [0, 1])
@pytest.mark.parametrize("name", NOT_CONFIRMED)
def test_what_is_answered_without_a_confirmation(name: str, sync: int) -> None:
    talk = ReplicatedConversation(ReplicationPolicy(sync=sync))
    data, expected = NOT_CONFIRMED[name]
    assert talk.say(data) == expected
    assert not any(confirmer.asked for confirmer in talk.confirmers)
    assert talk.in_flight == (0, 0)


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (b"-OOM command not allowed\r\n", b"ERR BUSY retry=100 :the node is out of memory\n"),
        (b"-NOREPLICAS not enough\r\n", b"ERR DOWN :the node refuses writes because it has too few replicas\n"),
        (b":7\r\n", b"ERR INTERNAL :the node gave a reply that does not fit WRITE, logged as bug-id\n"),
    ],
)
def test_errors_are_told_at_once(refusal: bytes, expected: bytes) -> None:
    talk = ReplicatedConversation(nodes_answer=False)
    owner = talk.owner(b"k")
    talk.session.receive(b"WRITE 1:k 1:v sync=1\nWRITE 1:k 1:w sync=1\n", talk.now)
    talk.pipelines[owner].data_to_send(talk.now)
    talk.pipelines[owner].receive(refusal + b"+OK\r\n", talk.now)
    assert talk.session.data_to_send(partial=True) == expected
    assert talk.confirmers[owner].needed == [1]
    talk.confirmers[owner].answer()
    assert talk.session.data_to_send() == b"OK\n"
    assert talk.in_flight == (0, 0)


def test_a_delete_of_what_is_not_there_waits_too() -> None:
    talk = ReplicatedConversation()
    assert talk.say(b"DELETE 1:k sync=1\n") == b""
    talk.confirmers[talk.owner(b"k")].answer()
    assert talk.session.data_to_send() == b"MISS\n"
    assert talk.metrics.all_outcomes()["DELETE", "MISS"] == 1


def test_writes_of_the_default_wait_in_whatever_form_they_come() -> None:
    talk = ReplicatedConversation(ReplicationPolicy(sync=2))
    forms = [
        b"WRITE 1:k 1:v",
        b"SET 1:k 1:v ex=9",
        b'write "k" "v"',
        b"DEL 1:k",
        b"DELETE 1:k",
        b"WRITE 1:k 1:v sync=3",
    ]
    assert talk.say(b"\n".join(forms) + b"\n") == b""
    assert talk.confirmers[talk.owner(b"k")].needed == [2, 2, 2, 2, 2, 3]


@pytest.mark.parametrize(
    ("policy", "needed"),
    [
        (ReplicationPolicy(namespace_sync={"ns": 3}), [3]),
        (ReplicationPolicy(sync=1, namespace_sync={"ns": 3}), [3]),
        (ReplicationPolicy(sync=1, namespace_sync={"ns": 0}), []),
        (ReplicationPolicy(sync=1, namespace_sync={"other": 3}), [1]),
    ],
)
def test_a_namespace_has_a_default_of_its_own(policy: ReplicationPolicy, needed: list[int]) -> None:
    talk = ReplicatedConversation(policy)
    assert talk.say(b"WRITE 1:k 1:v\n") == (b"" if needed else b"OK\n")
    assert talk.confirmers[talk.owner(b"k")].needed == needed


def test_each_shard_is_asked_about_its_own_writes() -> None:
    talk = ReplicatedConversation()
    keys = [key_of(talk, index) for index in range(3)]
    talk.say(b"".join(command(b"WRITE", key, b" 1:v sync=%d" % (index + 1)) for index, key in enumerate(keys)))
    assert [confirmer.needed for confirmer in talk.confirmers] == [[1], [2], [3], []]


def test_trace_tells_the_way_of_a_confirmed_write() -> None:
    talk = ReplicatedConversation(nodes_answer=False)
    owner = talk.owner(b"k")
    talk.session.receive(b"WRITE 1:k 1:v sync=1 trace\nDELETE 1:k sync=1 trace\n", 20.0)
    talk.now = 20.001
    talk.exchange_with(owner)
    way = b" node=shard-%d role=unknown queue_us=1000 node_us=250000" % (owner + 1)
    for problem in ("", "0 of 1 replicas have it"):
        talk.confirmers[owner].answer(problem=problem, now=20.251)
    assert talk.session.data_to_send() == b"OK%b\nERR NOSYNC%b :0 of 1 replicas have it\n" % (way, way)


def test_a_connection_that_is_lost_after_the_answer_does_not_fail_what_waits_to_be_confirmed() -> None:
    talk = ReplicatedConversation(nodes_answer=False)
    owner = talk.owner(b"k")
    talk.session.receive(b"WRITE 1:k 1:v sync=1\nWRITE 1:k 1:w sync=1\n", talk.now)
    talk.pipelines[owner].data_to_send(talk.now)
    talk.pipelines[owner].receive(b"+OK\r\n", talk.now)
    talk.pipelines[owner].lost()
    assert talk.session.data_to_send() == b""
    talk.confirmers[owner].answer()
    assert talk.session.data_to_send() == b"OK\nERR LOST :the connection to node shard-%d broke\n" % (owner + 1)
    assert talk.confirmers[owner].asked == []
    assert talk.in_flight == (0, 0)


def test_a_client_that_has_gone_is_not_answered() -> None:
    talk = ReplicatedConversation()
    confirmer = talk.confirmers[talk.owner(b"k")]
    talk.say(b"WRITE 1:k 1:v sync=1\n#t WRITE 1:k 1:v sync=1\n")
    talk.session.abandon()
    outputs = talk.outputs
    for _ in range(2):
        confirmer.answer()
    assert talk.session.data_to_send() == b""
    assert talk.outputs == outputs
    assert not talk.world.bugs


def test_the_end_waits_for_confirmations() -> None:
    for end in (b"QUIT\n", None):
        talk = ReplicatedConversation()
        talk.say(b"WRITE 1:k 1:v sync=1\n")
        if end is None:
            talk.session.drain()
            talk.session.receive(b"WRITE 1:k 1:v sync=1\n", talk.now)
            expected = b"OK\nERR CLOSING :the server is shutting down\n"
        else:
            talk.session.receive(end, talk.now)
            expected = b"OK\nOK\n"
        assert not talk.session.owes_nothing
        assert not talk.session.is_finished
        assert talk.session.data_to_send() == b""
        talk.confirmers[talk.owner(b"k")].answer()
        assert talk.session.data_to_send() == expected
        assert talk.session.owes_nothing
        assert talk.session.is_finished == (end is not None)


def test_what_waits_to_be_confirmed_is_in_flight_and_bounded() -> None:
    talk = ReplicatedConversation(limits=Limits(max_in_flight=10))
    confirmer = talk.confirmers[talk.owner(b"k")]
    heard = talk.say(b"WRITE 1:k 1:v sync=1\n" * 25)
    assert heard == b""
    assert len(confirmer.asked) == 10
    assert not talk.session.wants_input
    while confirmer.asked:
        confirmer.answer()
        heard += talk.settle()
        assert len(confirmer.asked) <= 10
    assert heard == b"OK\n" * 25
    assert talk.session.wants_input
    assert talk.in_flight == (0, 0)


def test_the_whole_way_with_a_node_that_answers_questions() -> None:
    talk = ReplicatedConversation()
    owner = talk.owner(b"k")
    asking = NodePipeline("asking", lambda: None, max_requests=100, max_bytes=1000, max_value=100)
    asking.change(NodeEvent.TRY)
    asking.greeted("master", b"h", 0.0, trusted=True)
    talk.pipelines[owner].history = b"h"
    talk.lanes[owner].confirmations = ShardConfirmations(lambda needed: asking, 1.0)
    info = b"master_replid:h\r\n"
    for count, expected in ((1, b"OK\nOK\n"), (0, NOSYNC * 2)):
        assert talk.say(b"WRITE 1:k 1:v sync=1\nWRITE 1:k 1:w sync=1\n") == b""
        assert asking.data_to_send(talk.now).count(b"WAIT") == 1
        asking.receive(b":0\r\n:%d\r\n$%d\r\n%b\r\n" % (count, len(info), info), talk.now)
        assert talk.session.data_to_send() == expected
    assert talk.in_flight == (0, 0)


# -- a master that is none


@pytest.mark.parametrize(
    "request_", [b"WRITE 1:k 1:v\n", b"DELETE 1:k\n", b"TOUCH 1:k ex=1\n", b"WRITE 1:k 1:v sync=1\n"]
)
def test_a_node_that_refuses_writes_as_a_replica_gets_no_more(request_: bytes) -> None:
    talk = ReplicatedConversation(nodes_answer=False)
    owner = talk.owner(b"k")
    pipeline = talk.pipelines[owner]
    talk.session.receive(request_ + b"READ 1:k\n", talk.now)
    pipeline.data_to_send(talk.now)
    pipeline.receive(b"-READONLY You can't write against a read only replica.\r\n$1\r\nv\r\n", talk.now)
    assert talk.session.data_to_send() == b"ERR DOWN :the node is not a master\nOK 1:v\n"
    assert pipeline.state is NodeState.SUSPECT
    assert pipeline.refused_as_replica
    talk.session.receive(b"READ 1:k\nWRITE 1:k 1:v sync=1\n", talk.now)
    refusal = b"ERR DOWN :node shard-%d is not a master any more\n" % (owner + 1)
    assert talk.session.data_to_send() == refusal * 2
    assert pipeline.data_to_send(talk.now) == b""
    assert talk.in_flight == (0, 0)


def test_other_refusals_leave_the_node_as_it_is() -> None:
    talk = ReplicatedConversation(nodes_answer=False)
    pipeline = talk.pipelines[talk.owner(b"k")]
    talk.session.receive(b"WRITE 1:k 1:v\n", talk.now)
    pipeline.data_to_send(talk.now)
    pipeline.receive(b"-MISCONF errors writing to the disk\r\n", talk.now)
    assert pipeline.state is NodeState.UP
    assert not pipeline.refused_as_replica


# -- leases


@pytest.mark.parametrize(
    ("refusal", "scripts_asked_for", "masters_over"),
    [(b"-NOSCRIPT No matching script.\r\n", 1, 0), (b"-READONLY You can't write.\r\n", 0, 1)],
)
def test_what_the_master_says_to_a_second_question_holds_for_the_master(
    refusal: bytes, scripts_asked_for: int, masters_over: int
) -> None:
    """The first question was the replica's."""
    talk = ReplicatedConversation(nodes_answer=False)
    talk.reaches(20.0)
    talk.session.receive(b"READ 1:k replica lease=5000\n", talk.now)
    owner = talk.owner(b"k")
    master, copy = talk.pipelines[owner], talk.copy_pipelines[owner]
    assert talk.exchange_with_copy(owner)
    assert b"EVALSHA" in master.data_to_send(talk.now)
    master.receive(refusal, talk.now)
    assert talk.session.data_to_send().startswith(b"ERR DOWN :")
    assert [b"LOAD" in pipeline.data_to_send(talk.now) for pipeline in (master, copy)] == [scripts_asked_for, False]
    assert [pipeline.refused_as_replica for pipeline in (master, copy)] == [masters_over, False]
