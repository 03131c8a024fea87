"""A client's conversation: order, limits, login, draining. What each frame is answered: `test_bad_frames.py`."""

from __future__ import annotations

import pytest

from tests.core.conversation import API_KEY, NODE_NAMES, OTHER_KEY, SIGNING_KEYS, Conversation, key_of
from tests.core.test_bad_frames import SMALL
from wireproto.core.api_keys import ApiKeyRecord, hash_api_key
from wireproto.core.bundle import Bundle
from wireproto.core.limits import Limits
from wireproto.core.server_session import MOST_OF_A_TURN, SessionState
from wireproto.core.tokens import LEEWAY


def test_a_refusal_keeps_its_place() -> None:
    talk = Conversation()
    assert talk.say(b"WRITE 1:a 1:1\nFROB\nREAD 1:a\nREAD 0:\nPING\nREAD 1:a\n") == (
        b"OK\nERR VERB :no such verb; HELP lists them\nOK 1:1\nERR ARG :the key is empty\nOK\nOK 1:1\n"
    )


def test_what_precedes_a_broken_stream_is_answered_first() -> None:
    talk = Conversation()
    heard = talk.say(b"WRITE 1:a 1:1\nREAD 1:a\n\x00\nREAD 1:a\n")
    assert heard.startswith(b"OK\nOK 1:1\nERR PROTO :")
    assert heard.count(b"\n") == 3
    assert talk.session.is_finished


# -- order


def test_untagged_replies_wait_for_each_other_and_tagged_ones_overtake() -> None:
    talk = Conversation(nodes_answer=False)
    talk.open_window()
    slow, quick = key_of(talk, 0), key_of(talk, 1)
    talk.session.receive(
        b"READ %d:%b\nREAD %d:%b\n#t READ %d:%b\n" % (len(slow), slow, len(quick), quick, len(quick), quick), 0.0
    )
    talk.exchange_with(1)
    assert talk.session.data_to_send() == b"#t MISS\n"
    assert talk.session.data_to_send(partial=True) == b""
    talk.exchange_with(0)
    assert talk.session.data_to_send() == b"MISS\nMISS\n"
    assert talk.session.owes_nothing


def test_a_slow_node_does_not_hold_back_what_comes_before_it() -> None:
    talk = Conversation(nodes_answer=False)
    talk.open_window()
    slow, quick = key_of(talk, 0), key_of(talk, 1)
    request = b"READ %d:%b\n"
    talk.session.receive(
        request % (len(quick), quick) + request % (len(slow), slow) + request % (len(quick), quick), 0.0
    )
    talk.exchange_with(1)
    assert talk.session.data_to_send() == b""
    assert talk.session.data_to_send(partial=True) == b"MISS\n"
    assert talk.session.data_to_send(partial=True) == b""
    talk.exchange_with(0)
    assert talk.session.data_to_send() == b"MISS\nMISS\n"


def test_later_reads_of_the_client_wait_for_earlier_ones() -> None:
    talk = Conversation(nodes_answer=False)
    slow, quick = key_of(talk, 0), key_of(talk, 1)
    talk.session.receive(b"READ %d:%b\n" % (len(slow), slow), 0.0)
    talk.session.receive(b"PING 1:p\nREAD %d:%b\n" % (len(quick), quick), 0.0)
    talk.exchange_with(1)
    assert talk.session.data_to_send(partial=True) == b""
    talk.exchange_with(0)
    assert talk.session.data_to_send() == b"MISS\nOK 1:p\nMISS\n"


def test_requests_for_one_node_travel_in_the_order_sent() -> None:
    talk = Conversation(nodes_answer=False)
    talk.open_window()
    key = key_of(talk, 2)
    length = len(key)
    talk.session.receive(
        b"WRITE %d:%b 1:1\n#t WRITE %d:%b 1:2 nx\nREAD %d:%b deadline=9\nDELETE %d:%b\n" % ((length, key) * 4),
        talk.now,
    )
    talk.exchange_with(2)
    assert [command[0] for command in talk.nodes[2].commands] == [b"SET", b"EVALSHA", b"GET", b"UNLINK"]
    assert talk.session.data_to_send() == b"#t CONFLICT\nOK\nOK 1:1\nOK\n"


