"""What replies mean to the calls that they answer, and which of them mean that the stream is out of step."""

from __future__ import annotations

from typing import Any

import pytest

from wireproto.core.call_plan import Call
from wireproto.core.calls import Calls
from wireproto.core.client_session import ClientSession
from wireproto.core.codec import Codec
from wireproto.core.credentials import Credentials
from wireproto.core.locations import Location, NodeOfShard
from wireproto.core.reply_wire import ReplyParser
from wireproto.core.results import Leased, Value, Versioned
from wireproto.errors import (
    BusyError,
    CorruptError,
    Effect,
    ProtocolError,
    RequestError,
    ValueTypeError,
)

RAW: Calls[bytes] = Calls(None)


def outcome(call: Call[Any], line: bytes) -> Any:
    """What comes of a call, and is the same whichever parser has read the reply."""
    session: ClientSession[None] = ClientSession(Credentials(None))
    session.start(0.0)
    batch = session.submit([call.request], None, 0.0)
    session.receive(b"#1 " + line, 0.0)
    parser = ReplyParser()
    parser.feed(line)
    seen, general = call.kind.outcome(batch.answers[0]), call.kind.outcome(parser.next())
    assert seen == general or (type(seen) is type(general) and isinstance(seen, RequestError))
    return seen


def test_results() -> None:
    assert outcome(RAW.read("k"), b"OK 1:v\n") == b"v"
    assert outcome(RAW.read("k"), b"OK 0:\n") == b""
    assert outcome(RAW.read("k"), b"MISS\n") is None
    assert outcome(RAW.read_with_ttl("k"), b"OK 1:v ttl=1500\n") == Value(b"v", 1.5)
    assert outcome(RAW.read_with_ttl("k"), b"OK 1:v\n") == Value(b"v", None)
    assert outcome(RAW.read_with_ttl("k"), b"MISS\n") is None
    assert outcome(RAW.write("k", b"v"), b"OK\n") is True
    assert outcome(RAW.write("k", b"v"), b"CONFLICT\n") is False
    assert outcome(RAW.delete("k"), b"OK\n") is True
    assert outcome(RAW.delete("k"), b"MISS\n") is False
    assert outcome(RAW.touch("k", ex=1), b"MISS\n") is False
    assert outcome(RAW.ping(), b"OK\n") is None
    assert outcome(RAW.where("k"), b"OK 7:shard-2 role=master state=up\n") == Location(
        "shard-2", {"role": "master", "state": "up"}
    )
    assert outcome(RAW.stats(), b'OK 8:{"a": 1}\n') == {"a": 1}


def test_results_with_versions() -> None:
    assert outcome(RAW.read_with_version("k"), b"OK 1:v ver=a\n") == Versioned(b"v", None, "a")
    assert outcome(RAW.read_with_version("k"), b"OK 1:v ttl=5 ver=a\n") == Versioned(b"v", 0.005, "a")
    assert outcome(RAW.read_with_version("k"), b"MISS\n") is None
    assert outcome(RAW.write("k", b"v", version="a"), b"OK ver=b\n") is True
    assert outcome(RAW.write("k", b"v", version="a"), b"CONFLICT\n") is False
    assert outcome(RAW.compare_and_set("k", b"v", "a"), b"OK ver=b.2-_+\n") == "b.2-_+"
    assert outcome(RAW.compare_and_set("k", b"v", "a"), b"CONFLICT\n") is None
    assert outcome(RAW.delete("k", version="a"), b"OK\n") is True
    assert outcome(RAW.delete("k", version="a"), b"MISS\n") is False
    assert outcome(RAW.delete("k", version="a"), b"CONFLICT\n") is False


@pytest.mark.parametrize(
    ("line", "leased"),
    [
        (b"OK 1:v\n", Leased(b"v", True, False, None, None)),
        (b"OK 0:\n", Leased(b"", True, False, None, None)),
        (b"OK 1:v lease=a\n", Leased(b"v", True, False, "a", None)),
        (b"OK 1:v stale lease=a\n", Leased(b"v", True, True, "a", None)),
        (b"OK 1:v stale held=4998\n", Leased(b"v", True, True, None, 4.998)),
        (b"OK 1:v stale\n", Leased(b"v", True, True, None, None)),
        (b"MISS lease=q4hT0aYb00000021\n", Leased(None, False, False, "q4hT0aYb00000021", None)),
        (b"MISS held=1\n", Leased(None, False, False, None, 0.001)),
        (b"MISS\n", Leased(None, False, False, None, None)),
        (b"MISS lease=a node=s later=1\n", Leased(None, False, False, "a", None)),
    ],
)
def test_what_is_read_with_a_lease(line: bytes, leased: Leased[bytes]) -> None:
    assert outcome(RAW.read_or_lease("k", 5), line) == leased


