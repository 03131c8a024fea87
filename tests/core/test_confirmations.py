"""Questions whether replicas have what was written: what is asked, when, and who is told what."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wireproto.core.bundle import Batch, Bundle
from wireproto.core.confirmations import ShardConfirmations, history_of
from wireproto.core.node_health import NodeEvent
from wireproto.core.node_pipeline import NodePipeline

INFO = b"# Replication\r\nrole:master\r\nmaster_replid:%b\r\nmaster_replid2:000\r\n"
CHANGED = "the master has changed since"


def pipeline(name: str, *, history: bytes = b"h", up: bool = True, max_requests: int = 100) -> NodePipeline:
    made = NodePipeline(name, lambda: None, max_requests=max_requests, max_bytes=1000, max_value=1000)
    if up:
        made.change(NodeEvent.TRY)
        made.greeted("master", history, 0.0, trusted=True)
    return made


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


def answer(count: int, history: bytes = b"h", *, place: bytes = b":0\r\n") -> bytes:
    """What a node answers to one question."""
    return place + b":%d\r\n" % count + bulk(INFO % history)


def asked_of(node: NodePipeline, now: float) -> list[list[bytes]]:
    """The commands that leave now."""
    reader = hiredis.Reader()
    reader.feed(node.data_to_send(now))
    commands = []
    while (command := reader.gets()) is not False:
        commands.append(command)
    return commands


@dataclass
class Asker:
    """Writes down what it is told, unless it has a bug."""

    told: list[tuple[bytes, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    bug: Exception | None = None

    def confirm(self, bundle: Bundle, index: int, line: bytes, problem: str, now: float) -> None:
        if self.bug is not None:
            raise self.bug
        assert bundle.slots[index] == index
        self.told.append((line, problem))
        self.times.append(now)

    # It also owns the bundles that it asks about.

    def deliver(self, bundle: Bundle, first: int, replies: list[object], size: int, now: float) -> None:
        raise AssertionError("nobody submits this bundle")

    def fail(self, bundle: Bundle, code: str, text: str, retry_ms: int | None = None) -> None:
        raise AssertionError("nobody submits this bundle")

    def give_up(self, error: Exception) -> None:
        self.errors.append(error)


class Setting:
    """A shard: the connection that writes took, and those for questions, by the number of replicas."""

    def __init__(self, *, up: bool = True, max_requests: int = 100) -> None:
        self.up = up
        self.max_requests = max_requests
        self.master = pipeline("master")
        self.opened: dict[int, NodePipeline] = {}
        self.confirmations = ShardConfirmations(self._open, 1.0)

    def _open(self, needed: int) -> NodePipeline:
        assert needed not in self.opened, "one connection for each number of replicas"
        node = self.opened[needed] = pipeline(f"sync={needed}", up=self.up, max_requests=self.max_requests)
        return node

    def written(self, asker: Asker) -> Bundle:
        """A bundle with one entry that the master has executed."""
        bundle = Bundle(asker, Batch(), 0.0)
        bundle.kinds, bundle.slots = [2], [0]
        bundle.pipeline = self.master
        return bundle

    def ask(self, asker: Asker, now: float, *, needed: int = 1, line: bytes = b"OK\n") -> None:
        self.confirmations.ask(asker, self.written(asker), 0, line, needed, now)


def wait_of(commands: list[list[bytes]]) -> tuple[int, int]:
    (name, needed, milliseconds) = commands[1]
    assert name == b"WAIT"
    return int(needed), int(milliseconds)


def test_a_question_is_three_commands() -> None:
    setting, asker = Setting(), Asker()
    setting.ask(asker, 5.0, needed=2)
    assert asked_of(setting.opened[2], 5.0) == [
        [b"PUBLISH", b"wireproto:sync", b""],
        [b"WAIT", b"2", b"1000"],
        [b"INFO", b"replication"],
    ]
    assert not asker.told
    setting.opened[2].receive(answer(2), 5.5)
    assert asker.told == [(b"OK\n", "")]
    assert asker.times == [5.5]
    assert asked_of(setting.opened[2], 6.0) == [], "nothing more is asked"


@given(st.lists(st.integers(0, 200), max_size=6))
def test_replies_are_read_however_they_are_cut(places: list[int]) -> None:
    setting, asker = Setting(), Asker()
    setting.ask(asker, 5.0)
    asked_of(setting.opened[1], 5.0)
    data = answer(1)
    bounds = sorted({0, len(data), *(place % len(data) for place in places)})
    for start, stop in pairwise(bounds):
        assert not asker.told
        setting.opened[1].receive(data[start:stop], 5.1)
    assert asker.told == [(b"OK\n", "")]


@pytest.mark.parametrize(("count", "is_enough"), [(0, False), (1, False), (2, True), (3, True)])
def test_there_are_to_be_as_many_replicas_as_were_asked_for(count: int, is_enough: bool) -> None:
    setting, asker = Setting(), Asker()
    setting.ask(asker, 5.0, needed=2, line=b"MISS\n")
    asked_of(setting.opened[2], 5.0)
    setting.opened[2].receive(answer(count), 5.1)
    assert asker.told == [(b"MISS\n", "" if is_enough else f"{count} of 2 replicas have it")]


@pytest.mark.parametrize(
    "replies",
    [
        pytest.param(answer(1, place=b"-NOPERM no permissions to access one of the channels\r\n"), id="PUBLISH"),
        pytest.param(b":0\r\n-ERR WAIT cannot be used with replica instances.\r\n" + bulk(INFO % b"h"), id="WAIT"),
        pytest.param(b":0\r\n$-1\r\n" + bulk(INFO % b"h"), id="nil"),
    ],
)
def test_an_error_confirms_nothing(replies: bytes) -> None:
    setting, asker = Setting(), Asker()
    setting.ask(asker, 5.0)
    asked_of(setting.opened[1], 5.0)
    setting.opened[1].receive(replies, 5.1)
    assert asker.told == [(b"OK\n", "the node does not say which replicas have it")]


@pytest.mark.parametrize(
    "info",
    [
        bulk(INFO % b"other"),
        bulk(b"# Replication\r\nrole:master\r\n"),
        bulk(b""),
        b"$-1\r\n",
        b"-NOPERM this user has no permissions to run the 'info' command\r\n",
        b":7\r\n",
    ],
)
def test_another_stream_confirms_nothing(info: bytes) -> None:
    setting, asker = Setting(), Asker()
    setting.ask(asker, 5.0)
    asked_of(setting.opened[1], 5.0)
    setting.opened[1].receive(b":0\r\n:1\r\n" + info, 5.1)
    assert asker.told == [(b"OK\n", CHANGED)]


def test_a_write_over_a_connection_whose_stream_is_unknown_is_not_confirmed() -> None:
    setting, asker = Setting(), Asker()
    setting.master.history = b""
    setting.ask(asker, 5.0)
    asked_of(setting.opened[1], 5.0)
    setting.opened[1].receive(b":0\r\n:1\r\n" + bulk(b""), 5.1)
    assert asker.told == [(b"OK\n", CHANGED)]


def test_what_counts_is_the_stream_at_the_time_of_the_answer_and_each_question_has_its_own() -> None:
    setting, before, after = Setting(), Asker(), Asker()
    setting.ask(before, 5.0)
    setting.master.history = b"new"
    setting.ask(after, 5.0)
    asked_of(setting.opened[1], 5.0)
    setting.opened[1].receive(answer(1, b"new"), 5.1)
    assert before.told == [(b"OK\n", CHANGED)]
    assert after.told == [(b"OK\n", "")]


def test_a_master_that_has_named_its_stream_anew_is_asked_for_the_name() -> None:
    """As Redis does when its first replica comes; nothing is lost then, and writes can be confirmed afterwards."""
    setting, asker = Setting(), Asker()
    setting.ask(asker, 5.0)
    setting.ask(asker, 5.0)
    asked_of(setting.opened[1], 5.0)
    setting.opened[1].receive(answer(1, b"renamed"), 5.1)
    assert asker.told == [(b"OK\n", CHANGED)] * 2
    assert asked_of(setting.master, 5.2) == [[b"INFO", b"replication"]], "once"
    assert setting.master.history == b"h", "until it has answered"
    setting.master.receive(bulk(INFO % b"renamed"), 5.3)
    setting.ask(asker, 5.4)
    asked_of(setting.opened[1], 5.4)
    setting.opened[1].receive(answer(1, b"renamed"), 5.5)
    assert asker.told[2:] == [(b"OK\n", "")]
    assert asked_of(setting.master, 5.6) == []


def test_a_master_that_does_not_say_its_name_is_asked_again() -> None:
    setting, asker = Setting(), Asker()
    for now in (5.0, 6.0):
        setting.ask(asker, now)
        asked_of(setting.opened[1], now)
        setting.opened[1].receive(answer(1, b"renamed"), now)
        assert asked_of(setting.master, now) == [[b"INFO", b"replication"]]
        setting.master.lost()
        setting.master.change(NodeEvent.TRY)
        setting.master.greeted("master", b"h", 0.0, trusted=True)
    assert asker.told == [(b"OK\n", CHANGED)] * 2
    assert asker.errors == []


# -- who asks together


def test_what_is_asked_before_the_first_is_sent_is_part_of_it_and_what_comes_later_of_the_next() -> None:
    setting = Setting()
    early, also, late, later = Asker(), Asker(), Asker(), Asker()
    setting.ask(early, 5.0)
    setting.ask(also, 5.1)
    node = setting.opened[1]
    assert len(asked_of(node, 5.1)) == 3
    setting.ask(late, 5.2)
    setting.ask(later, 5.3)
    assert asked_of(node, 5.3) == [], "one question at a time"
    node.receive(answer(1), 5.4)
    assert (early.told, also.told) == ([(b"OK\n", "")], [(b"OK\n", "")])
    assert (late.told, later.told) == ([], [])
    assert len(asked_of(node, 5.4)) == 3
    node.receive(answer(0), 5.5)
    assert late.told == later.told == [(b"OK\n", "0 of 1 replicas have it")]
    assert asked_of(node, 5.6) == []
    assert len(early.told) == 1


@given(
    st.lists(st.one_of(st.just("ask"), st.just("send"), st.tuples(st.just("answer"), st.integers(0, 2))), max_size=30)
)
def test_nobody_is_told_by_a_question_that_was_sent_before_it_asked(steps: list[str | tuple[str, int]]) -> None:
    setting, now = Setting(), 5.0
    waiting: list[Asker] = []
    sent: list[Asker] = []
    asked: list[Asker] = []
    for step in steps:
        now += 0.01
        if step == "ask":
            asker = Asker()
            asked.append(asker)
            waiting.append(asker)
            setting.ask(asker, now, needed=2)
        elif step == "send" and setting.opened and asked_of(setting.opened[2], now):
            sent, waiting = waiting, []
        elif isinstance(step, tuple) and sent:
            setting.opened[2].receive(answer(step[1]), now)
            problem = "" if step[1] == 2 else f"{step[1]} of 2 replicas have it"
            assert [asker.told for asker in sent] == [[(b"OK\n", problem)]] * len(sent)
            sent = []
        assert not any(asker.told for asker in (*sent, *waiting))
    if setting.opened:
        setting.opened[2].lost()
    assert [len(asker.told) for asker in asked] == [1] * len(asked)


def test_questions_about_more_replicas_do_not_hold_up_those_about_fewer() -> None:
    setting, few, many = Setting(), Asker(), Asker()
    setting.ask(many, 5.0, needed=3)
    asked_of(setting.opened[3], 5.0)
    setting.ask(few, 5.1, needed=1)
    assert wait_of(asked_of(setting.opened[1], 5.1)) == (1, 1000)
    setting.opened[1].receive(answer(1), 5.2)
    assert few.told == [(b"OK\n", "")]
    assert many.told == []


# -- time


def test_replicas_have_what_is_left_of_the_time_of_the_oldest_question() -> None:
    setting, asker = Setting(), Asker()
    setting.ask(asker, 5.0)
    node = setting.opened[1]
    assert wait_of(asked_of(node, 5.0)) == (1, 1000)
    setting.ask(asker, 5.1)
    setting.ask(asker, 5.6)
    node.receive(answer(1), 5.85)
    assert wait_of(asked_of(node, 5.85)) == (1, 250)
    setting.ask(asker, 5.9)
    node.receive(answer(1), 7.5)
    assert wait_of(asked_of(node, 7.5)) == (1, 1), "not 0, which is for ever"


# -- when there is no answer


@pytest.mark.parametrize(
    ("sent_before", "text"),
    [(0.0, "the connection to node sync=1 broke"), (9.0, "node sync=1 did not answer in time")],
)
def test_a_question_that_gets_no_answer(sent_before: float, text: str) -> None:
    setting, asked, waiting = Setting(), Asker(), Asker()
    setting.ask(asked, 5.0)
    asked_of(setting.opened[1], 5.0)
    setting.ask(waiting, 5.1)
    setting.opened[1].receive(b":0\r\n", 5.2)
    setting.opened[1].lost(sent_before)
    assert asked.told == [(b"OK\n", f"nobody can say which replicas have it: {text}")]
    assert waiting.told == [(b"OK\n", "nobody can say which replicas have it: node sync=1 cannot be reached")]
    assert asked_of(setting.master, 6.0) == [], "that says nothing about the stream"
    setting.opened[1].change(NodeEvent.TRY)
    setting.opened[1].greeted("master", b"h", 0.0, trusted=True)
    again = Asker()
    setting.ask(again, 6.0)
    asked_of(setting.opened[1], 6.0)
    setting.opened[1].receive(answer(1), 6.1)
    assert again.told == [(b"OK\n", "")], "half an answer of the connection before is forgotten"


def test_a_node_that_cannot_be_reached_is_told_at_once() -> None:
    setting, asker = Setting(up=False), Asker()
    setting.ask(asker, 5.0)
    setting.ask(asker, 5.1)
    text = "nobody can say which replicas have it: node sync=1 cannot be reached"
    assert asker.told == [(b"OK\n", text)] * 2


def test_a_question_waits_while_the_connection_is_held() -> None:
    setting, asker = Setting(up=False), Asker()
    setting.ask(asker, 5.0)
    asker.told.clear()
    node = setting.opened[1]
    node.held_until = 6.0
    setting.ask(asker, 5.1)
    setting.ask(asker, 5.2)
    assert asker.told == []
    node.give_up_held(6.0)
    text = "nobody can say which replicas have it: node sync=1 cannot be reached"
    assert asker.told == [(b"OK\n", text)] * 2


def test_a_node_with_too_much_to_do() -> None:
    setting, asker = Setting(max_requests=2), Asker()
    setting.ask(asker, 5.0)
    text = "nobody can say which replicas have it: too much is queued for node sync=1"
    assert asker.told == [(b"OK\n", text)]


def test_an_asker_that_fails_does_not_keep_the_others_from_being_told() -> None:
    setting, first, last, later = Setting(), Asker(), Asker(), Asker()
    buggy = Asker(bug=RuntimeError("a bug"))
    for asker in (first, buggy, last):
        setting.ask(asker, 5.0)
    node = setting.opened[1]
    asked_of(node, 5.0)
    setting.ask(later, 5.1)
    node.receive(answer(1), 5.2)
    assert first.told == last.told == [(b"OK\n", "")]
    assert buggy.errors == [buggy.bug]
    assert first.errors == last.errors == []
    asked_of(node, 5.2)
    node.receive(answer(1), 5.3)
    assert later.told == [(b"OK\n", "")]


def test_who_asks_again_when_told_is_part_of_the_next_question() -> None:
    setting, other = Setting(), Asker()

    class AsksAgain(Asker):
        def confirm(self, bundle: Bundle, index: int, line: bytes, problem: str, now: float) -> None:
            super().confirm(bundle, index, line, problem, now)
            if len(self.told) == 1:
                setting.ask(self, now)

    asker = AsksAgain()
    setting.ask(asker, 5.0)
    setting.ask(other, 5.0)
    node = setting.opened[1]
    asked_of(node, 5.0)
    setting.ask(other, 5.1)
    node.receive(answer(1), 5.2)
    assert (len(asker.told), len(other.told)) == (1, 1)
    while asked_of(node, 5.3):
        node.receive(answer(1), 5.4)
    assert (len(asker.told), len(other.told)) == (2, 2)


# -- the name of a stream


@pytest.mark.parametrize(
    ("info", "history"),
    [
        (INFO % b"abc", b"abc"),
        (b"master_replid:abc", b"abc"),
        (b"master_replid2:abc\r\n", b""),
        (b"", b""),
        (None, b""),
        (7, b""),
        (hiredis.ReplyError("NOPERM"), b""),
        ([b"master_replid:abc"], b""),
    ],
)
def test_the_name_of_a_stream(info: object, history: bytes) -> None:
    assert history_of(info) == history
