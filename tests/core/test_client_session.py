"""One connection's conversation, client side, without a connection."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from wireproto.core.client_session import ClientSession, SessionState
from wireproto.core.credentials import Credentials
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
        self.session.submit(READ, name, self.now)
        return self.session.data_to_send()

    def hear(self, data: bytes) -> list[tuple[str, str, tuple[bytes, ...]]]:
        answers = self.session.receive(data, self.now)
        return [(waiter, reply.status, reply.arguments) for waiter, reply in answers]


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
    assert talk.hear(b"#2 OK 1:b\n#1 OK 1:a\n") == [("second", "OK", (b"b",)), ("first", "OK", (b"a",))]
    assert (talk.session.in_flight, talk.session.in_flight_bytes) == (0, 0)


def test_many_are_submitted_as_one_by_one() -> None:
    talk = logged_in()
    talk.session.submit_all([READ, b"PING\n"], ["first", "second"], talk.now)
    assert talk.session.data_to_send() == b"#2 READ 1:k\n#3 PING\n"
    assert (talk.session.in_flight, talk.session.in_flight_bytes) == (2, len(READ) + 5)
    assert talk.hear(b"#3 OK\n#2 MISS\n") == [("second", "OK", ()), ("first", "MISS", ())]
    assert (talk.session.in_flight, talk.session.in_flight_bytes) == (0, 0)
    talk.now += 80.0
    talk.session.submit_all([READ], ["third"], talk.now)
    assert talk.session.data_to_send() == b"#4 AUTH 3:key\n#5 READ 1:k\n"


def test_one_who_is_interrupted_while_submitting_leaves_a_conversation_that_owes_something() -> None:
    """Else the next caller would send what is queued here, and take its reply for his own."""

    def interrupted() -> Iterator[str]:
        yield "first"
        raise KeyboardInterrupt

    talk = logged_in()
    with pytest.raises(KeyboardInterrupt):
        talk.session.submit_all([READ] * 3, interrupted(), talk.now)
    talk.session.data_to_send()
    talk.hear(b"#2 MISS\n")
    assert talk.session.in_flight
    assert talk.ask("another") == b"#5 READ 1:k\n"


def test_requests_of_one_moment_leave_together() -> None:
    talk = Talk()
    for name in "abc":
        talk.session.submit(READ, name, talk.now)
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
    assert talk.hear(b"#4 MISS\n#3 OK 5:d.e.f ttl=100\n#2 MISS\n") == [("late", "MISS", ()), ("early", "MISS", ())]
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
    assert talk.hear(b"#2 ERR %b :x\n" % code) == [("a", "ERR", ())]
    assert not talk.session.is_ready
    assert not talk.session.is_over
    assert talk.hear(b"#3 OK 1:v\n") == [("b", "OK", (b"v",))]
    assert talk.session.is_over
    shown = b"a.b.c" if code == b"CLOSING" else b"key"
    assert talk.credentials.best(talk.now) == shown


def test_a_renewal_that_fails_retires_the_connection() -> None:
    talk = logged_in()
    talk.now += 76
    talk.ask("a")
    assert talk.hear(b"#2 ERR AUTH :revoked\n#3 OK 1:v\n") == [("a", "OK", (b"v",))]
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
    assert ("a", "OK", ()) not in answers
    assert talk.session.is_over
    assert isinstance(talk.session.failure, ProtocolError)
    lost = talk.session.lose()
    assert {name for name, _ in lost} | {answer[0] for answer in answers} == {"a", "b"}
    assert all(isinstance(error, LostError) for _, error in lost)
    assert talk.hear(b"#2 OK\n") == []


def test_what_was_answered_before_the_garbage_counts() -> None:
    talk = Talk()
    talk.ask("a")
    talk.ask("b")
    assert talk.hear(b"#1 OK 1:v\ngarbage\n") == [("a", "OK", (b"v",))]
    assert [name for name, _ in talk.session.lose()] == ["b"]


def test_a_server_that_does_not_understand_gets_no_more() -> None:
    talk = Talk()
    talk.ask("a")
    talk.ask("b")
    assert talk.hear(b"#1 ERR PROTO :what\n") == [("a", "ERR", ())]
    assert talk.session.is_over
    assert [name for name, _ in talk.session.lose()] == ["b"]


def test_a_refusal_at_the_door_changed_nothing() -> None:
    talk = Talk()
    talk.ask("a")
    talk.hear(b"ERR BUSY retry=1000 :too many connections\n")
    ((name, error),) = talk.session.lose()
    assert (name, type(error), error.took_effect, error.retry_after) == ("a", BusyError, Effect.NO, 1.0)


def test_the_same_words_later_may_have_changed_something() -> None:
    talk = Talk()
    talk.ask("a")
    talk.ask("b")
    talk.hear(b"#1 OK 1:v\nERR BUSY :x\n")
    ((_, error),) = talk.session.lose()
    assert type(error) is LostError


def test_what_is_left_gets_the_error_that_fits() -> None:
    talk = Talk()
    talk.ask("sent")
    talk.session.submit(READ, "not sent", talk.now)
    talk.session.close(LostError("reset by peer"))
    talk.session.close(ProtocolError("comes second"))
    lost = dict(talk.session.lose())
    assert type(lost["sent"]) is LostError
    assert "reset by peer" in str(lost["sent"])
    assert type(lost["not sent"]) is NodeDownError
    assert talk.session.lose() == []
    assert (talk.session.in_flight, talk.session.in_flight_bytes, talk.session.output) == (0, 0, [])


def test_silence_is_a_time_out() -> None:
    talk = Talk()
    talk.ask("a")
    talk.session.close(NodeTimeoutError("silent"))
    assert [type(error) for _, error in talk.session.lose()] == [NodeTimeoutError]


def test_a_waiter_may_be_anything_but_none() -> None:
    session: ClientSession[int] = ClientSession(Credentials(None))
    session.start(0.0)
    session.submit(READ, 0, 0.0)
    assert session.waiters() == [0]
    assert [waiter for waiter, _ in session.receive(b"#1 MISS\n", 0.0)] == [0]
