"""READs with a lease: what a miss asks besides, what a write behind it does to its lease, and what is counted."""

from __future__ import annotations

import pytest

from tests.core.conversation import Conversation, World, key_of
from tests.core.scripted_node import L1, V1, envelope, vacancy
from wireproto.core.bundle import Batch, Bundle
from wireproto.core.commands import namespace_commands
from wireproto.core.lease_reads import MOST_WRITES, LeaseReads
from wireproto.core.limits import Limits
from wireproto.core.node_health import NodeEvent
from wireproto.core.scripts import INCR_SCRIPT, READ_SCRIPT
from wireproto.core.verbs import MAX_LEASE_MS

READ = b"READ 1:k lease=5000\n"
NOW = 1_000_000_000
"""Milliseconds, of a `World`."""


class Leasing(Conversation):
    """A conversation about the key `k`, or another of the same node."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.open_window()
        self.metrics.misses = 0
        self.node = self.nodes[self.owner(b"k")]
        self.pipeline = self.pipelines[self.owner(b"k")]
        self.leases = self.session._answers.leases
        assert self.leases is not None

    @property
    def asked(self) -> list[bytes]:
        """The commands that the node was sent; a script's name for what it does."""
        names = {READ_SCRIPT.name: b"READ_SCRIPT", INCR_SCRIPT.name: b"INCR_SCRIPT"}
        return [names.get(words[1], words[0]) if len(words) > 1 else words[0] for words in self.node.commands]

    def plant(self, stored: bytes) -> None:
        self.node.values[b"ns:k"] = stored

    def is_at_rest(self) -> bool:
        """Whether nothing is left of what was asked."""
        assert self.leases is not None
        answers = self.session._answers
        counters = (self.leases.in_flight, answers.in_flight, answers.in_flight_bytes, len(self.leases._written))
        return counters == (0, 0, 0, 0) and self.session.owes_nothing and not self.world.bugs

    def counted(self) -> tuple[int, int, int]:
        """Leases granted, READs that were told that another has it, stale values."""
        return self.metrics.leases_granted, self.metrics.leases_held, self.metrics.stale_served


def lease_of(line: bytes) -> bytes:
    return line.rpartition(b"lease=")[2].split()[0]


# -- a miss, and a second question


def test_a_hit_costs_one_command() -> None:
    talk = Leasing()
    talk.plant(b"v")
    assert talk.say(READ, b"#7 " + READ) == b"OK 1:v\n#7 OK 1:v\n"
    assert talk.asked == [b"GET", b"GET"]
    assert talk.counted() == (0, 0, 0)
    assert talk.metrics.hits == 2
    assert talk.is_at_rest()


def test_a_miss_asks_for_the_lease() -> None:
    talk = Leasing()
    heard = talk.say(READ)
    assert heard.startswith(b"MISS lease=stamp-")
    assert talk.asked == [b"GET", b"READ_SCRIPT"]
    assert talk.node.commands[1][-4:] == [b"", lease_of(heard), b"5000", b"0"]
    assert talk.counted() == (1, 0, 0)
    assert talk.metrics.all_outcomes()["READ", "MISS"] == 1
    assert talk.is_at_rest()
    assert talk.say(b"WRITE 1:k 1:v lease=%b\n" % lease_of(heard)) == b"OK\n"


def test_two_that_miss_together_get_one_lease() -> None:
    talk = Leasing()
    first, second = talk.say(READ + READ).splitlines()
    assert first.startswith(b"MISS lease=")
    assert second == b"MISS held=5000"
    assert talk.asked == [b"GET", b"GET", b"READ_SCRIPT", b"READ_SCRIPT"]
    assert talk.counted() == (1, 1, 0)
    assert talk.is_at_rest()


def test_untagged_answers_keep_their_order_and_others_do_not_wait() -> None:
    talk = Leasing()
    talk.plant(b"v")
    other = key_of(talk, talk.owner(b"k"))
    missing = b"READ %d:%b lease=9\n" % (len(other), other)
    heard = talk.say(missing + b"READ 1:k\n#t READ 1:k\n#u " + missing + b"READ 1:k trace\n")
    tagged = [line for line in heard.splitlines() if line.startswith(b"#")]
    untagged = [line for line in heard.splitlines() if not line.startswith(b"#")]
    assert tagged[0] == b"#t OK 1:v"
    assert tagged[1].startswith(b"#u MISS held=")
    assert untagged[0].startswith(b"MISS lease=")
    assert untagged[1] == b"OK 1:v"
    assert untagged[2].startswith(b"OK 1:v node=")
    assert talk.is_at_rest()