# -- faults of nodes


def test_a_node_that_is_down_is_told_at_once_and_holds_nobody_up() -> None:
    talk = Conversation()
    down, up = key_of(talk, 0), key_of(talk, 1)
    talk.pipelines[0].lost()
    request = b"READ %d:%b\n" % (len(down), down) + b"READ %d:%b\n" % (len(up), up)
    assert talk.say(request) == b"ERR DOWN :node shard-1 cannot be reached\nMISS\n"
    assert talk.metrics.outcomes["READ", "DOWN"] == 1


def test_a_connection_that_breaks_answers_lost_for_what_was_sent_and_down_for_what_was_not() -> None:
    talk = Conversation(nodes_answer=False)
    key = key_of(talk, 0)
    talk.session.receive(b"READ %d:%b\n" % (len(key), key), 0.0)
    talk.pipelines[0].data_to_send(5.0)
    talk.session.receive(b"READ %d:%b\n" % (len(key), key), 6.0)
    talk.pipelines[0].lost()
    lost, down = talk.session.data_to_send().splitlines()
    assert lost == b"ERR LOST :the connection to node shard-1 broke"
    assert down == b"ERR DOWN :node shard-1 cannot be reached"
    assert talk.session.owes_nothing


def test_a_bug_ends_one_conversation_and_no_other() -> None:
    talk = Conversation(nodes_answer=False)
    talk.session.receive(b"READ 1:k\n", 0.0)
    talk.bug = RuntimeError("a bug")
    talk.exchange()
    assert isinstance(talk.world.bugs[0], RuntimeError)
    assert talk.session.is_broken
    assert talk.session.is_finished
    assert not any(pipeline.in_flight for pipeline in talk.pipelines)


def test_a_reply_that_does_not_fit_is_an_internal_error_with_the_id_of_the_log() -> None:
    talk = Conversation(nodes_answer=False)
    talk.session.receive(b"READ 1:k\n", 0.0)
    pipeline = talk.pipelines[talk.owner(b"k")]
    pipeline.data_to_send(0.0)
    pipeline.receive(b":5\r\n", 0.0)
    assert talk.session.data_to_send() == (
        b"ERR INTERNAL :the node gave a reply that does not fit READ, logged as bug-id\n"
    )


# -- login


def test_nothing_but_auth_ping_help_and_quit_before_auth() -> None:
    talk = Conversation(log_in=False)
    refused = b'ERR AUTH :log in first: auth "your-api-key"\n'
    requests = b"READ 1:k\nWRITE 1:k 1:v\nDELETE 1:k\nTOUCH 1:k ex=1\nWHERE 1:k\nSTATS\n"
    assert talk.say(requests) == refused * 6
    assert talk.say(b"PING 1:x\n") == b"OK 1:x\n"
    assert talk.say(b"HELP\n").startswith(b"OK ")
    assert not talk.is_closed
    assert talk.say(b"QUIT\n") == b"OK\n"
    assert talk.session.is_finished


def test_an_api_key_buys_a_token_which_logs_in() -> None:
    talk = Conversation(log_in=False)
    answer = talk.say(b'auth "%b"\nREAD 1:k\n' % API_KEY)
    first, second, rest = answer.split(b"\n", 2)
    assert first.endswith(b" ttl=900")
    token = first.removesuffix(b" ttl=900").partition(b":")[2]
    assert second == b"MISS"
    assert rest == b""
    other = Conversation(log_in=False)
    assert other.say(b"AUTH %d:%b\n" % (len(token), token)) == b"OK ttl=900\n"


def test_auth_in_mid_pipeline_holds_for_what_is_behind_it() -> None:
    talk = Conversation(log_in=False)
    heard = talk.say(b"READ 1:k\nAUTH %d:%b\nREAD 1:k\n" % (len(API_KEY), API_KEY)).splitlines()
    assert heard[0].startswith(b"ERR AUTH")
    assert heard[1].startswith(b"OK ")
    assert heard[2] == b"MISS"


