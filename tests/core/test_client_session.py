"""One connection's conversation, client side, without a connection."""

from __future__ import annotations

from random import Random
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wireproto.core.client_session import ClientSession, SessionState
from wireproto.core.credentials import Credentials
from wireproto.core.reply_wire import OK, Reply, ReplyParser
from wireproto.errors import (
    AuthError,
    BusyError,
    ClosingError,
    Effect,
    LostError,
    NodeDownError,
    NodeTimeoutError,
    ProtocolError,
)

READ = b"READ 1:k\n"


class Talk:
    """A session whose time and peer are the test's."""

    def __init__(self, api_key: bytes | None = None, credentials: Credentials | None = None) -> None:
        self.credentials = credentials or Credentials(api_key)
        self.session: ClientSession[str] = ClientSession(self.credentials)
        self.now = 1000.0
        self.session.start(self.now)

    def ask(self, name: str) -> bytes:
        """Submit a request; what is written."""
        self.session.submit([READ], name, self.now)
        return self.session.data_to_send()

    def hear(self, data: bytes) -> list[tuple[str, object]]:
        """Receive; who has his answers now, and the first of them. A reply that is no value is told by its status."""
        return [(batch.owner, said(batch.answers[0])) for batch in self.session.receive(data, self.now)]

    def lose(self) -> list[tuple[str, Any]]:
        return [(batch.owner, answer) for batch in self.session.lose() for answer in batch.answers]


def said(answer: Any) -> object:
    return answer.status if isinstance(answer, Reply) else answer


def logged_in() -> Talk:
    talk = Talk(b"key")
    assert talk.session.data_to_send() == b"#1 AUTH 3:key\n"
    talk.hear(b"#1 OK 5:a.b.c ttl=100\n")
    assert talk.session.is_ready
    return talk


def test_replies_find_whoever_asked_in_any_order() -> None:
    talk = Talk()
    assert talk.ask("first") == b"#1 READ 1:k\n"
    assert talk.ask("second") == b"#2 READ 1:k\n"
    assert talk.session.in_flight == 2
    assert talk.session.in_flight_bytes == 2 * len(READ)
    assert talk.hear(b"#2 OK 1:b\n#1 OK 1:a\n") == [("second", b"b"), ("first", b"a")]
    assert (talk.session.in_flight, talk.session.in_flight_bytes) == (0, 0)


def test_many_are_one_batch() -> None:
    talk = logged_in()
    batch = talk.session.submit([READ, b"PING\n", READ], "many", talk.now)
    assert talk.ask("one") == b"#2 READ 1:k\n#3 PING\n#4 READ 1:k\n#5 READ 1:k\n"
    assert (talk.session.in_flight, talk.session.in_flight_bytes) == (4, 3 * len(READ) + 5)
    assert talk.session.waiting()[0] is batch
    assert talk.hear(b"#3 OK\n#5 MISS\n#2 OK 1:a\n") == [("one", "MISS")]
    assert (talk.session.in_flight, talk.session.in_flight_bytes) == (1, len(READ))
    assert [said(answer) for answer in batch.answers] == [b"a", "OK", None]
    assert talk.hear(b"#4 OK 1:b ttl=5\n") == [("many", b"a")]
    assert batch.answers[2].options == {"ttl": "5"}
    assert (talk.session.in_flight, talk.session.in_flight_bytes) == (0, 0)
    talk.now += 80.0
    assert talk.ask("later") == b"#6 AUTH 3:key\n#7 READ 1:k\n"


def test_a_submission_that_breaks_off_leaves_a_conversation_that_owes_something() -> None:
    """Else the next caller would send what is queued here, and take its reply for his own."""
    talk = logged_in()
    with pytest.raises(TypeError):
        talk.session.submit([READ, cast(bytes, None), READ], "first", talk.now)
    assert talk.session.in_flight
    assert talk.session.submit([READ], "another", talk.now).first > 3


def test_tags_are_the_numbers_from_one_on() -> None:
    talk = logged_in()
    written = b""
    for count in (1, 97, 1, 1, 250, 1, 700, 1, 9000, 1):
        talk.session.submit([READ] * count, "many", talk.now)
        written += talk.session.data_to_send()
    assert written == b"".join(b"#%d READ 1:k\n" % number for number in range(2, 10055))