@pytest.mark.parametrize("request_line", [b"READ 1:k lease=5000 trace\n", b"#9 READ 1:k lease=5000 trace\n"])
def test_the_way_of_both_questions_is_told(request_line: bytes) -> None:
    talk = Leasing()
    heard = talk.say(request_line)
    assert b"MISS lease=stamp-" in heard
    assert b" node=%b role=" % talk.pipeline.name.encode() in heard
    assert heard.count(b"\n") == 1
    assert talk.is_at_rest()


@pytest.mark.parametrize("tail", [b" ttl", b" ver", b" early=5", b" ver ttl early=5"])
def test_what_needs_the_script_anyway_asks_once(tail: bytes) -> None:
    talk = Leasing()
    assert talk.say(b"READ 1:k lease=5000%b\n" % tail).startswith(b"MISS lease=")
    assert talk.asked == [b"READ_SCRIPT"]
    assert talk.say(b"READ 1:k lease=5000%b\n" % tail).startswith(b"MISS held=")
    assert talk.counted() == (1, 1, 0)
    assert talk.is_at_rest()


# -- what is there already


def test_a_vacancy_tells_for_how_long_it_is_held() -> None:
    talk = Leasing()
    for until, held in ((NOW + 77, 77), (NOW, 1), (NOW - 9, 1), (NOW + MAX_LEASE_MS + 1, MAX_LEASE_MS)):
        talk.plant(vacancy(L1, until))
        assert talk.say(READ) == b"MISS held=%d\n" % held
    assert set(talk.asked) == {b"GET"}
    assert talk.counted() == (0, 4, 0)
    assert talk.metrics.all_outcomes()["READ", "MISS"] == 4
    assert talk.is_at_rest()


@pytest.mark.parametrize(
    ("stored", "line", "counted"),
    [
        (envelope(b"v", version=V1), b"OK 1:v\n", (0, 0, 0)),
        (envelope(b"v", fresh=NOW + 1, stale=9), b"OK 1:v\n", (0, 0, 0)),
        (envelope(b"v", fresh=NOW + 1, stale=9, lease=L1, until=NOW + 5), b"OK 1:v\n", (0, 0, 0)),
        (envelope(b"v", fresh=NOW, stale=9, lease=L1, until=NOW + 5), b"OK 1:v stale held=5\n", (0, 1, 1)),
        (
            envelope(b"\xff\x00\xff", fresh=NOW, stale=9, lease=L1, until=NOW + 5),
            b"OK 1:\xff stale held=5\n",
            (0, 1, 1),
        ),
        (envelope(b" held=5", fresh=NOW, stale=9, lease=L1, until=NOW + 5), b"OK 7: held=5 stale held=5\n", (0, 1, 1)),
        (envelope(b"v", fresh=NOW - 9, stale=9, lease=L1, until=NOW + 5), b"MISS held=5\n", (0, 1, 0)),
        (envelope(b"\xff\x09", fresh=NOW, stale=9, lease=L1, until=NOW + 5), b"ERR CORRUPT :", (0, 0, 0)),
        (envelope(b"v", fresh=NOW, stale=9)[:50], b"ERR CORRUPT :", (0, 0, 0)),
        (b"\xff\x09", b"ERR CORRUPT :", (0, 0, 0)),
        (b"\xff\x00\xffv", b"OK 2:\xffv\n", (0, 0, 0)),
    ],
)
def test_what_can_be_told_at_once(stored: bytes, line: bytes, counted: tuple[int, int, int]) -> None:
    talk = Leasing()
    talk.plant(stored)
    assert talk.say(READ).startswith(line)
    assert talk.asked == [b"GET"]
    assert talk.counted() == counted
    assert talk.is_at_rest()


@pytest.mark.parametrize("request_line", [READ, b"READ 1:k\n"])
@pytest.mark.parametrize(("fresh", "line"), [(NOW + 1, b"OK 1:v\n"), (NOW, b"MISS\n")])
def test_a_value_is_judged_by_the_moment_when_the_request_came(request_line: bytes, fresh: int, line: bytes) -> None:
    """However long the node took."""
    talk = Leasing(nodes_answer=False)
    talk.plant(envelope(b"v", fresh=fresh, stale=0, lease=L1, until=NOW + 5))
    talk.session.receive(request_line, talk.now)
    talk.now += 2
    talk.world.now += 2
    talk.exchange()
    heard = talk.session.data_to_send()
    assert heard == (b"MISS held=5\n" if request_line == READ and line == b"MISS\n" else line)