def test_the_third_wrong_credential_closes() -> None:
    talk = Conversation(log_in=False)
    heard = talk.say(b'auth "wrong"\n' * 5)
    assert heard.count(b"ERR AUTH :") == 3
    assert talk.session.is_finished
    assert talk.metrics.closed_by_limit["credentials"] == 1
    assert [event for event, _ in talk.world.events] == ["refused"] * 3


def test_a_connection_stays_with_its_client() -> None:
    talk = Conversation()
    assert talk.say(b'auth "%b"\n' % OTHER_KEY).startswith(b"ERR AUTH :")
    assert talk.say(b"READ 1:k\n") == b"MISS\n"
    assert talk.say(b'auth "%b"\n' % API_KEY).startswith(b"OK ")


def test_a_token_that_runs_out_is_told_and_can_be_renewed() -> None:
    talk = Conversation()
    talk.now += 900 + LEEWAY
    assert talk.say(b"READ 1:k\n") == b"ERR EXPIRED :the token of this connection is not valid any more; AUTH again\n"
    heard = talk.say(b'auth "%b"\nREAD 1:k\n' % API_KEY)
    assert heard.endswith(b"\nMISS\n")


def test_a_wrong_credential_on_an_authenticated_connection_leaves_it_authenticated() -> None:
    talk = Conversation()
    assert talk.say(b'auth "wrong"\nREAD 1:k\n').endswith(b"\nMISS\n")


def certified(**more: int) -> Conversation:
    """A conversation that waits for its login, where a certificate's name stands for a client."""
    talk = Conversation(log_in=False)
    record = ApiKeyRecord("k3", hash_api_key(b"key-3"), "shop", "shop-ns", 0, certificate="shop.example", **more)
    talk.authority.update([ApiKeyRecord("k1", hash_api_key(API_KEY), "client", "ns", 0), record], SIGNING_KEYS)
    return talk


def test_a_certificate_logs_in_until_its_end() -> None:
    talk = certified()
    end = int(talk.world.now) + 100
    talk.session.log_in_by_certificate(["unknown", "shop.example"], end, talk.now)
    assert talk.say(b"READ 1:k\n") == b"MISS\n"
    assert talk.session.login.identity is not None
    assert talk.session.login.identity.client == "shop"
    [(event, details)] = talk.world.events
    assert (event, details["method"], details["client"]) == ("authenticated", "certificate", "shop")
    talk.now += 100 + LEEWAY - 1
    assert talk.say(b"READ 1:k\n") == b"MISS\n"
    talk.now += 1
    assert talk.say(b"READ 1:k\n").startswith(b"ERR EXPIRED ")
    assert talk.say(b'auth "%b"\n' % API_KEY).startswith(b"ERR AUTH :a connection stays with the client")


def test_a_certificate_is_good_for_no_longer_than_its_key_record() -> None:
    talk = certified(expires=1_000_050)
    talk.session.log_in_by_certificate(["shop.example"], 2_000_000, talk.now)
    assert talk.say(b"READ 1:k\n") == b"MISS\n"
    talk.now += 50 + LEEWAY
    assert talk.say(b"READ 1:k\n").startswith(b"ERR EXPIRED ")


@pytest.mark.parametrize("names", [[], ["nobody.example"], ["SHOP.example"]])
def test_a_certificate_of_nobody_leaves_the_login_to_auth(names: list[str]) -> None:
    talk = certified()
    talk.session.log_in_by_certificate(names, 2_000_000, talk.now)
    assert talk.say(b"READ 1:k\n").startswith(b"ERR AUTH ")
    [(event, details)] = talk.world.events
    assert (event, details["method"]) == ("refused", "certificate")
    assert str(details["reason"]).endswith(f": {', '.join(names)}")
    assert talk.say(b'auth "%b"\n' % API_KEY).startswith(b"OK ")
    assert talk.say(b"READ 1:k\n") == b"MISS\n"
    assert [details["method"] for event, details in talk.world.events if event == "authenticated"] == ["api_key"]