REPLIES = [
    b"OK 1:v\n",
    b"OK 0:\n",
    b"OK 12:#2 OK 1:x\n..\n",
    b"OK\n",
    b"MISS\n",
    b"CONFLICT\n",
    b"OK 1:v ttl=5\n",
    b"OK 1:a 1:b\n",
    b"MISS held=5\n",
    b"ERR BUSY retry=5 :full\n",
]
"""Plain ones, which the hot loop takes, and others, which the full parser reads."""


def told(answer: Any) -> object:
    """An answer as the full parser tells it, and as the hot loop does, in the same words."""
    if isinstance(answer, bytes):
        return OK, (answer,), {}, ""
    return (answer.status, answer.arguments, dict(answer.options), answer.text) if answer else None


@given(st.lists(st.sampled_from(REPLIES), min_size=1, max_size=12), st.randoms(), st.data())
def test_any_order_and_any_cut_give_the_same_answers(lines: list[bytes], dice: Random, data: st.DataObject) -> None:
    talk = Talk()
    batch = talk.session.submit([READ] * len(lines), "many", talk.now)
    tagged = [b"#%d %b" % (number, line) for number, line in enumerate(lines, 1)]
    dice.shuffle(tagged)
    stream = b"".join(tagged)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    done = [
        batch.owner
        for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for batch in talk.session.receive(stream[start:stop], talk.now)
    ]
    assert talk.session.failure is None
    assert (done, talk.session.in_flight, talk.session.in_flight_bytes) == (["many"], 0, 0)
    assert [told(answer) for answer in batch.answers] == [told(read_alone(line)) for line in lines]


def read_alone(line: bytes) -> Reply | None:
    parser = ReplyParser()
    parser.feed(line)
    return parser.next()


NUMBERS = (b"#1", b"#2", b"#3", b"#01", b"#", b"0:", b"01:", b"1:v", b"2:vv", b"5:", b"99999999999:")
WORDS = st.sampled_from(
    [*NUMBERS, b" ", b"OK", b"O", b"MISS", b"CONFLICT", b"ERR BUSY :", b":", b"\n", b"\r\n", b"ttl=5"]
)