STALE = envelope(b"v", fresh=NOW, stale=9)


@pytest.mark.parametrize(
    "stored",
    [STALE, envelope(b"v", fresh=NOW, stale=9, lease=L1, until=NOW), envelope(b"v", fresh=NOW - 9, stale=9)],
)
@pytest.mark.parametrize(
    ("reply", "line", "counted"),
    [
        (b"*5\r\n$1\r\nv\r\n:-3\r\n$1\r\nL\r\n:0\r\n:1\r\n", b"OK 1:v stale lease=L\n", (1, 0, 1)),
        (b"*5\r\n$1\r\nv\r\n:-3\r\n$-1\r\n:7\r\n:1\r\n", b"OK 1:v stale held=7\n", (0, 1, 1)),
        (b"*5\r\n$1\r\nw\r\n:-1\r\n$-1\r\n:0\r\n:0\r\n", b"OK 1:w\n", (0, 0, 0)),
        (b"*5\r\n$1\r\nw\r\n:5\r\n$-1\r\n:7\r\n:0\r\n", b"OK 1:w\n", (0, 0, 0)),
        (b"*5\r\n$-1\r\n:-1\r\n$1\r\nL\r\n:0\r\n:0\r\n", b"MISS lease=L\n", (1, 0, 0)),
        (b"*5\r\n$-1\r\n:-1\r\n$-1\r\n:7\r\n:0\r\n", b"MISS held=7\n", (0, 1, 0)),
        (b"-OOM no\r\n", b"ERR BUSY retry=100 :the node is out of memory\n", (0, 0, 0)),
        (b"-READONLY no\r\n", b"ERR DOWN :the node is not a master\n", (0, 0, 0)),
        (b"+OK\r\n", b"ERR INTERNAL :", (0, 0, 0)),
    ],
)
def test_what_the_second_question_is_answered(
    stored: bytes, reply: bytes, line: bytes, counted: tuple[int, int, int]
) -> None:
    talk = Leasing(nodes_answer=False)
    talk.plant(stored)
    talk.session.receive(READ, talk.now)
    talk.exchange()
    assert talk.pipeline.data_to_send(talk.now).startswith(b"*9\r\n$7\r\nEVALSHA\r\n")
    assert talk.session.data_to_send() == b""
    talk.pipeline.receive(reply, talk.now)
    assert talk.session.data_to_send().startswith(line)
    assert talk.counted() == counted
    talk.world.bugs.clear()
    assert talk.is_at_rest()
    assert talk.pipeline.refused_as_replica == (b"READONLY" in reply)


def test_a_node_that_has_forgotten_the_scripts_is_told_them() -> None:
    talk = Leasing(nodes_answer=False)
    talk.session.receive(READ, talk.now)
    talk.exchange()
    talk.pipeline.data_to_send(talk.now)
    talk.pipeline.receive(b"-NOSCRIPT No matching script.\r\n", talk.now)
    assert talk.session.data_to_send().startswith(b"ERR DOWN :")
    assert talk.pipeline.data_to_send(talk.now).count(b"SCRIPT\r\n$4\r\nLOAD\r\n") == 5
    assert talk.is_at_rest()


# -- writes that overtake


CHANGES = [b"WRITE 1:k 1:w\n", b"WRITE 1:k 1:w px=9 nx\n", b"SET 1:k 1:w ex=5\n", b"DELETE 1:k\n", b"DEL 1:k\n"]
CHANGES += [b"INCR 1:k\n", b"INCR 1:k by=2 ex=5 trace\n", b"#t WRITE 1:k 1:w\n"]


@pytest.mark.parametrize("change", CHANGES)
def test_a_write_behind_it_takes_the_lease_away_beforehand(change: bytes) -> None:
    talk = Leasing()
    lines = talk.say(READ + change).splitlines()
    (line,) = [line for line in lines if line.startswith(b"MISS lease=stamp-")]
    assert talk.asked.count(b"GET") == 1
    assert b"READ_SCRIPT" not in talk.asked, "nobody is asked for a lease that would not hold"
    assert talk.say(b"WRITE 1:k 3:old lease=%b\n" % lease_of(line + b"\n")) == b"CONFLICT\n"
    assert talk.counted()[0] == 0
    assert talk.is_at_rest()


