"""The plain model by itself: conversations as the page wants them, and conversations that are wrong at one place.

A line of a conversation is the second, a request and its reply; a value is a word. Where an answer would be wrong, it
stands behind `!`: the model refuses that one, and accepts the one before.
"""

from __future__ import annotations

import pytest

from tests.live.cache_model import CacheModel, DisagreementError
from tests.live.model_requests import request_of
from wireproto.core.reply_wire import Reply, ReplyParser

CONVERSATIONS = {
    "reads and writes": """
        0 READ k -> MISS ! OK 1:v
        0 WRITE k v -> OK ! CONFLICT ! OK ver=a ! MISS
        0 READ k -> OK 1:v ! OK 1:w ! MISS ! OK 1:v ttl=5 ! OK 1:v stale
        0 READ k ttl -> OK 1:v ! OK 1:v ttl=5
        0 READ other -> MISS
        0 DELETE k -> OK ! MISS ! CONFLICT
        0 DELETE k -> MISS ! OK
        0 READ k -> MISS
    """,
    "conditions": """
        0 WRITE k v xx -> CONFLICT ! OK ! MISS
        0 READ k -> MISS
        0 WRITE k v nx -> OK ! CONFLICT
        0 WRITE k w nx -> CONFLICT ! OK
        0 READ k -> OK 1:v
        0 WRITE k w xx -> OK ! CONFLICT
        0 READ k -> OK 1:w
    """,
    "times to live": """
        0 WRITE k v px=1000 -> OK
        0.5 READ k ttl -> OK 1:v ttl=500 ! OK 1:v ttl=510 ! OK 1:v ttl=490 ! OK 1:v ! MISS
        0.9 WRITE k w keepttl -> OK
        0.99 READ k -> OK 1:w ! MISS
        1.01 READ k -> MISS ! OK 1:w
        1.01 WRITE k x keepttl -> OK
        99 READ k ttl -> OK 1:x
        99 TOUCH k ex=2 -> OK ! MISS
        100 READ k ttl -> OK 1:x ttl=1000
        100 WRITE k y -> OK
        105 READ k -> OK 1:y
        105 TOUCH j ex=2 -> MISS ! OK
    """,
    "counters": """
        0 INCR k -> OK 1:1 ! OK 1:0 ! OK ! MISS
        0 INCR k by=41 -> OK 2:42
        0 INCR k by=-43 -> OK 2:-1
        0 READ k -> OK 2:-1
        0 WRITE k 9223372036854775806 -> OK
        0 INCR k -> OK 19:9223372036854775807
        0 INCR k -> ERR TYPE :no ! OK 19:9223372036854775808 ! OK 20:-9223372036854775808
        0 READ k -> OK 19:9223372036854775807
        0 WRITE k -9223372036854775808 -> OK
        0 INCR k by=-1 -> ERR TYPE :no
        0 WRITE k 05 -> OK
        0 INCR k -> ERR TYPE :no ! OK 1:6
        0 WRITE k -0 -> OK
        0 INCR k -> ERR TYPE :no
        0 WRITE k 9223372036854775808 -> OK
        0 INCR k by=-1 -> ERR TYPE :no
        0 READ k -> OK 19:9223372036854775808
    """,
    "a counter's time is set when it begins": """
        0 INCR k px=1000 -> OK 1:1
        0.5 INCR k px=1000 -> OK 1:2
        0.9 READ k ttl -> OK 1:2 ttl=100 ! OK 1:2 ttl=600
        1.1 INCR k ex=5 -> OK 1:1 ! OK 1:3
        1.1 READ k ttl -> OK 1:1 ttl=5000
    """,
    "versions": """
        0 WRITE k v -> OK
        0 READ k ver -> OK 1:v ver=a ! OK 1:v ! MISS
        0 READ k ver -> OK 1:v ver=a ! OK 1:v ver=b
        0 TOUCH k ex=9 -> OK
        0 READ k ver ttl -> OK 1:v ver=a ttl=9000 ! OK 1:v ver=b ttl=9000
        0 WRITE k w ver=a -> OK ver=b ! OK ! CONFLICT ! OK ver=a
        0 WRITE k x ver=a -> CONFLICT ! OK ver=c
        0 READ k ver -> OK 1:w ver=b ! OK 1:x ver=b ! OK 1:w ver=c
        0 WRITE k w -> OK
        0 READ k ver -> OK 1:w ver=c ! OK 1:w ver=b
        0 DELETE k ver=b -> CONFLICT ! OK ! MISS
        0 DELETE k ver=c -> OK ! CONFLICT
        0 DELETE k ver=c -> MISS ! CONFLICT ! OK
        0 WRITE k v ver=c -> CONFLICT ! OK ver=d
        0 INCR k -> OK 1:1
        0 READ k ver -> OK 1:1 ver=d
        0 INCR k by=0 -> OK 1:1
        0 READ k ver -> OK 1:1 ver=e ! OK 1:1 ver=d
        0 WRITE j v -> OK
        0 READ j ver -> OK 1:v ver=f ! OK 1:v ver=e ! OK 1:v ver=a
        0 WRITE j v ver=e -> CONFLICT
        0 WRITE j v ver=nonsense -> CONFLICT
    """,
    "a lease": """
        0 READ k lease=1000 -> MISS lease=a ! MISS ! MISS held=1000
        0.5 READ k lease=9000 -> MISS held=500 ! MISS lease=b ! MISS held=9000 ! MISS
        0.5 READ k ttl ver -> MISS ! OK 0:
        0.5 TOUCH k ex=1 -> MISS ! OK
        0.5 WRITE k v xx -> CONFLICT ! OK
        0.5 WRITE k v lease=b -> CONFLICT ! OK
        0.5 WRITE k v lease=a ex=1 -> OK ! CONFLICT ! OK ver=b
        0.5 WRITE k w lease=a -> CONFLICT ! OK
        0.5 READ k lease=1000 ttl -> OK 1:v ttl=1000 ! OK 1:v ttl=1000 lease=b ! MISS held=500
        2 READ k lease=1000 -> MISS lease=b ! MISS lease=a ! OK 1:v stale lease=b
    """,
    "a lease ends": """
        0 READ k lease=1000 -> MISS lease=a
        1.01 WRITE k v lease=a -> CONFLICT ! OK
        1.01 READ k lease=1000 -> MISS lease=b ! MISS held=1
        1.01 DELETE k lease=a -> CONFLICT ! OK ! MISS
        1.01 DELETE k lease=b -> OK ! CONFLICT ! MISS
        1.01 DELETE k lease=b -> CONFLICT ! OK
        1.01 READ k lease=1000 -> MISS lease=c ! MISS held=1000
        1.01 DELETE k -> OK
        1.01 DELETE k -> MISS ! OK
        1.01 WRITE k v lease=c -> CONFLICT ! OK
        1.01 READ k lease=1000 -> MISS lease=d
        1.01 DELETE k -> MISS
        1.01 WRITE k v lease=d -> CONFLICT
        1.01 READ k lease=1000 -> MISS lease=e
        1.01 INCR k -> OK 1:1
        1.01 WRITE k v lease=e -> CONFLICT
        1.01 DELETE k -> OK
        1.01 READ k lease=1000 -> MISS lease=f
        1.01 WRITE k v nx -> OK ! CONFLICT
        1.01 WRITE k v lease=f -> CONFLICT
        1.01 DELETE k lease=f -> CONFLICT
        1.01 READ k -> OK 1:v
    """,
    "a value that may be stale": """
        0 WRITE k v px=1000 stale=10 -> OK
        0.9 READ k lease=1000 ttl ver -> OK 1:v ttl=100 ver=a ! OK 1:v stale lease=b ! OK 1:v ttl=10100 ver=a
        1.1 READ k ttl ver -> MISS ! OK 1:v
        1.1 READ k lease=1000 ttl ver -> OK 1:v stale lease=b ! MISS lease=b ! OK 1:v stale lease=b ver=a ! OK 1:v
        1.1 READ k lease=1000 -> OK 1:v stale held=1000 ! OK 1:v stale lease=c ! MISS held=1000
        1.1 TOUCH k ex=5 -> MISS ! OK
        1.1 WRITE k w xx -> CONFLICT ! OK
        1.1 WRITE k w ver=a -> CONFLICT
        1.1 DELETE k ver=a -> MISS
        1.1 DELETE k lease=b -> OK
        1.2 READ k lease=1000 -> OK 1:v stale lease=c
        1.2 WRITE k w lease=c px=1000 stale=10 -> OK
        2.1 TOUCH k px=1000 -> OK
        3.2 READ k lease=1000 -> OK 1:w stale lease=d ! MISS lease=d
        12.9 READ k lease=1000 -> OK 1:w stale lease=e
        13.2 READ k lease=1000 -> MISS held=700 ! OK 1:w stale held=700 ! MISS lease=f
        14 READ k lease=1000 -> MISS lease=f ! OK 1:w stale lease=f
    """,
    "what becomes of a stale value": """
        0 WRITE k v px=1000 stale=10 -> OK
        2 DELETE k -> MISS
        2 READ k lease=1000 -> MISS lease=a ! OK 1:v stale lease=a
        2 WRITE k v px=1000 stale=10 -> OK
        4 DELETE k -> OK
        4 DELETE k -> MISS ! OK
        4 WRITE k v px=1000 stale=10 -> OK
        6 WRITE k w nx -> OK ! CONFLICT
        6 WRITE k w px=1000 stale=10 -> OK
        8 WRITE k x keepttl -> OK
        99 READ k ttl -> OK 1:x ! MISS
        99 WRITE k w px=1000 stale=10 -> OK
        99.5 WRITE k x keepttl -> OK
        101 READ k -> MISS ! OK 1:x
        101 READ k lease=9 -> OK 1:x stale lease=b ! MISS lease=b
        101 WRITE k 5 px=1000 stale=10 -> OK
        101 INCR k -> OK 1:6
        103 READ k lease=9 -> MISS lease=c ! OK 1:6 stale lease=c
        103 WRITE k 5 px=1000 stale=10 -> OK
        105 INCR k -> OK 1:1 ! OK 1:6
        105 READ k ttl -> OK 1:1
    """,
    "early": """
        0 WRITE k v px=10000 -> OK
        5 READ k lease=1000 early=4000 -> OK 1:v ! OK 1:v lease=a ! MISS lease=a
        7 READ k lease=1000 early=4000 ttl ver -> OK 1:v ttl=3000 ver=a lease=b ! OK 1:v ttl=3000 ver=a
        7 READ k lease=1000 early=4000 -> OK 1:v ! OK 1:v held=1000 ! OK 1:v lease=c
        7 READ k lease=1000 -> OK 1:v
        7 TOUCH k px=9000 -> OK
        7 READ k ver -> OK 1:v ver=a
        7.5 WRITE k w lease=b -> OK ! CONFLICT
        7.5 READ k lease=1000 early=4000 -> OK 1:w ! OK 1:w lease=c
        7.5 TOUCH k px=1000 -> OK
        7.5 READ k lease=5000 early=4000 -> OK 1:w lease=c
        9 READ k lease=5000 -> MISS held=3500 ! MISS lease=d
        9 WRITE k x lease=c -> OK ! CONFLICT
        9 TOUCH k px=1000 -> OK
        9 READ k lease=5000 early=4000 -> OK 1:x lease=d
        9 WRITE k y ver=nonsense -> CONFLICT
        9 WRITE k y xx -> OK
        9 WRITE k z lease=d -> CONFLICT ! OK
    """,
    "the path of a request": """
        0 WRITE k v trace -> OK node=s role=master queue_us=1 node_us=2 ! OK
        0 READ k trace ver -> OK 1:v node=s role=master queue_us=1 node_us=2 ver=a ! OK 1:v ver=a ! OK 1:v node=s ver=a
        0 WRITE k v deadline=5 -> OK ! OK node=s role=master queue_us=1 node_us=2
    """,
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversations(name: str) -> None:
    model = CacheModel()
    for line in CONVERSATIONS[name].strip().splitlines():
        second, text = line.strip().split(" ", 1)
        asked, answers = text.split(" -> ")
        right, *wrong = answers.split(" ! ")
        for answer in wrong:
            assert not takes(model, float(second), asked, answer), f"{line}: {answer}"
        assert takes(model, float(second), asked, right), line


def takes(model: CacheModel, second: float, asked: str, answer: str) -> bool:
    try:
        model.take(request_of(asked), reply_of(answer), second, second)
    except DisagreementError:
        return False
    return True


def reply_of(text: str) -> Reply:
    parser = ReplyParser()
    parser.feed(text.encode() + b"\n")
    reply = parser.next()
    assert reply is not None
    return reply


def test_requests_as_they_are_sent() -> None:
    assert request_of("WRITE k v px=5 stale=9 ver=a").encoded() == b"WRITE 1:k 1:v px=5 stale=9 ver=a\n"
    assert request_of("READ k ttl lease=5").encoded("t") == b"#t READ 1:k ttl lease=5\n"


def test_a_counter_is_no_value_that_was_encrypted() -> None:
    model = CacheModel(encrypted=True)
    assert takes(model, 0, "WRITE k 5", "OK")
    assert not takes(model, 0, "INCR k", "OK 1:6")
    assert takes(model, 0, "INCR k", "ERR TYPE :no")
    assert takes(model, 0, "DELETE k", "OK")
    assert takes(model, 0, "INCR k", "OK 1:1")
    assert takes(model, 0, "INCR k", "OK 1:2")
    assert takes(model, 0, "READ k", "OK 1:2")


def test_namespaces_share_no_token() -> None:
    tokens: set[str] = set()
    one, other = CacheModel(tokens=tokens), CacheModel(tokens=tokens)
    assert takes(one, 0, "READ k lease=5", "MISS lease=a")
    assert not takes(other, 0, "READ k lease=5", "MISS lease=a")
    assert takes(other, 0, "READ k lease=5", "MISS lease=b")


def test_what_is_not_known_to_the_instant_is_left_open_until_an_answer_tells() -> None:
    model = CacheModel(slack=0.1)
    for _ in range(2):
        model.take(request_of("WRITE k v px=1000"), reply_of("OK"), 0.0, 0.2)
        assert not takes(model, 0.75, "READ k", "MISS")
        assert not takes(model, 1.5, "READ k", "OK 1:v")
    assert takes(model, 1.05, "WRITE k w nx", "OK")
    assert not takes(model, 1.05, "READ k", "OK 1:v")
    model.take(request_of("WRITE k v px=1000"), reply_of("OK"), 0.0, 0.2)
    assert takes(model, 1.05, "WRITE k w nx", "CONFLICT")
    assert takes(model, 1.05, "READ k", "OK 1:v")
    assert takes(model, 1.25, "READ k", "OK 1:v")
    assert takes(model, 1.25, "READ k", "MISS")
    assert not takes(model, 1.45, "READ k", "OK 1:v"), "what is gone does not come again"


def test_what_is_over_for_one_request_is_not_yet_for_another_in_flight() -> None:
    model = CacheModel()
    for asked, answer, sent, heard in (
        ("WRITE k v px=1000 stale=1", "OK", 0.0, 0.0),
        ("READ k", "MISS", 0.9, 1.1),
        ("READ k ttl ver", "OK 1:v ttl=1 ver=a", 0.9, 1.1),
        ("READ k lease=1000", "OK 1:v stale lease=b", 0.9, 1.1),
    ):
        model.take(request_of(asked), reply_of(answer), sent, heard)
    assert not takes(model, 1.11, "READ k", "OK 1:v")
    fill = request_of("WRITE k w lease=b")
    model.take(request_of("READ k lease=1000"), reply_of("OK 1:v stale lease=c"), 1.8, 1.95, [fill])
    model.take(fill, reply_of("OK"), 1.8, 1.95)


def test_an_error_fits_nothing_but_an_overflow() -> None:
    model = CacheModel()
    for asked in ("READ k", "READ k lease=5", "WRITE k v", "DELETE k", "TOUCH k ex=5", "INCR k"):
        for answer in ("ERR INTERNAL :no", "ERR TYPE :no", "ERR CORRUPT :no", "ERR TIMEOUT :no"):
            assert not takes(model, 0, asked, answer)


def test_requests_in_flight_behind_a_read_may_have_its_lease_or_end_it() -> None:
    other = request_of("READ k lease=50")
    for behind, answer in (
        ([], "MISS lease=a"),
        ([other], "MISS lease=b"),
        ([other], "MISS held=50"),
        ([request_of("DELETE k ver=x")], "MISS lease=c"),
    ):
        model = CacheModel()
        model.take(request_of("READ k lease=90"), reply_of(answer), 0, 0, behind)
        is_held = takes(model, 0, "READ k lease=90", "MISS held=90")
        assert is_held == ("lease" in answer)
    assert takes(model, 0, "WRITE k v lease=c", "OK")
    for behind, answer in (([], "MISS held=50"), ([other], "MISS held=60"), ([other], "MISS")):
        with pytest.raises(DisagreementError):
            CacheModel().take(request_of("READ k lease=90"), reply_of(answer), 0, 0, behind)
    model = CacheModel()
    model.take(request_of("READ k lease=90"), reply_of("MISS lease=d"), 0, 0, [request_of("DELETE k ver=x")])
    assert takes(model, 0, "WRITE k v lease=d", "CONFLICT")
