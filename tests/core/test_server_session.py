"""A client's conversation: every frame whole, byte by byte and with a tail; order; limits; login; draining."""

from __future__ import annotations

import pytest

from tests.core.conversation import API_KEY, NODE_NAMES, OTHER_KEY, Conversation, key_of
from wireproto.core.bundle import Bundle
from wireproto.core.limits import Limits
from wireproto.core.server_session import SessionState
from wireproto.core.tokens import LEEWAY

LIVES, CLOSES = "lives", "closes"
PROTO, ARG, VERB, TOOBIG = b"ERR PROTO :", b"ERR ARG :", b"ERR VERB :", b"ERR TOOBIG :"
KEY = b"k" * 1024
SMALL = Limits(max_value=1000)

GOOD = {
    "read a miss": (b"READ 3:abc\n", b"MISS\n"),
    "write and read": (b"WRITE 1:k 5:value\nREAD 1:k\n", b"OK\nOK 5:value\n"),
    "aliases": (b"SET 1:k 1:v\nGET 1:k\nDEL 1:k\nDEL 1:k\n", b"OK\nOK 1:v\nOK\nMISS\n"),
    "lower case": (b"write 1:k 1:v\nread 1:k\nrEaD 1:k\n", b"OK\nOK 1:v\nOK 1:v\n"),
    "CRLF": (b"WRITE 1:k 1:v\r\nREAD 1:k\r\n", b"OK\nOK 1:v\n"),
    "CRLF and LF mixed, empty lines": (b"\r\n\n\nWRITE 1:k 1:v\r\n\nREAD 1:k\n\r\n", b"OK\nOK 1:v\n"),
    "several spaces": (b"  WRITE   1:k  1:v  nx  \n READ 1:k \n", b"OK\nOK 1:v\n"),
    "quoted": (
        b'write "my key" "a \\"b\\" \\\\ \\n\\r\\t\\x00\\xfF"\nread "my key"\n',
        b'OK\nOK 13:a "b" \\ \n\r\t\0\xff\n',
    ),
    "quoted and counted": (b'write 2:ab "v"\nread "ab"\n', b"OK\nOK 1:v\n"),
    "quoted as typed": ('write "k" "ä"\nread "k"\n'.encode(), b"OK\nOK 2:\xc3\xa4\n"),
    "empty value": (b'WRITE 1:k 0:\nREAD 1:k\nwrite "q" ""\nread "q"\n', b"OK\nOK 0:\nOK\nOK 0:\n"),
    "tagged": (
        b"#a7 WRITE 1:k 1:v\n#-_ READ 1:k\n#0123456789abcdef DELETE 1:k\n",
        b"#a7 OK\n#-_ OK 1:v\n#0123456789abcdef OK\n",
    ),
    "tagged miss and error": (
        b"#x READ 4:none\n#y NONSENSE\n#z READ 0:\n",
        b"#x MISS\n#y ERR VERB :no such verb; HELP lists them\n#z ERR ARG :the key is empty\n",
    ),
    "value with a frame in it": (b"WRITE 1:k 9:\nREAD 1:k\nREAD 1:k\n", b"OK\nOK 9:\nREAD 1:k\n"),
    "key with LF, CR, space, NUL": (b"WRITE 8:a\nb\rc d\0 1:v\nREAD 8:a\nb\rc d\0\n", b"OK\nOK 1:v\n"),
    "key with an argument in it": (b"WRITE 6:a 1:b\n 1:v\nREAD 6:a 1:b\n\n", b"OK\nOK 1:v\n"),
    "key of the limit": (b"WRITE 1024:%b 1:v\nREAD 1024:%b\n" % (KEY, KEY), b"OK\nOK 1:v\n"),
    "value of the limit": (b"WRITE 1:k 1000:%b\nREAD 1:k\n" % (b"v" * 1000), b"OK\nOK 1000:%b\n" % (b"v" * 1000)),
    "value that begins with the marker": (b"WRITE 1:k 3:\xff\x00v\nREAD 1:k\n", b"OK\nOK 3:\xff\x00v\n"),
    "hash tag": (b"WRITE 4:{a}b 1:v\nREAD 4:{a}b\n", b"OK\nOK 1:v\n"),
    "ttl": (b"WRITE 1:k 1:v ex=60\nREAD 1:k ttl\nWRITE 1:k 1:w\nREAD 1:k ttl\n", b"OK\nOK 1:v ttl=60000\nOK\nOK 1:w\n"),
    "ex of nine digits and of ten": (
        b"WRITE 1:k 1:v ex=999999999\nREAD 1:k ttl\nWRITE 1:k 1:w ex=1000000000\nREAD 1:k ttl\n",
        b"OK\nOK 1:v ttl=999999999000\nOK\nOK 1:w ttl=1000000000000\n",
    ),
    "value that begins with the marker, with a time": (
        b"WRITE 1:k 2:\xff\xff ex=1\nREAD 1:k\n",
        b"OK\nOK 2:\xff\xff\n",
    ),
    "ttl of a miss": (b"READ 1:k ttl\n", b"MISS\n"),
    "px and touch": (
        b"WRITE 1:k 1:v px=5\nTOUCH 1:k px=7\nREAD 1:k ttl\nTOUCH 1:n ex=1\n",
        b"OK\nOK\nOK 1:v ttl=7\nMISS\n",
    ),
    "keepttl": (b"WRITE 1:k 1:v ex=9\nWRITE 1:k 1:w keepttl\nREAD 1:k ttl\n", b"OK\nOK\nOK 1:w ttl=9000\n"),
    "nx xx": (
        b"WRITE 1:k 1:v xx\nWRITE 1:k 1:v nx\nWRITE 1:k 1:w nx\nWRITE 1:k 1:x xx\n",
        b"CONFLICT\nOK\nCONFLICT\nOK\n",
    ),
    "ping": (b'PING\nPING 2:hi\nping "hi"\n', b"OK\nOK 2:hi\nOK 2:hi\n"),
    "stats": (b"STATS\n", b'OK 19:{"version": "test"}\n'),
    "many": (b"WRITE 1:k 1:v\n" * 100 + b"READ 1:k\n" * 100, b"OK\n" * 100 + b"OK 1:v\n" * 100),
}
BAD: dict[str, tuple[bytes, bytes, str]] = {
    # Verbs.
    "unknown verb": (b"FROB 1:k\n", VERB, LIVES),
    "unknown verb with a frame in its argument": (b"FROB 10:\nREAD 1:k\n options are=skipped\n", VERB, LIVES),
    "verb of a later version": (b"INCR 1:k\n", VERB, LIVES),
    "verb too long": (b"READREADREADREADR 1:k\n", PROTO, CLOSES),
    "verb with a digit": (b"R3AD 1:k\n", PROTO, CLOSES),
    "verb missing": (b"1:k\n", PROTO, CLOSES),
    "tag without a verb": (b"#tag\n", b"#tag ERR PROTO :", CLOSES),
    "two tags": (b"#a #b READ 1:k\n", b"#a ERR PROTO :", CLOSES),
    "empty tag": (b"# READ 1:k\n", PROTO, CLOSES),
    "tag too long": (b"#0123456789abcdefg READ 1:k\n", PROTO, CLOSES),
    "tag with a bad character": (b"#a.b READ 1:k\n", PROTO, CLOSES),
    # Number of arguments.
    "no argument": (b"READ\n", ARG, LIVES),
    "one argument too few": (b"WRITE 1:k\n", ARG, LIVES),
    "one argument too many": (b"READ 1:k 1:v\n", ARG, LIVES),
    "argument for STATS": (b"STATS 1:k\n", ARG, LIVES),
    # Keys and values.
    "empty key": (b"READ 0:\n", ARG, LIVES),
    "empty quoted key": (b'READ ""\n', ARG, LIVES),
    "key one byte too long": (b"READ 1025:%bk\n" % KEY, ARG, LIVES),
    "key one byte too long, in a WRITE": (b"WRITE 1025:%bk 3:a\nb\n" % KEY, ARG, LIVES),
    "value one byte too long": (b"WRITE 1:k 1001:%b\n" % (b"\n" * 1001), TOOBIG, LIVES),
    "value as long as is skipped": (b"WRITE 1:k 64000:%b\n" % (b"\n" * 64000), TOOBIG, LIVES),
    "value longer than is skipped": (b"WRITE 1:k 64001:", PROTO, CLOSES),
    "quoted value too long": (b'WRITE 1:k "%b"\n' % (b"v" * 1001), TOOBIG, LIVES),
    # Lengths.
    "length -1": (b"READ -1:k\n", PROTO, CLOSES),
    "length -0": (b"READ -0:\n", PROTO, CLOSES),
    "length +5": (b"READ +5:abcde\n", PROTO, CLOSES),
    "length 05": (b"READ 05:abcde\n", PROTO, CLOSES),
    "length 00": (b"READ 00:\n", PROTO, CLOSES),
    "length 1_0": (b"READ 1_0:aaaaaaaaaa\n", PROTO, CLOSES),
    "length 1e3": (b"READ 1e3:a\n", PROTO, CLOSES),
    "length 0x5": (b"READ 0x5:abcde\n", PROTO, CLOSES),
    "length 5.0": (b"READ 5.0:abcde\n", PROTO, CLOSES),
    "length in Unicode digits": ("READ ٣:abc\n".encode(), PROTO, CLOSES),
    "length 2^31": (b"WRITE 1:k %d:" % 2**31, PROTO, CLOSES),
    "length 2^32": (b"WRITE 1:k %d:" % 2**32, PROTO, CLOSES),
    "length 2^63": (b"WRITE 1:k %d:" % 2**63, PROTO, CLOSES),
    "length 10^5000": (b"WRITE 1:k 1" + b"0" * 5000 + b":", PROTO, CLOSES),
    "length 999999999": (b"WRITE 1:k 999999999:", PROTO, CLOSES),
    "no length": (b"READ :k\n", PROTO, CLOSES),
    "no colon": (b"READ 1\n", PROTO, CLOSES),
    "length and space": (b"READ 1 :k\n", PROTO, CLOSES),
    "body longer than its length": (b"READ 1:kk\n", PROTO, CLOSES),
    "value longer than its length": (b"WRITE 1:k 1:vv\n", PROTO, CLOSES),
    "skipped argument longer than its length": (b"FROB 1:kk\n", PROTO, CLOSES),
    # Quotes.
    "quote not closed": (b'READ "abc\n', ARG, LIVES),
    "quote not closed, CRLF": (b'READ "abc\r\n', ARG, LIVES),
    "lone quote": (b'READ "\n', ARG, LIVES),
    "quote ended by an escape": (b'READ "abc\\"\n', ARG, LIVES),
    "bad escape": (b'READ "a\\qb"\n', ARG, LIVES),
    "half a hex escape": (b'READ "a\\x1"\n', ARG, LIVES),
    "hex escape without hex": (b'READ "\\xzz"\n', ARG, LIVES),
    "text behind a quote": (b'READ "abc"d\n', PROTO, CLOSES),
    "quote without an end": (b'READ "' + b"a" * 10_000, PROTO, CLOSES),
    # Options.
    "unknown option": (b"READ 1:k frob\n", ARG, LIVES),
    "option of a later version": (b"READ 1:k lease=100\n", ARG, LIVES),
    "option of another verb": (b"READ 1:k nx\n", ARG, LIVES),
    "option twice": (b"WRITE 1:k 1:v nx nx\n", ARG, LIVES),
    "option without its value": (b"WRITE 1:k 1:v ex\n", ARG, LIVES),
    "option with an empty value": (b"WRITE 1:k 1:v ex=\n", ARG, LIVES),
    "option with a value it does not take": (b"WRITE 1:k 1:v nx=1\n", ARG, LIVES),
    "option in upper case": (b"WRITE 1:k 1:v NX\n", ARG, LIVES),
    "option with a bad character": (b"WRITE 1:k 1:v ex=1;2\n", ARG, LIVES),
    "option before the argument": (b"READ ttl 1:k\n", ARG, LIVES),
    "option between arguments": (b"WRITE 1:k nx 1:v\n", ARG, LIVES),
    "nx xx": (b"WRITE 1:k 1:v nx xx\n", ARG, LIVES),
    "ex px": (b"WRITE 1:k 1:v ex=1 px=1\n", ARG, LIVES),
    "ex keepttl": (b"WRITE 1:k 1:v ex=1 keepttl\n", ARG, LIVES),
    "ex of 0": (b"WRITE 1:k 1:v ex=0\n", ARG, LIVES),
    "ex negative": (b"WRITE 1:k 1:v ex=-1\n", ARG, LIVES),
    "ex with a sign": (b"WRITE 1:k 1:v ex=+1\n", ARG, LIVES),
    "ex beyond 2^63": (b"WRITE 1:k 1:v ex=%d\n" % 2**64, ARG, LIVES),
    "ex of many digits": (b"WRITE 1:k 1:v ex=" + b"9" * 400 + b"\n", ARG, LIVES),
    "ex beyond 317 years": (b"WRITE 1:k 1:v ex=10000000001\n", ARG, LIVES),
    "ex a fraction": (b"WRITE 1:k 1:v ex=1.5\n", ARG, LIVES),
    "deadline of 0": (b"READ 1:k deadline=0\n", ARG, LIVES),
    "touch without a time": (b"TOUCH 1:k\n", ARG, LIVES),
    # Bytes that are no frame.
    "endless line": (b"A" * 600, PROTO, CLOSES),
    "endless options": (b"READ 1:k" + b" a" * 600, PROTO, CLOSES),
    "endless spaces": (b"READ" + b" " * 600, PROTO, CLOSES),
    "endless tag": (b"#" + b"a" * 600, PROTO, CLOSES),
    "a hundred thousand arguments": (b"READ" + b" 1:k" * 100_000 + b"\n", PROTO, CLOSES),
    "tab": (b"READ\t1:k\n", PROTO, CLOSES),
    "NUL": (b"\0\n", PROTO, CLOSES),
    "NUL in a verb": (b"RE\0AD 1:k\n", PROTO, CLOSES),
    "control byte between words": (b"READ \x01 1:k\n", PROTO, CLOSES),
    "no UTF-8": (b"\xff\xfe\n", PROTO, CLOSES),
    "CR alone": (b"READ 1:k\rREAD 1:k\n", PROTO, CLOSES),
    "CR CR LF": (b"READ 1:k\r\r\n", PROTO, CLOSES),
    # Other protocols.
    "HTTP": (b"GET / HTTP/1.1\r\nHost: cache\r\n\r\n", PROTO, CLOSES),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", PROTO, CLOSES),
    "RESP": (b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", PROTO, CLOSES),
    "memcached": (b"gets key\r\n", VERB, LIVES),
    "memcached set": (b"set key 0 0 5\r\nvalue\r\n", PROTO, CLOSES),
    "memcached binary": (b"\x80\x00\x00\x03\x00\x00\x00\x00\n", PROTO, CLOSES),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", PROTO, CLOSES),
    "PROXY protocol": (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", PROTO, CLOSES),
    "TLS on the plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\n", PROTO, CLOSES),
}


def conversation() -> Conversation:
    return Conversation(limits=SMALL)


def cuts(data: bytes) -> dict[str, list[bytes]]:
    """The same bytes, whole, in halves and (unless there are very many) one by one."""
    ways = {"whole": [data], "halves": [data[: len(data) // 2], data[len(data) // 2 :]]}
    size = 1 if len(data) < 3000 else 701
    ways["pieces"] = [data[start : start + size] for start in range(0, len(data), size)]
    return ways


@pytest.mark.parametrize("name", GOOD)
def test_good_frames(name: str) -> None:
    data, expected = GOOD[name]
    for way, chunks in cuts(data).items():
        heard = conversation().say(*chunks)
        if name.startswith("tagged"):
            assert sorted(heard.splitlines()) == sorted(expected.splitlines()), way
        else:
            assert heard == expected, way
    assert conversation().say(data + b"PING 4:tail\n").endswith(b"OK 4:tail\n")


@pytest.mark.parametrize("name", BAD)
def test_bad_frames(name: str) -> None:
    data, expected, fate = BAD[name]
    replies = set()
    for way, chunks in cuts(data).items():
        talk = conversation()
        heard = talk.say(*chunks)
        assert heard.startswith(expected), (way, heard)
        assert heard.count(b"\n") == 1, (way, heard)
        assert talk.is_closed == (fate == CLOSES), way
        assert not any(node.values for node in talk.nodes), way
        assert not talk.world.bugs
        replies.add(heard)
    assert len(replies) == 1, "the same bytes, cut differently, are answered alike"
    talk = conversation()
    tail = talk.say(data + b"PING 4:tail\n")
    assert tail.endswith(b"OK 4:tail\n") == (fate == LIVES)


def test_a_refusal_keeps_its_place() -> None:
    talk = conversation()
    assert talk.say(b"WRITE 1:a 1:1\nFROB\nREAD 1:a\nREAD 0:\nPING\nREAD 1:a\n") == (
        b"OK\nERR VERB :no such verb; HELP lists them\nOK 1:1\nERR ARG :the key is empty\nOK\nOK 1:1\n"
    )


def test_what_precedes_a_broken_stream_is_answered_first() -> None:
    talk = conversation()
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
    assert [command[0] for command in talk.nodes[2].commands] == [b"SET", b"SET", b"GET", b"UNLINK"]
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


def test_a_frame_before_auth_is_held_to_its_limit() -> None:
    talk = Conversation(log_in=False)
    assert talk.say(b"WRITE 1:k 9000:").startswith(PROTO)
    talk = Conversation(log_in=False)
    assert talk.say(b"FROB" + b" 500:%b" % (b"a" * 500) * 17).startswith(PROTO)
    talk = Conversation(log_in=False)
    assert talk.say(b"AUTH 4097:%b\n" % (b"a" * 4097)).startswith(ARG)


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
        talk.session.resume(0.0)
    assert windows[0] == 2
    assert max(windows) == 4096
    assert sum(windows) == 60_000


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
    heard = talk.session.data_to_send()
    assert heard.count(b"OK 600:") == 6, "what is kept: four times the limit"
    assert heard.count(b"ERR BUSY retry=50 :") == 7
    assert heard.splitlines()[12] == b"OK", "a WRITE has taken effect and is told so"
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
