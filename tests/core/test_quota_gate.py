"""A conversation whose client has a quota: what passes, what is refused where, and what is charged for it."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.core.conversation import API_KEY, OTHER_KEY, SIGNING_KEYS, Conversation, key_of
from tests.core.test_bad_frames import CASES, SMALL
from wireproto.core.access import Quota
from wireproto.core.api_keys import ApiKeyRecord, hash_api_key
from wireproto.core.quota_gate import CONNECTION_RETRY_MS
from wireproto.core.quota_table import PlacedQuota, QuotaTable, table_size
from wireproto.core.quotas import Quotas

LIMIT = b"ERR LIMIT retry="
UNCOUNTED = ("PING", "HELP", "AUTH", "QUIT")
LOGIN = b"AUTH %d:%b\n" % (len(API_KEY), API_KEY)


class Metered:
    """A client with a quota, and as many conversations of it as are wanted."""

    def __init__(self, **quota: int) -> None:
        self.table = QuotaTable(memoryview(bytearray(table_size(1, 3))), 1, 3)
        self.quotas = Quotas(self.table)
        self.limit(**quota)

    def limit(self, **quota: int) -> None:
        self.quotas.update({"client": PlacedQuota(0, Quota(**quota))})

    def talk(self, *, log_in: bool = True) -> Conversation:
        return Conversation(quotas=self.quotas, log_in=log_in)

    def level(self, kind: str, now: float) -> float:
        meter = self.quotas.meter_of("client")
        assert meter is not None
        bucket = meter.bytes if kind == "bytes" else meter.requests
        assert bucket is not None
        return bucket.level(now)

    @property
    def connections(self) -> int:
        meter = self.quotas.meter_of("client")
        assert meter is not None
        return meter.connections


def outcomes(answers: bytes) -> list[str]:
    """The first word of each line, with the code of errors."""
    return [" ".join(line.decode().split()[: 2 if line.startswith(b"ERR") else 1]) for line in answers.splitlines()]


# -- requests


@pytest.mark.parametrize("request_", [b"READ 1:n\n", b'read "n"\n', b"READ 1:n ttl\n", b"TOUCH 1:n ex=5\n"])
def test_what_is_beyond_the_quota_is_refused_in_its_place(request_: bytes) -> None:
    talk = Metered(requests=5).talk()
    answers = talk.say(request_ * 7 + b"PING 1:p\n" + request_)
    assert outcomes(answers) == ["MISS"] * 5 + ["ERR LIMIT"] * 2 + ["OK", "ERR LIMIT"]
    assert talk.metrics.limited == {"requests": 3}
    assert sum(count for (_, outcome), count in talk.metrics.outcomes.items() if outcome == "LIMIT") == 3
    talk.now += 0.4
    assert outcomes(talk.say(request_ * 3)) == ["MISS"] * 2 + ["ERR LIMIT"]
    talk.now += 10
    assert outcomes(talk.say(request_ * 9)) == ["MISS"] * 5 + ["ERR LIMIT"] * 4


def test_a_refused_write_is_not_done() -> None:
    talk = Metered(requests=1).talk()
    answers = talk.say(b"WRITE 1:k 1:a\nWRITE 1:k 1:b\n", b"#t WRITE 1:k 1:c\n")
    assert outcomes(answers.replace(b"#t ", b"")) == ["OK", "ERR LIMIT", "ERR LIMIT"]
    assert answers.splitlines()[2].startswith(b"#t ERR LIMIT retry=")
    assert [node.values for node in talk.nodes if node.values] == [{b"ns:k": b"a"}]


def test_a_refused_answer_waits_for_those_before_it() -> None:
    talk = Metered(requests=2).talk()
    talk.nodes_answer = False
    one, other = key_of(talk, 0), key_of(talk, 1)
    assert talk.say(b"READ %d:%b\nREAD %d:%b\nREAD 1:x\n" % (len(one), one, len(other), other)) == b""
    talk.exchange_with(1)
    assert talk.session.data_to_send() == b""
    talk.exchange_with(0)
    assert outcomes(talk.settle()) == ["MISS", "MISS", "ERR LIMIT"]


def test_what_may_be_said_before_auth_and_what_is_no_request_is_not_counted() -> None:
    metered = Metered(requests=2)
    talk = metered.talk()
    assert outcomes(talk.say(b"PING\n" * 5 + b"FROB\nREAD\n" + LOGIN)) == ["OK"] * 5 + ["ERR VERB", "ERR ARG", "OK"]
    assert metered.level("requests", talk.now) == 2
    assert outcomes(talk.say(b"WHERE 1:k\nSTATS\nWHERE 1:k\n")) == ["OK", "OK", "ERR LIMIT"]


def test_a_quota_holds_for_requests_behind_auth_in_the_same_read() -> None:
    talk = Metered(requests=3).talk(log_in=False)
    assert outcomes(talk.say(LOGIN + b"READ 1:k\n" * 5)) == ["OK"] + ["MISS"] * 3 + ["ERR LIMIT"] * 2


def test_all_connections_of_a_client_share_its_quota_and_others_have_their_own() -> None:
    metered = Metered(requests=4)
    one, two = metered.talk(), metered.talk()
    other = metered.talk(log_in=False)
    assert other.say(b"AUTH %d:%b\n" % (len(OTHER_KEY), OTHER_KEY)).startswith(b"OK ")
    assert other.session.gate is None
    assert outcomes(one.say(b"READ 1:k\n" * 3)) == ["MISS"] * 3
    assert outcomes(two.say(b"READ 1:k\n" * 3)) == ["MISS"] + ["ERR LIMIT"] * 2
    assert outcomes(other.say(b"READ 1:k\n" * 9)) == ["MISS"] * 9


def test_who_comes_again_when_told_is_served() -> None:
    talk = Metered(requests=3).talk()
    answers = talk.say(b"READ 1:k\n" * 6)
    waits = [int(found) for found in re.findall(rb"retry=(\d+) ", answers)]
    assert len(waits) == 3
    began = talk.now
    for wait in waits:
        talk.now = began + wait / 1000
        assert talk.say(b"READ 1:k\n") == b"MISS\n"
    assert waits[0] <= 335
    assert waits == sorted(waits)


def test_any_cut_of_the_bytes_gives_the_same() -> None:
    stream = b'WRITE 1:k 5:value\nREAD 1:k\nread "k"\nREAD 1:k\nWRITE 1:k 3:new\nPING\nREAD 1:k\n'
    told = re.compile(rb"retry=\d+")
    whole = told.sub(b"", Metered(requests=3).talk().say(stream))
    assert outcomes(whole) == ["OK"] * 3 + ["ERR LIMIT"] * 2 + ["OK", "ERR LIMIT"]
    talk = Metered(requests=3).talk()
    for cut in range(1, len(stream)):
        assert told.sub(b"", talk.say(stream[:cut], stream[cut:])) == whole
        talk.now += 10
    assert told.sub(b"", talk.say(*(bytes([byte]) for byte in stream))) == whole


def counted(talk: Conversation) -> Counter[tuple[str, str]]:
    """The outcomes since the last look."""
    metrics = talk.metrics
    found = metrics.all_outcomes()
    metrics.outcomes.clear()
    metrics.hits = metrics.misses = metrics.stored = 0
    return found


def test_whatever_is_a_request_is_refused_and_whatever_is_none_is_told_what_is_wrong_with_it() -> None:
    """A quick look and the full parser share the work; they are held against a client without a quota."""
    free, bound = Conversation(limits=SMALL), Conversation(limits=SMALL, quotas=Metered(requests=1).quotas)
    assert bound.say(b"READ 1:k\n") == b"MISS\n"
    counted(bound)
    counted(free)
    limited = other = 0
    for name, case in CASES.items():
        if case.closes(case.replies):
            continue
        free.say(case.data)
        bound.say(case.data)
        expected, found = counted(free), counted(bound)
        for (verb, outcome), count in expected.items():
            if outcome in ("OK", "MISS", "CONFLICT", "TYPE") and verb not in UNCOUNTED:
                found[verb, "LIMIT"] -= count
                limited += count
            else:
                found[verb, outcome] -= count
                other += count
        assert not any(found.values()), name
    assert limited > 200
    assert other > 40
    assert bound.metrics.limited == {"requests": limited}


# -- bytes


def charged(metered: Metered, talk: Conversation, *chunks: bytes) -> float:
    """What an exchange costs of the quota of bytes. The shell charges answers as they leave."""
    before = metered.level("bytes", talk.now)
    heard = talk.say(*chunks)
    assert talk.session.gate is not None
    talk.session.gate.sent(len(heard), talk.now)
    return before - metered.level("bytes", talk.now)


def test_frames_and_answers_are_charged_byte_by_byte() -> None:
    metered = Metered(bytes=10_000)
    talk = metered.talk()
    for stream, answer in (
        (b"WRITE 1:k 500:%b\n" % bytes(500), b"OK\n"),
        (b"READ 1:k\nREAD 1:k\n", (b"OK 500:%b\n" % bytes(500)) * 2),
        (b'PING 3:abc\n\n\nread "n"\n', b"OK 3:abc\nMISS\n"),
        (b"FROB 1:k\n", b"ERR VERB :no such verb; HELP lists them\n"),
    ):
        assert charged(metered, talk, stream) == len(stream) + len(answer)
        assert charged(metered, talk, *(bytes([byte]) for byte in stream)) == len(stream) + len(answer)


def test_whoever_has_a_byte_left_may_send_a_whole_value_and_pays_it_back() -> None:
    metered = Metered(bytes=1000)
    talk = metered.talk()
    assert talk.say(b"WRITE 1:k 500000:%b\n" % bytes(500_000)) == b"OK\n"
    (answer,) = talk.say(b"READ 1:n\n").splitlines()
    assert answer.startswith(LIMIT)
    wait = int(answer.split(b"=")[1].split(b" ")[0]) / 1000
    assert 498 < wait < 500
    talk.now += wait - 0.1
    assert talk.say(b"READ 1:n\n").startswith(LIMIT)
    talk.now += 0.1
    assert talk.say(b"READ 1:n\n") == b"MISS\n"
    assert talk.metrics.limited == {"bytes": 2}


def test_a_refusal_is_free_or_else_who_asks_too_much_would_get_nothing() -> None:
    metered = Metered(requests=1, bytes=10_000)
    talk = metered.talk()
    assert charged(metered, talk, b"READ 1:k\n") == len(b"READ 1:k\nMISS\n")
    assert charged(metered, talk, (b"#tag WRITE 1:k 1000:%b\nREAD 1:k\n" % bytes(1000)) * 3) == 0
    assert charged(metered, talk, b"PING\n") == len(b"PING\nOK\n")


def test_what_is_free_stays_with_its_connection() -> None:
    """A client that never reads its refusals gains nothing by them."""
    metered = Metered(requests=1, bytes=10_000)
    greedy, other = metered.talk(), metered.talk()
    greedy.say(b"READ 1:k\n" * 50)
    greedy.session.abandon()
    assert charged(metered, other, b"PING 5:hello\n") == len(b"PING 5:hello\nOK 5:hello\n")


# -- connections


def test_connections_beyond_the_quota_are_refused_at_auth_and_live() -> None:
    metered = Metered(connections=2)
    one, two = metered.talk(), metered.talk()
    third = metered.talk(log_in=False)
    token, _ = third.authority.login(API_KEY, third.world.now, "t")
    for credential in (API_KEY, token.encode()):
        answer = third.say(b"AUTH %d:%b\nREAD 1:k\nPING\n" % (len(credential), credential))
        assert answer.startswith(b"ERR LIMIT retry=%d :" % CONNECTION_RETRY_MS)
        assert outcomes(answer) == ["ERR LIMIT", "ERR AUTH", "OK"]
    assert third.session.login.identity is None
    assert third.session.login.wrong_credentials == 0
    assert metered.connections == 2
    assert third.metrics.limited == {"connections": 2}
    two.session.abandon()
    two.session.abandon()
    assert metered.connections == 1
    assert third.say(LOGIN).startswith(b"OK ")
    assert one.say(LOGIN).startswith(b"OK "), "who renews has its place"
    assert metered.connections == 2


def test_a_refused_connection_was_never_counted() -> None:
    metered = Metered(connections=1)
    metered.talk()
    other = metered.talk(log_in=False)
    assert other.say(LOGIN).startswith(LIMIT)
    other.session.abandon()
    assert metered.connections == 1


def test_a_certificate_does_not_let_in_more_connections_and_says_why() -> None:
    metered = Metered(connections=1)
    first, second = metered.talk(log_in=False), metered.talk(log_in=False)
    for talk in (first, second):
        record = ApiKeyRecord("k1", hash_api_key(API_KEY), "client", "ns", 0, certificate="shop.example")
        talk.authority.update([record], SIGNING_KEYS)
        talk.session.log_in_by_certificate(["shop.example"], 2_000_000, talk.now)
    assert first.say(b"READ 1:k\n") == b"MISS\n"
    assert outcomes(second.say(b"READ 1:k\nPING\n#t STATS\n")) == ["#t", "ERR LIMIT", "OK"]
    first.session.abandon()
    assert second.say(LOGIN).startswith(b"OK ")
    assert second.say(b"READ 1:k\n") == b"MISS\n"
    assert metered.connections == 1


# -- changes while it serves


def test_an_open_connection_follows_its_clients_quota() -> None:
    metered = Metered(requests=2)
    talk = metered.talk()
    assert outcomes(talk.say(b"READ 1:k\n" * 3)) == ["MISS"] * 2 + ["ERR LIMIT"]
    metered.quotas.update({"client": PlacedQuota(1, Quota(requests=4, connections=1))})
    talk.session.follow_quota()
    assert outcomes(talk.say(b"READ 1:k\n" * 5)) == ["MISS"] * 4 + ["ERR LIMIT"]
    assert metered.connections == 1
    metered.quotas.update({})
    talk.session.follow_quota()
    assert talk.session.gate is None
    assert outcomes(talk.say(b"READ 1:k\n" * 9)) == ["MISS"] * 9
    metered.quotas.update({"client": PlacedQuota(2, Quota(requests=1, connections=1))})
    talk.session.follow_quota()
    assert metered.connections == 1
    assert outcomes(talk.say(b"READ 1:k\n" * 2)) == ["MISS", "ERR LIMIT"]
    assert metered.talk(log_in=False).say(LOGIN).startswith(LIMIT)
    talk.session.abandon()
    assert metered.connections == 0


def test_a_connection_that_is_not_logged_in_follows_nothing() -> None:
    talk = Metered(requests=2).talk(log_in=False)
    talk.session.follow_quota()
    assert talk.session.gate is None


# -- the log


def test_refusals_are_logged_once_a_second() -> None:
    talk = Metered(requests=1).talk()
    for _ in range(30):
        talk.say(b"READ 1:k\nREAD 1:k\n")
        talk.now += 0.1
    told = [details for event, details in talk.world.events if event == "limited"]
    assert len(told) == 3
    assert told[0] == {"client": "client", "kind": "requests"}


@pytest.mark.parametrize("request_line", [b"PING 1000:%b\n" % (b"p" * 1000), b"HELP\n"])
def test_what_is_always_allowed_does_not_put_a_client_in_debt_for_long(request_line: bytes) -> None:
    metered = Metered(bytes=1000)
    talk = Conversation(quotas=metered.quotas)
    refused = 0
    for _ in range(2000):
        heard = talk.say(request_line)
        talk.session.gate.sent(len(heard), talk.now)  # type: ignore[union-attr]
        refused += heard.startswith(b"ERR LIMIT retry=")
        talk.now += 0.001
    assert refused > 1900
    assert metered.level("bytes", talk.now) > -10_000
    assert talk.say(b"QUIT\n") == b"OK\n"