@given(st.lists(WORDS, max_size=24), st.data())
def test_almost_replies_are_taken_alike_however_they_are_cut(words: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(words)
    cut = data.draw(st.integers(0, len(stream)))
    whole = taken([stream])
    assert taken([stream[:cut], stream[cut:]]) == whole
    assert taken([stream[index : index + 1] for index in range(len(stream))]) == whole


def taken(chunks: list[bytes]) -> object:
    talk = Talk()
    batch = talk.session.submit([READ] * 3, "many", talk.now)
    for chunk in chunks:
        talk.session.receive(chunk, talk.now)
    return talk.session.failure is None, [told(answer) for answer in batch.answers]


@pytest.mark.parametrize(
    "line",
    [
        b"#1 OK 01:v\n",
        b"#1 OK 00:\n",
        b"#1 OK 1:vv\n",
        b"#1 OK 1:v \n",
        b"#1 OK 1:v\r\n",
        b"#1 OK +1:v\n",
        b"#1 OK 67108865:",
        b"#1 OK 999999999:",
        b"#1 OKAY\n",
        b"#1 MISSED\n",
        b"#1 MISS\r\n",
        b"#1 CONFLICTS\n",
        b"#1  OK\n",
        b"#1\n",
        b"1 OK\n",
        b"#01 OK\n",
        b"#-1 OK\n",
        b"#99999999999999999999 OK\n",
        b"#18446744073709551617 OK\n",
    ],
)
def test_the_hot_loop_is_as_strict_as_the_full_parser(line: bytes) -> None:
    for chunks in ([line], [line[index : index + 1] for index in range(len(line))]):
        is_trusted, answers = cast("tuple[bool, list[object]]", taken(chunks))
        assert not is_trusted
        assert answers == [None] * 3


def test_requests_of_one_moment_leave_together() -> None:
    talk = Talk()
    for name in "abc":
        talk.session.submit([READ], name, talk.now)
    assert talk.session.output
    assert talk.session.data_to_send() == b"#1 READ 1:k\n#2 READ 1:k\n#3 READ 1:k\n"
    assert not talk.session.output


def test_it_logs_in_first() -> None:
    talk = Talk(b"key")
    assert talk.session.state is SessionState.AUTHENTICATING
    talk.hear(b"#1 OK 5:a.b.c")
    assert not talk.session.is_ready
    talk.hear(b" ttl=100\n")
    assert talk.session.is_ready


def test_the_token_is_used_by_the_next_connection() -> None:
    first = logged_in()
    second = Talk(credentials=first.credentials)
    assert second.session.data_to_send() == b"#1 AUTH 5:a.b.c\n"
    second.hear(b"#1 OK ttl=90\n")
    assert second.session.is_ready


def test_the_token_is_renewed_in_mid_stream_before_it_runs_out() -> None:
    talk = logged_in()
    talk.now += 74
    assert talk.ask("early") == b"#2 READ 1:k\n"
    talk.now += 2
    assert talk.ask("late") == b"#3 AUTH 3:key\n#4 READ 1:k\n"
    assert talk.ask("later") == b"#5 READ 1:k\n"
    assert talk.hear(b"#4 MISS\n#3 OK 5:d.e.f ttl=100\n#2 MISS\n") == [("late", "MISS"), ("early", "MISS")]
    other = Talk(credentials=talk.credentials)
    assert other.session.data_to_send() == b"#1 AUTH 5:d.e.f\n"
    talk.now += 76
    assert talk.ask("much later") == b"#6 AUTH 3:key\n#7 READ 1:k\n"


def test_a_connection_renews_with_the_token_that_another_has_got() -> None:
    first = logged_in()
    second = Talk(credentials=first.credentials)
    second.session.data_to_send()
    second.hear(b"#1 OK ttl=100\n")
    first.now += 76
    first.ask("x")
    first.hear(b"#2 OK 5:d.e.f ttl=100\n")
    second.now += 76
    assert second.ask("y") == b"#2 AUTH 5:d.e.f\n#3 READ 1:k\n"


def test_a_token_that_is_refused_is_replaced_by_way_of_the_api_key() -> None:
    for code in (b"AUTH", b"EXPIRED"):
        talk = Talk(credentials=logged_in().credentials)
        assert talk.session.data_to_send() == b"#1 AUTH 5:a.b.c\n"
        talk.hear(b"#1 ERR %b :no\n" % code)
        assert talk.session.data_to_send() == b"#2 AUTH 3:key\n"
        talk.hear(b"#2 OK 5:d.e.f ttl=100\n")
        assert talk.session.is_ready


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"#1 ERR AUTH :the credential is not accepted\n", AuthError),
        (b"#1 ERR EXPIRED :x\n", AuthError),
        (b"#1 ERR CLOSING :x\n", ClosingError),
        (b"ERR BUSY retry=1000 :too many connections\n", BusyError),
        (b"#1 OK\n", ProtocolError),
        (b"#1 OK ttl=x\n", ProtocolError),
        (b"#1 OK 1:a 1:b ttl=5\n", ProtocolError),
        (b"#1 MISS\n", ProtocolError),
        (b"OK 5:a.b.c ttl=5\n", ProtocolError),
        (b"HTTP/1.1 400 Bad Request\r\n", ProtocolError),
    ],
)
def test_a_login_that_fails_ends_the_conversation(line: bytes, kind: type[Exception]) -> None:
    talk = Talk(b"key")
    talk.session.data_to_send()
    assert talk.hear(line) == []
    assert talk.session.is_over
    assert type(talk.session.failure) is kind


def test_a_token_in_place_of_a_key_is_not_renewed() -> None:
    talk = Talk(b"x.y.z")
    talk.session.data_to_send()
    talk.hear(b"#1 OK ttl=100\n")
    talk.now += 99
    assert talk.ask("a") == b"#2 READ 1:k\n"


@pytest.mark.parametrize("code", [b"EXPIRED", b"AUTH", b"CLOSING"])
def test_a_connection_that_can_do_no_more_is_retired_when_it_is_owed_nothing(code: bytes) -> None:
    talk = logged_in()
    talk.ask("a")
    talk.ask("b")
    assert talk.hear(b"#2 ERR %b :x\n" % code) == [("a", "ERR")]
    assert not talk.session.is_ready
    assert not talk.session.is_over
    assert talk.hear(b"#3 OK 1:v\n") == [("b", b"v")]
    assert talk.session.is_over
    shown = b"a.b.c" if code == b"CLOSING" else b"key"
    assert talk.credentials.best(talk.now) == shown