def test_leases_that_are_given_back() -> None:
    assert outcome(RAW.give_back("k", "a"), b"OK\n") is True
    assert outcome(RAW.give_back("k", "a"), b"CONFLICT\n") is False
    assert outcome(RAW.give_back("k", "a"), b"MISS\n") is False


def test_counters() -> None:
    for number in (0, 1, -1, 42, 2**63 - 1, -(2**63)):
        text = b"%d" % number
        assert outcome(RAW.incr("k"), b"OK %d:%b\n" % (len(text), text)) == number
        assert outcome(RAW.incr("k"), b"OK %d:%b node=s\n" % (len(text), text)) == number
    error = outcome(RAW.incr("k"), b"ERR TYPE :the value is no counter\n")
    assert isinstance(error, ValueTypeError)
    assert error.took_effect is Effect.NO


def where(*nodes: str) -> bytes:
    """A reply to WHERE that tells these nodes."""
    arguments = [node.encode() for node in nodes]
    return b"OK 7:shard-2%b role=master\n" % b"".join(b" %d:%b" % (len(text), text) for text in arguments)


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("master up 127.0.0.1:7001", NodeOfShard("master", "up", None, "127.0.0.1:7001")),
        ("replica up lag_ms=3 127.0.0.1:7002", NodeOfShard("replica", "up", 0.003, "127.0.0.1:7002")),
        ("replica up lag_ms=0 [::1]:7002", NodeOfShard("replica", "up", 0.0, "[::1]:7002")),
        ("replica down h:1", NodeOfShard("replica", "down", None, "h:1")),
        ("replica up new lag_ms=12000 rack=b h:1", NodeOfShard("replica", "up", 12.0, "h:1")),
        ("master up lag_ms=1 /a b/ c.sock", NodeOfShard("master", "up", 0.001, "/a b/ c.sock")),
        ("witness new /s /t", NodeOfShard("witness", "new", None, "/s /t")),
    ],
)
def test_nodes_of_a_shard(text: str, node: NodeOfShard) -> None:
    assert outcome(RAW.where("k"), where(text)).nodes == (node,)


def test_where_with_nodes_and_without() -> None:
    first, second = outcome(RAW.where("k"), where("master up h:1", "replica up h:2")).nodes
    assert (first.role, second.role) == ("master", "replica")
    for line in (b"OK 7:shard-2\n", b"OK 7:shard-2 role=master\n"):
        assert outcome(RAW.where("k"), line).nodes == ()
    assert outcome(RAW.where("k"), where("master up h:1")).details == {"role": "master"}