@pytest.mark.parametrize(
    "others",
    [
        b"READ 1:k\n",
        b"READ 1:k ver\n",
        b"TOUCH 1:k ex=5\n",
        b"WHERE 1:k\n",
        b"WRITE 1:a 1:w\nWRITE 1:b 1:w\nWRITE 1:c 1:w\nWRITE 1:d 1:w\n",
        b"DELETE 1:K\n",
        b"WRITE 1:k 2000000:" + b"x" * 2_000_000 + b"\n",  # refused
    ],
)
def test_other_requests_behind_it_do_not(others: bytes) -> None:
    talk = Leasing()
    heard = talk.say(READ + others)
    assert heard.startswith(b"MISS lease=")
    assert talk.say(b"WRITE 1:k 1:v lease=%b\n" % lease_of(heard)) == b"OK\n"
    assert talk.counted() == (1, 0, 0)
    assert talk.is_at_rest()


def test_a_write_before_it_does_not() -> None:
    talk = Leasing()
    heard = talk.say(READ.replace(b":k", b":q") + b"DELETE 1:k\n" + READ)
    lease = lease_of(heard.splitlines()[-1] + b"\n")
    assert talk.say(b"WRITE 1:k 1:v lease=%b\n" % lease) == b"OK\n"
    assert talk.is_at_rest()


def test_a_write_between_the_questions_is_ahead_of_the_second_in_the_count_and_behind_the_first() -> None:
    talk = Leasing(nodes_answer=False)
    talk.session.receive(READ, talk.now)
    data = talk.pipeline.data_to_send(talk.now)
    talk.session.receive(b"WRITE 1:k 1:w\n", talk.now)
    for reply in talk.node.execute(data):
        talk.pipeline.receive(reply, talk.now)
    assert talk.session.data_to_send().startswith(b"MISS lease=")
    assert talk.asked == [b"GET"]
    talk.nodes_answer = True
    assert talk.settle() == b"OK\n"
    assert talk.is_at_rest()


def test_a_stale_value_that_was_overtaken_is_still_served() -> None:
    talk = Leasing()
    talk.plant(envelope(b"v held=5", fresh=NOW, stale=9))
    stale, done = talk.say(READ + b"WRITE 1:k 1:w\n").splitlines()
    assert stale.startswith(b"OK 8:v held=5 stale lease=stamp-")
    assert done == b"OK"
    assert talk.counted() == (0, 0, 1)
    talk.plant(envelope(b"v", fresh=NOW - 9, stale=9))
    assert talk.say(READ + b"DELETE 1:k\n").startswith(b"MISS lease=stamp-")
    assert b"READ_SCRIPT" not in talk.asked
    assert talk.is_at_rest()


# -- LeaseReads by itself


def reads() -> LeaseReads:
    return LeaseReads([], namespace_commands("ns"), World())


def bundle(leases: LeaseReads, *keys: bytes) -> Bundle:
    """A bundle of such READs."""
    made = Bundle(None, Batch(), 0.0)  # type: ignore[arg-type]  # nobody is told
    for key in keys:
        leases.sent(made, key, 0, 5)
        made.kinds.append(1)
    return made


def test_what_is_noted_is_bounded() -> None:
    leases = reads()
    made = bundle(leases, b"a", b"b")
    for number in range(MOST_WRITES):
        leases.wrote(b"key-%d" % number)
    assert len(leases._written) == MOST_WRITES
    later = bundle(leases, b"c")
    special = leases.judge(made, 0, [None], NOW)
    assert isinstance(special[0], tuple), "it was not overtaken"
    leases.wrote(b"one more")
    assert len(leases._written) == 0
    latest = bundle(leases, b"c")
    assert leases.judge(made, 1, [None], NOW)[1] == b"MISS lease=stamp-0000000001\n", "as if all had been overtaken"
    assert leases.judge(later, 0, [None], NOW)[0] == b"MISS lease=stamp-0000000002\n"
    assert isinstance(leases.judge(latest, 0, [None], NOW)[0], tuple), "those that come behind are not concerned"
    assert leases.in_flight == 0
    for number in range(3 * MOST_WRITES):
        leases.wrote(b"key-%d" % number)
        assert len(leases._written) <= MOST_WRITES