@pytest.mark.parametrize("has_certificate", [True, False])
def test_who_logs_in_by_certificate_has_another_connection_to_try(has_certificate: bool) -> None:
    talk = Talk(credentials=Credentials(None, has_certificate=has_certificate))
    assert talk.session.is_ready
    assert talk.ask("a") == b"#1 READ 1:k\n"
    assert talk.hear(b"#1 ERR EXPIRED :x\n") == [("a", "ERR")]
    assert talk.session.is_over == has_certificate


def test_a_renewal_that_fails_retires_the_connection() -> None:
    talk = logged_in()
    talk.now += 76
    talk.ask("a")
    assert talk.hear(b"#2 ERR AUTH :revoked\n#3 OK 1:v\n") == [("a", b"v")]
    assert talk.session.is_over


@pytest.mark.parametrize(
    "line",
    [
        b"#9 OK\n",
        b"OK\n",
        b"#1 OK 1:v\n",
        b"nonsense\n",
        b"#2 OK 1:vv\n",
        b"#3 OK\n\n",
        b"#0002 OK\n",
        b"#3 MISS\n#3 MISS\n",
    ],
)
def test_what_was_not_asked_or_is_no_reply_ends_the_conversation(line: bytes) -> None:
    talk = logged_in()
    talk.ask("a")
    talk.ask("b")
    answers = talk.hear(line)
    assert ("a", "OK") not in answers
    assert talk.session.is_over
    assert isinstance(talk.session.failure, ProtocolError)
    lost = talk.lose()
    assert {name for name, _ in lost} | {answer[0] for answer in answers} == {"a", "b"}
    assert all(isinstance(error, LostError) for _, error in lost)
    assert talk.hear(b"#2 OK\n") == []


def test_what_was_answered_before_the_garbage_counts() -> None:
    talk = Talk()
    talk.ask("a")
    talk.ask("b")
    assert talk.hear(b"#1 OK 1:v\ngarbage\n") == [("a", b"v")]
    assert [name for name, _ in talk.lose()] == ["b"]


def test_a_server_that_does_not_understand_gets_no_more() -> None:
    talk = Talk()
    talk.ask("a")
    talk.ask("b")
    assert talk.hear(b"#1 ERR PROTO :what\n") == [("a", "ERR")]
    assert talk.session.is_over
    assert [name for name, _ in talk.lose()] == ["b"]


def test_a_refusal_at_the_door_changed_nothing() -> None:
    talk = Talk()
    talk.ask("a")
    talk.hear(b"ERR BUSY retry=1000 :too many connections\n")
    ((name, error),) = talk.lose()
    assert (name, type(error), error.took_effect, error.retry_after) == ("a", BusyError, Effect.NO, 1.0)


def test_the_same_words_later_may_have_changed_something() -> None:
    talk = Talk()
    talk.ask("a")
    talk.ask("b")
    talk.hear(b"#1 OK 1:v\nERR BUSY :x\n")
    ((_, error),) = talk.lose()
    assert type(error) is LostError


def test_what_is_left_gets_the_error_that_fits() -> None:
    talk = Talk()
    talk.ask("sent")
    talk.session.submit([READ], "not sent", talk.now)
    talk.session.close(LostError("reset by peer"))
    talk.session.close(ProtocolError("comes second"))
    lost = dict(talk.lose())
    assert type(lost["sent"]) is LostError
    assert "reset by peer" in str(lost["sent"])
    assert type(lost["not sent"]) is NodeDownError
    assert talk.lose() == []
    assert (talk.session.in_flight, talk.session.in_flight_bytes, talk.session.output) == (0, 0, [])


def test_silence_is_a_time_out() -> None:
    talk = Talk()
    talk.ask("a")
    talk.session.close(NodeTimeoutError("silent"))
    assert [type(error) for _, error in talk.lose()] == [NodeTimeoutError]


def test_an_owner_may_be_anything() -> None:
    session: ClientSession[None] = ClientSession(Credentials(None))
    session.start(0.0)
    batch = session.submit([READ], None, 0.0)
    assert session.waiting() == [batch]
    assert session.receive(b"#1 MISS\n", 0.0) == [batch]