def test_a_frame_before_auth_is_held_to_its_limit() -> None:
    talk = Conversation(log_in=False)
    assert talk.say(b"WRITE 1:k 9000:").startswith(b"ERR PROTO :")
    talk = Conversation(log_in=False)
    assert talk.say(b"FROB" + b" 500:%b" % (b"a" * 500) * 17).startswith(b"ERR PROTO :")
    talk = Conversation(log_in=False)
    assert talk.say(b"AUTH 4097:%b\n" % (b"a" * 4097)).startswith(b"ERR ARG :")


# -- limits


def test_requests_in_flight_are_bounded_and_parsing_goes_on_when_they_are_answered() -> None:
    talk = Conversation(limits=Limits(max_in_flight=10), nodes_answer=False)
    talk.session.receive(b"READ 1:k\n" * 100, 0.0)
    pipeline = talk.pipelines[talk.owner(b"k")]
    assert pipeline.waiting_requests <= 10
    assert not talk.session.wants_input
    talk.session.receive(b"READ 1:z\n" * 100, 0.0)
    assert pipeline.waiting_requests <= 10
    talk.nodes_answer = True
    assert talk.settle() == b"MISS\n" * 200
    assert talk.session.wants_input


def test_the_window_grows_with_what_replies_turn_out_to_measure() -> None:
    talk = Conversation(nodes_answer=False)
    talk.session.receive(b"READ 1:k\n" * 60_000, 0.0)
    pipeline = talk.pipelines[talk.owner(b"k")]
    windows = []
    while pipeline.waiting_requests:
        windows.append(pipeline.waiting_requests)
        talk.exchange()
        talk.session.data_to_send()
        while talk.session.can_resume:
            talk.session.resume(0.0)
    assert windows[0] == 2
    assert max(windows) == 4096 // 2 + MOST_OF_A_TURN, "as long as no more than half of it was taken, more is taken"
    assert sum(windows) == 60_000


def test_one_turn_takes_no_more_than_its_share() -> None:
    talk = Conversation()
    talk.say(b"READ 1:k\n" * 10_000)
    talk.settle()
    talk.nodes_answer = False
    talk.session.receive(b"READ 1:k\n" * 2000, 0.0)
    pipeline = talk.pipelines[talk.owner(b"k")]
    assert pipeline.waiting_requests == MOST_OF_A_TURN
    assert talk.session.can_resume
    talk.session.resume(0.0)
    assert pipeline.waiting_requests == 2000
    assert talk.session.wants_input


def test_what_is_held_is_taken_in_order_when_it_is_resumed() -> None:
    talk = Conversation()
    talk.session.hold(b"WRITE 1:k 1:v\nREAD ")
    assert not talk.session.wants_input
    assert talk.session.can_resume
    talk.session.receive(b"1:k\nREAD 1:", 0.0)
    assert talk.session.data_to_send() == b""
    assert talk.settle() == b"OK\nOK 1:v\n"
    talk.session.hold(b"n\n")
    assert talk.settle() == b"MISS\n"
    assert talk.session.wants_input


def test_pieces_of_a_value_are_held_without_being_looked_at_before_it_is_whole() -> None:
    talk = Conversation()
    talk.session.receive(b"WRITE 1:k 20:abcde", 0.0)
    talk.session.hold(b"abcde")
    assert talk.session.wants_input
    talk.session.hold(b"abcdeabcde\n")
    assert not talk.session.wants_input
    assert talk.settle() == b"OK\n"
    assert talk.say(b"READ 1:k\n") == b"OK 20:" + b"abcde" * 4 + b"\n"


def test_nothing_is_held_of_a_conversation_that_is_over() -> None:
    talk = Conversation()
    assert talk.say(b"QUIT\n") == b"OK\n"
    talk.session.hold(b"READ 1:k\n")
    assert talk.settle() == b""
    assert talk.session.is_finished


def test_nothing_is_parsed_while_the_client_does_not_read() -> None:
    talk = Conversation()
    talk.session.writing_stopped = True
    assert talk.say(b"READ 1:k\n") == b""
    assert not talk.session.wants_input
    talk.session.writing_stopped = False
    assert talk.settle() == b"MISS\n"