def test_writes_are_forgotten_when_no_read_is_in_flight() -> None:
    leases = reads()
    one, other = bundle(leases, b"a"), bundle(leases, b"a")
    leases.wrote(b"a")
    assert leases.judge(one, 0, [b"v"], NOW) == {}
    assert leases._written
    leases.failed(other)
    assert not leases._written
    assert leases.in_flight == 0
    again = bundle(leases, b"a")
    assert isinstance(leases.judge(again, 0, [None], NOW)[0], tuple)


def test_replies_come_piece_by_piece() -> None:
    leases = reads()
    made = bundle(leases, b"a", b"b", b"c", b"d")
    assert list(leases.judge(made, 0, [None, b"v"], NOW)) == [0]
    assert leases.in_flight == 2
    assert list(leases.judge(made, 2, [None], NOW)) == [2]
    assert leases.in_flight == 1
    leases.failed(made)
    leases.failed(made)
    assert leases.in_flight == 0


# -- nodes that fail


def test_a_node_that_is_lost_before_it_answers() -> None:
    talk = Leasing(nodes_answer=False)
    talk.session.receive(READ * 3 + b"#t " + READ, talk.now)
    data = talk.pipeline.data_to_send(talk.now)
    replies = talk.node.execute(data)
    talk.pipeline.receive(replies[0], talk.now)
    talk.pipeline.lost()
    tagged, *untagged = talk.session.data_to_send().splitlines()
    assert tagged.startswith(b"#t ERR LOST :")
    assert [line.split()[1] for line in untagged] == [b"DOWN", b"LOST", b"LOST"], "the first was still to ask again"
    assert talk.metrics.all_outcomes()["READ", "LOST"] == 3
    assert talk.is_at_rest()


def test_a_node_that_is_lost_between_the_questions() -> None:
    talk = Leasing(nodes_answer=False)
    talk.session.receive(READ + b"#t " + READ, talk.now)
    talk.exchange()
    assert talk.pipeline.data_to_send(talk.now)
    talk.pipeline.lost()
    assert sorted(talk.session.data_to_send().splitlines()) == sorted(
        b"%bERR LOST :the connection to node %b broke" % (tag, talk.pipeline.name.encode()) for tag in (b"", b"#t ")
    )
    assert talk.is_at_rest()


def test_a_node_that_is_lost_when_it_has_answered_one_second_question() -> None:
    talk = Leasing(nodes_answer=False)
    talk.session.receive(READ * 3, talk.now)
    talk.exchange()
    replies = talk.node.execute(talk.pipeline.data_to_send(talk.now))
    talk.pipeline.receive(replies[0], talk.now)
    talk.pipeline.lost()
    first, *others = talk.session.data_to_send().splitlines()
    assert first.startswith(b"MISS lease=")
    assert [line.split()[1] for line in others] == [b"LOST", b"LOST"]
    assert talk.is_at_rest()


def test_a_node_that_takes_no_second_question() -> None:
    talk = Leasing(nodes_answer=False)
    talk.session.receive(READ, talk.now)
    data = talk.pipeline.data_to_send(talk.now)
    talk.pipeline.max_requests = 0
    talk.pipeline.receive(b"".join(talk.node.execute(data)), talk.now)
    assert talk.session.data_to_send().startswith(b"ERR BUSY retry=50 :")
    assert talk.metrics.all_outcomes()["READ", "BUSY"] == 1
    assert talk.is_at_rest()


def test_a_node_that_is_no_master_any_more_when_the_second_question_comes() -> None:
    talk = Leasing(nodes_answer=False)
    talk.session.receive(READ, talk.now)
    data = talk.pipeline.data_to_send(talk.now)
    talk.pipeline.no_master()
    talk.pipeline.receive(b"".join(talk.node.execute(data)), talk.now)
    assert talk.session.data_to_send().startswith(b"ERR DOWN :")
    assert talk.is_at_rest()


def test_a_deadline_holds_for_both_questions() -> None:
    talk = Leasing(nodes_answer=False)
    talk.session.receive(b"READ 1:k lease=5000 deadline=100\n", talk.now)
    talk.exchange()
    assert talk.pipeline.data_to_send(talk.now + 0.2) == b""
    assert talk.session.data_to_send().startswith(b"ERR LATE :")
    assert talk.is_at_rest()