def test_errors_are_outcomes() -> None:
    error = outcome(RAW.read("k"), b"ERR BUSY retry=50 :full\n")
    assert isinstance(error, BusyError)
    assert error.retry_after == 0.05


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (RAW.read("k"), b"OK\n"),
        (RAW.read("k"), b"OK 1:a 1:b\n"),
        (RAW.read("k"), b"CONFLICT\n"),
        (RAW.read("k"), b"MISS 1:a\n"),
        (RAW.read_with_ttl("k"), b"OK 1:v ttl=soon\n"),
        (RAW.read_with_ttl("k"), b"OK 1:v ttl=-5\n"),
        (RAW.read_with_version("k"), b"OK 1:v\n"),
        (RAW.read_with_version("k"), b"OK 1:v ver\n"),
        (RAW.read_with_version("k"), b"CONFLICT\n"),
        (RAW.read_or_lease("k", 5), b"OK\n"),
        (RAW.read_or_lease("k", 5), b"CONFLICT\n"),
        (RAW.read_or_lease("k", 5), b"MISS lease\n"),
        (RAW.read_or_lease("k", 5), b"MISS held\n"),
        (RAW.read_or_lease("k", 5), b"MISS held=soon\n"),
        (RAW.read_or_lease("k", 5), b"MISS 1:v\n"),
        (RAW.compare_and_set("k", b"v", "a"), b"OK\n"),
        (RAW.compare_and_set("k", b"v", "a"), b"OK ver\n"),
        (RAW.compare_and_set("k", b"v", "a"), b"OK 1:v\n"),
        (RAW.compare_and_set("k", b"v", "a"), b"MISS\n"),
        (RAW.delete("k", version="a"), b"OK 1:v\n"),
        (RAW.delete("k", version="a"), b"CONFLICT 1:v\n"),
        (RAW.give_back("k", "a"), b"OK 1:v\n"),
        (RAW.give_back("k", "a"), b"OK 1:v 1:w\n"),
        (RAW.incr("k"), b"OK\n"),
        (RAW.incr("k"), b"MISS\n"),
        (RAW.incr("k"), b"CONFLICT\n"),
        (RAW.incr("k"), b"OK 0:\n"),
        (RAW.incr("k"), b"OK 1:x\n"),
        (RAW.incr("k"), b"OK 2:+1\n"),
        (RAW.incr("k"), b"OK 2:1\n\n"),
        (RAW.incr("k"), b"OK 1:-\n"),
        (RAW.incr("k"), b"OK 2:\xd9\xa3\n"),
        (RAW.incr("k"), b"OK 20:12345678901234567890\n"),
        (RAW.write("k", b"v"), b"OK 1:v\n"),
        (RAW.write("k", b"v"), b"MISS\n"),
        (RAW.delete("k"), b"CONFLICT\n"),
        (RAW.delete("k"), b"OK 1:v\n"),
        (RAW.touch("k", ex=1), b"OK 1:v\n"),
        (RAW.ping(), b"MISS\n"),
        (RAW.ping(), b"OK 1:v\n"),
        (RAW.where("k"), b"OK\n"),
        (RAW.where("k"), where("master")),
        (RAW.where("k"), where("master up")),
        (RAW.where("k"), where("")),
        (RAW.where("k"), where(" up h:1")),
        (RAW.where("k"), where("replica  h:1")),
        (RAW.where("k"), where("replica up lag_ms= h:1")),
        (RAW.where("k"), where("replica up lag_ms=-1 h:1")),
        (RAW.where("k"), where("replica up lag_ms=soon h:1")),
        (RAW.stats(), b"OK\n"),
        (RAW.stats(), b"OK 2:{} 2:{}\n"),
        (RAW.where("k"), b"MISS\n"),
        (RAW.stats(), b"OK 1:x\n"),
        (RAW.stats(), b"OK 2:[]\n"),
        (RAW.stats(), b"MISS\n"),
    ],
)
def test_a_reply_that_does_not_fit_is_a_protocol_error(call: Call[Any], line: bytes) -> None:
    assert isinstance(outcome(call, line), ProtocolError)


def test_a_codec_makes_the_values() -> None:
    text: Calls[str] = Calls(Codec.text())
    assert outcome(text.read("k"), b"OK 2:\xd0\xb9\n") == "й"
    assert outcome(text.read("k"), b"MISS\n") is None
    assert outcome(text.read_with_version("k"), b"OK 2:\xd0\xb9 ver=a\n") == Versioned("й", None, "a")
    assert outcome(text.read_or_lease("k", 5), b"OK 2:\xd0\xb9 stale held=9\n") == Leased("й", True, True, None, 0.009)
    assert outcome(text.incr("k"), b"OK 1:5\n") == 5


def test_a_value_that_is_none_is_no_miss() -> None:
    json: Calls[Any] = Calls(Codec.json())
    assert outcome(json.read_with_ttl("k"), b"OK 4:null ttl=5\n") == Value(None, 0.005)
    assert outcome(json.read_with_version("k"), b"OK 4:null ver=a\n") == Versioned(None, None, "a")
    assert outcome(json.read_or_lease("k", 5), b"OK 4:null\n") == Leased(None, True, False, None, None)
    assert outcome(json.read_or_lease("k", 5), b"OK 4:null stale lease=a\n") == Leased(None, True, True, "a", None)
    assert outcome(json.read_or_lease("k", 5), b"MISS lease=a\n") == Leased(None, False, False, "a", None)


def test_a_value_that_cannot_be_decoded_is_an_error_of_ours_that_does_not_quote_it() -> None:
    text: Calls[str] = Calls(Codec.text())
    for call in (text.read("k"), text.read_with_ttl("k"), text.read_with_version("k"), text.read_or_lease("k", 5)):
        error = outcome(call, b"OK 1:\xff ver=a\n")
        assert isinstance(error, CorruptError)
        assert isinstance(error.__cause__, UnicodeDecodeError)
        assert "xff" not in str(error)