def test_values_are_let_go_when_too_much_is_unread() -> None:
    limits = Limits(max_unread_bytes=1000)
    talk = Conversation(limits=limits)
    talk.say(b"WRITE 1:k 600:%b\n" % (b"v" * 600))
    talk.say(b"READ 1:n\n" * 400)  # the window opens
    talk.nodes_answer = False
    talk.session.receive(b"READ 1:k\n" * 12, 0.0)
    talk.session.receive(b"WRITE 1:k 1:v\nREAD 1:k\n", 0.0)
    pipeline, node = talk.pipelines[talk.owner(b"k")], talk.nodes[talk.owner(b"k")]
    for reply in node.execute(pipeline.data_to_send(0.0)):
        pipeline.receive(reply, 0.0)
    assert talk.session.memory < 4 * 1000 + 600, "what is let go is not counted as held"
    heard = talk.session.data_to_send()
    assert heard.count(b"OK 600:") == 6, "what is kept: four times the limit"
    assert heard.count(b"ERR BUSY retry=50 :") == 6
    assert heard.splitlines()[12] == b"OK", "a WRITE has taken effect and is told so"
    assert heard.splitlines()[13] == b"OK 1:v", "what is short finds room"
    talk.nodes_answer = True
    assert talk.say(b"READ 1:k\n") == b"OK 1:v\n"


def test_cheap_requests_with_long_answers_take_turns() -> None:
    talk = Conversation()
    talk.session.receive(b"HELP\n" * 1000, 0.0)
    assert talk.session._answers.unsent < 300 * 1024
    assert not talk.session.wants_input
    talk.session.data_to_send()
    talk.session.receive(b"", 0.0)
    heard = b""
    while talk.session.can_resume:
        talk.session.resume(0.0)
        assert talk.session._answers.unsent < 300 * 1024
        heard += talk.session.data_to_send()
    assert talk.session.wants_input


def test_a_long_value_in_small_pieces_is_joined_once() -> None:
    talk = Conversation()
    value = bytes(range(256)) * 4096
    data = b"WRITE 1:k %d:%b\n" % (len(value), value)
    pieces = [data[start : start + 1400] for start in range(0, len(data), 1400)]
    talk.say(b"READ 1:k\n")
    assert talk.say(*pieces[:-1]) == b""
    assert len(talk.session._chunks) >= len(pieces) - 4  # they wait, unjoined, for the last
    assert talk.say(pieces[-1]) == b"OK\n"
    assert talk.say(b"READ 1:k\n") == b"OK %d:%b\n" % (len(value), value)


# -- the end


def test_quit_answers_everything_before_it() -> None:
    talk = Conversation(nodes_answer=False)
    talk.session.receive(b"READ 1:k\nQUIT\nREAD 1:k\n", 0.0)
    assert not talk.session.is_finished
    talk.exchange()
    assert talk.session.data_to_send() == b"MISS\nOK\n"
    assert talk.session.is_finished


def test_the_end_of_input_answers_everything_before_it() -> None:
    talk = Conversation(limits=Limits(max_in_flight=4), nodes_answer=False)
    talk.session.receive(b"READ 1:k\n" * 20 + b"READ 1:", 0.0)
    talk.session.end_of_input()
    assert not talk.session.is_finished
    talk.nodes_answer = True
    assert talk.settle() == b"MISS\n" * 20
    assert talk.session.is_finished


def test_draining_refuses_what_is_new_and_answers_what_is_old() -> None:
    talk = Conversation(nodes_answer=False)
    talk.session.receive(b"READ 1:k\n", 0.0)
    talk.session.drain()
    talk.session.receive(b"READ 1:k\nPING\nQUIT\n", 0.0)
    assert not talk.session.owes_nothing
    talk.exchange()
    closing = b"ERR CLOSING :the server is shutting down\n"
    assert talk.session.data_to_send() == b"MISS\n" + closing * 2 + b"OK\n"
    assert talk.session.state is SessionState.CLOSED