def test_a_client_that_goes_away_between_the_questions() -> None:
    talk = Leasing(nodes_answer=False)
    talk.session.receive(READ * 2, talk.now)
    talk.exchange()
    data = talk.pipeline.data_to_send(talk.now)
    talk.session._answers.abandon()
    talk.pipeline.receive(b"".join(talk.node.execute(data)), talk.now)
    assert not talk.world.bugs
    assert (talk.pipeline.in_flight_requests, talk.pipeline.waiting_requests) == (0, 0)


def test_a_bug_in_an_answer_ends_the_conversation() -> None:
    talk = Leasing(nodes_answer=False)
    talk.session.receive(READ, talk.now)
    talk.exchange()
    data = talk.pipeline.data_to_send(talk.now)
    talk.bug = RuntimeError("a bug")
    talk.pipeline.receive(b"".join(talk.node.execute(data)), talk.now)
    assert [str(bug) for bug in talk.world.bugs] == ["a bug"]
    assert talk.session._answers.abandoned


def test_stale_values_are_let_go_too_when_too_much_is_unread() -> None:
    talk = Leasing(limits=Limits(max_unread_bytes=1000), nodes_answer=False)
    talk.plant(envelope(b"v" * 600, fresh=NOW, stale=9, lease=L1, until=NOW + 5))
    talk.session.receive(READ * 12, talk.now)
    for reply in talk.node.execute(talk.pipeline.data_to_send(talk.now)):
        talk.pipeline.receive(reply, talk.now)
    heard = talk.session.data_to_send()
    assert heard.count(b"OK 600:") == 5, "what is kept: four times the limit"
    assert heard.count(b"ERR BUSY retry=50 :") == 7
    assert talk.is_at_rest()


@pytest.mark.parametrize("tail", [b"", b" ttl"])
def test_nothing_is_said_to_be_held_for_longer_than_a_lease_can_last(tail: bytes) -> None:
    """The clock of the server was set back, or that of another is ahead."""
    talk = Leasing()
    later = NOW + MAX_LEASE_MS + 1
    talk.plant(envelope(b"v", fresh=NOW, stale=9, lease=L1, until=later) if not tail else vacancy(L1, later))
    said = b"MISS" if tail else b"OK 1:v stale"
    assert talk.say(b"READ 1:k lease=5000%b\n" % tail) == b"%b held=%d\n" % (said, MAX_LEASE_MS)


def test_values_that_only_the_second_question_finds_are_let_go_too() -> None:
    talk = Leasing(limits=Limits(max_unread_bytes=1000), nodes_answer=False)
    talk.session.receive(READ * 12, talk.now)
    talk.exchange()
    talk.plant(b"v" * 600)
    for reply in talk.node.execute(talk.pipeline.data_to_send(talk.now)):
        talk.pipeline.receive(reply, talk.now)
    heard = talk.session.data_to_send()
    assert heard.count(b"OK 600:") == 7, "what is kept: four times the limit"
    assert heard.count(b"ERR BUSY retry=50 :") == 5
    assert talk.metrics.all_outcomes()["READ", "BUSY"] == 5
    assert talk.is_at_rest()


def test_a_value_that_is_asked_for_again_counts_once_as_unread() -> None:
    talk = Leasing(nodes_answer=False)
    talk.plant(envelope(b"v" * 600, fresh=NOW, stale=9))
    talk.session.receive(READ, talk.now)
    talk.exchange()
    assert talk.session._answers.unsent < 100
    talk.exchange()
    assert talk.session._answers.unsent >= 600
    assert b"OK 600:" in talk.session.data_to_send()


def test_a_pipeline_of_everything_leaves_nothing_behind() -> None:
    talk = Leasing()
    keys = [b"key-%d" % number for number in range(20)]
    lines = [b"READ 5:%b lease=9\n", b"WRITE 5:%b 1:v\n", b"#t READ 5:%b lease=9\n", b"DELETE 5:%b\n", b"INCR 5:%b\n"]
    asked = b"".join(lines[number % 5] % key for number, key in enumerate(key for key in keys * 9 if len(key) == 5))
    heard = talk.say(asked, *(asked[place : place + 7] for place in range(0, len(asked), 7)))
    assert heard.count(b"\n") == 2 * asked.count(b"\n")
    assert b"ERR" not in heard
    assert talk.is_at_rest()
    for pipeline in talk.pipelines:
        pipeline.change(NodeEvent.LOST)
    assert talk.say(READ) == b"ERR DOWN :node %b cannot be reached\n" % talk.pipeline.name.encode()
    assert talk.is_at_rest()