def test_replies_to_a_client_that_is_gone_are_dropped() -> None:
    talk = Conversation(nodes_answer=False)
    talk.open_window()
    talk.session.receive(b"READ 1:k\n" * 3, 0.0)
    talk.session.abandon()
    other_sees: list[object] = []

    class Owner:
        def deliver(self, bundle: Bundle, first: int, replies: list[object], size: int, now: float) -> None:
            other_sees.extend(replies)

    pipeline = talk.pipelines[talk.owner(b"k")]
    bundle = Bundle(Owner(), talk.session._answers.batch, 0.0)  # type: ignore[arg-type]
    bundle.commands.append(b"*2\r\n$3\r\nGET\r\n$5\r\nother")
    bundle.kinds.append(1)
    bundle.slots.append(0)
    pipeline.submit(bundle)
    pipeline.data_to_send(0.0)
    pipeline.receive(b"$1\r\nX\r\n" * 3 + b"$4\r\nmine\r\n", 0.0)
    assert other_sees == [b"mine"]
    assert talk.session.data_to_send() == b""


# -- WHERE and trace


def test_where_names_the_node() -> None:
    talk = Conversation()
    for key in (b"a", b"{a}b", b"another"):
        name = NODE_NAMES[talk.owner(key)].encode()
        heard = talk.say(b"WHERE %d:%b\n" % (len(key), key))
        assert heard.startswith(b"OK 7:%b 21:master up 127.0.0.1:1 role=master state=up place=" % name)


def test_trace_tells_the_way() -> None:
    talk = Conversation(nodes_answer=False)
    key = key_of(talk, 3)
    talk.session.receive(b"READ %d:%b trace\nREAD %d:%b\n" % (len(key), key, len(key), key), 1.0)
    pipeline = talk.pipelines[3]
    pipeline.data_to_send(1.0005)
    pipeline.receive(b"$1\r\nv\r\n$1\r\nw\r\n", 1.002)
    assert talk.session.data_to_send() == b"OK 1:v node=shard-4 role=unknown queue_us=500 node_us=1500\nOK 1:w\n"
    talk.pipelines[3].lost()
    talk.session.receive(b"READ %d:%b trace\n" % (len(key), key), 1.0)
    assert talk.session.data_to_send() == b"ERR DOWN node=shard-4 role=unknown :node shard-4 cannot be reached\n"


def test_a_deadline_that_passes_before_the_request_is_sent() -> None:
    talk = Conversation(nodes_answer=False)
    talk.open_window()
    key = key_of(talk, 3)
    request = b"READ %d:%b" % (len(key), key)
    talk.session.receive(request + b"\n" + request + b" deadline=20\n" + request + b"\n", 1.0)
    talk.pipelines[3].stopped = True
    talk.pipelines[3].give_up_late(1.02)
    assert talk.session.data_to_send(partial=True) == b""
    talk.pipelines[3].give_up_late(1.021)
    talk.pipelines[3].stopped = False
    talk.exchange()
    assert (
        talk.session.data_to_send() == b"MISS\nERR LATE :the deadline passed before the request could be sent\nMISS\n"
    )


def test_outcomes_are_counted() -> None:
    talk = Conversation()
    talk.say(b"WRITE 1:k 1:v\nREAD 1:k\nREAD 1:n\nREAD 1:k ttl\nDELETE 1:k\nFROB\nWRITE 1:k 1:v xx\nREAD 0:\n")
    outcomes = {key: count for key, count in talk.metrics.all_outcomes().items() if key[0] != "AUTH"}
    assert outcomes == {
        ("WRITE", "OK"): 1,
        ("WRITE", "CONFLICT"): 1,
        ("READ", "OK"): 2,
        ("READ", "MISS"): 1,
        ("READ", "ARG"): 1,
        ("DELETE", "OK"): 1,
        ("-", "VERB"): 1,
    }


# -- what a client holds, and how long a frame takes


def test_a_frame_begins_with_its_first_byte_and_no_other_prolongs_it() -> None:
    talk = Conversation()
    assert talk.session.frame_began_at == 0
    for byte in b"WRITE 1:k 10:vvvv":
        talk.now += 1
        talk.say(bytes((byte,)))
        assert talk.session.frame_began_at == 11
    assert talk.say(b"vvvvvv\n") == b"OK\n"
    assert talk.session.frame_began_at == 0


@pytest.mark.parametrize(
    "beginning", [b" ", b"#", b"R", b"READ 1:k", b"frob 3:x", b'"', b"WRITE 1:k 3000:x", b"PING\r"]
)
def test_any_part_of_a_frame_begins_it(beginning: bytes) -> None:
    talk = Conversation(limits=SMALL)
    talk.say(b"PING\n" + beginning)
    assert talk.session.frame_began_at == (talk.now if not talk.is_closed else 0)


def test_a_frame_behind_another_begins_when_it_comes() -> None:
    talk = Conversation()
    talk.say(b"READ 1:k")
    talk.now += 5
    assert talk.say(b"\nREAD 1:") == b"MISS\n"
    assert talk.session.frame_began_at == talk.now
    assert talk.say(b"k\n\n\n") == b"MISS\n"
    assert talk.session.frame_began_at == 0


def test_a_value_that_is_skipped_has_begun_too() -> None:
    talk = Conversation(limits=SMALL)
    talk.say(b"WRITE 1:k 5000:")
    began = talk.now
    talk.now += 5
    talk.say(b"x" * 4000)
    assert talk.session.frame_began_at == began
    assert talk.say(b"x" * 1000 + b"\n").startswith(b"ERR TOOBIG")
    assert talk.session.frame_began_at == 0


def test_while_the_server_does_not_read_no_frame_is_late() -> None:
    talk = Conversation(limits=Limits(max_in_flight=4), nodes_answer=False)
    talk.say(b"READ 1:k\n" * 10 + b"READ 1:")
    assert not talk.session.wants_input
    assert talk.session.frame_began_at == 0
    talk.now += 100
    talk.nodes_answer = True
    assert talk.settle() == b"MISS\n" * 10
    assert talk.session.wants_input
    assert talk.session.frame_began_at == talk.now


def test_what_a_client_holds_is_counted() -> None:
    talk = Conversation(nodes_answer=False)
    assert talk.session.memory == 0
    talk.say(b"WRITE 1:k 1000:" + b"v" * 400)
    assert 400 <= talk.session.memory < 600
    talk.say(b"v" * 600)
    assert 1000 <= talk.session.memory < 1200  # it is parsed, and its frame is not over
    talk.say(b"\n")
    assert talk.session.memory == 1000  # it is on its way to its node
    talk.session.writing_stopped = True
    talk.exchange()
    assert 0 < talk.session.memory < 100  # the answer
    talk.session.data_to_send()
    assert talk.session.memory == 0


def test_small_pieces_count_for_what_they_take() -> None:
    talk = Conversation()
    talk.say(b"WRITE 1:k 1000:v")
    for _ in range(100):
        talk.say(b"vv")
    assert talk.session.memory > 100 * 32


def test_a_value_that_is_skipped_holds_nothing() -> None:
    talk = Conversation(limits=SMALL)
    talk.say(b"WRITE 1:k 50000:", b"x" * 20_000)
    assert talk.session.memory < 100


def test_a_wrong_credential_is_told_and_an_expired_one_is_no_guess() -> None:
    talk = Conversation(log_in=False)
    token, _ = talk.authority.login(API_KEY, talk.world.now, "t0")
    talk.world.now += 10_000
    assert talk.say(b"AUTH %d:%b\n" % (len(token), token.encode())).startswith(b"ERR EXPIRED")
    assert talk.world.guesses == []
    assert talk.say(b"AUTH 5:wrong\n").startswith(b"ERR AUTH")
    assert talk.world.guesses == ["peer"]


def test_a_frame_whose_rest_waits_for_its_turn_is_not_late() -> None:
    talk = Conversation()
    talk.say(b"READ 1")
    assert talk.session.frame_began_at == talk.now
    talk.session.hold(b":k\n")
    assert talk.session.frame_began_at == 0
    assert talk.settle() == b"MISS\n"
