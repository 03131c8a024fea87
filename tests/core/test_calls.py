"""Calls: their requests, and what their replies mean."""

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
from wireproto.core.results import Value
from wireproto.errors import ArgumentError, BusyError, CorruptError, ProtocolError, RequestError

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


def test_requests() -> None:
    assert RAW.read("k").request == b"READ 1:k\n"
    assert RAW.read_with_ttl(b"k").request == b"READ 1:k ttl\n"
    assert RAW.write("k", b"v").request == b"WRITE 1:k 1:v\n"
    assert RAW.write("k", b"v", ex=60, nx=True).request == b"WRITE 1:k 1:v ex=60 nx\n"
    assert RAW.write("k", b"v", px=60, xx=True).request == b"WRITE 1:k 1:v px=60 xx\n"
    assert RAW.write("k", b"v", keepttl=True).request == b"WRITE 1:k 1:v keepttl\n"
    assert RAW.delete("k").request == b"DELETE 1:k\n"
    assert RAW.read_replica("k").request == b"READ 1:k replica\n"
    assert RAW.read_with_ttl("k", replica=True).request == b"READ 1:k ttl replica\n"
    assert RAW.write("k", b"v", ex=1, sync=2).request == b"WRITE 1:k 1:v ex=1 sync=2\n"
    assert RAW.write("k", b"v", sync=0).request == b"WRITE 1:k 1:v sync=0\n"
    assert RAW.delete("k", sync=0).request == b"DELETE 1:k sync=0\n"
    assert RAW.touch("k", px=5).request == b"TOUCH 1:k px=5\n"
    assert RAW.ping().request == b"PING\n"
    assert RAW.where("k").request == b"WHERE 1:k\n"
    assert RAW.stats().request == b"STATS\n"


def test_requests_of_many_keys() -> None:
    bad, *good = RAW.read_replica_requests(["", "k", b"l"])
    assert isinstance(bad, ArgumentError)
    assert good == [b"READ 1:k replica\n", b"READ 1:l replica\n"]
    bad, *good = RAW.synced_delete_requests(1)(["", "k", b"l"])
    assert isinstance(bad, ArgumentError)
    assert good == [b"DELETE 1:k sync=1\n", b"DELETE 1:l sync=1\n"]
    values = {"k": b"v", "l": b"w"}
    requests = RAW.write_requests(values, sync=3)(list(values))
    assert requests == [b"WRITE 1:k 1:v sync=3\n", b"WRITE 1:l 1:w sync=3\n"]


@pytest.mark.parametrize("sync", [-1, 9, True, 1.0, "1"])
def test_how_many_replicas_is_checked_before_anything_is_sent(sync: Any) -> None:
    with pytest.raises(ArgumentError, match="sync is a whole number from 0 to 8"):
        RAW.write("k", b"v", sync=sync)
    with pytest.raises(ArgumentError, match="sync is a whole number from 0 to 8"):
        RAW.delete("k", sync=sync)
    with pytest.raises(ArgumentError, match="sync is a whole number from 0 to 8"):
        RAW.synced_delete_requests(sync)(["k"])


def test_only_what_changes_nothing_is_harmless() -> None:
    for call in (RAW.read("k"), RAW.read_replica("k"), RAW.read_with_ttl("k"), RAW.ping(), RAW.where("k"), RAW.stats()):
        assert call.kind.harmless
    for change in (RAW.write("k", b"v"), RAW.write("k", b"v", sync=1), RAW.delete("k"), RAW.touch("k", ex=1)):
        assert not change.kind.harmless


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


def test_values_are_bytes_unless_a_codec_takes_others() -> None:
    assert RAW.write("k", bytearray(b"v")).request == b"WRITE 1:k 1:v\n"  # type: ignore[arg-type]
    assert RAW.write("k", memoryview(b"v")).request == b"WRITE 1:k 1:v\n"  # type: ignore[arg-type]
    for value in ("v", 5, None, ["v"]):
        with pytest.raises(ArgumentError, match="codec"):
            RAW.write("k", value)  # type: ignore[arg-type]


def test_codecs() -> None:
    text: Calls[str] = Calls(Codec.text())
    assert text.write("k", "й").request == b"WRITE 1:k 2:\xd0\xb9\n"
    assert outcome(text.read("k"), b"OK 2:\xd0\xb9\n") == "й"
    assert outcome(text.read("k"), b"MISS\n") is None
    json: Calls[Any] = Calls(Codec.json())
    assert json.write("k", {"a": [1, None]}).request == b'WRITE 1:k 14:{"a":[1,null]}\n'
    assert outcome(json.read_with_ttl("k"), b"OK 4:null ttl=5\n") == Value(None, 0.005)


def test_a_codec_that_fails_is_an_error_of_ours_that_does_not_quote_the_value() -> None:
    text: Calls[str] = Calls(Codec.text())
    error = outcome(text.read("k"), b"OK 1:\xff\n")
    assert isinstance(error, CorruptError)
    assert isinstance(error.__cause__, UnicodeDecodeError)
    assert "xff" not in str(error)
    with pytest.raises(ArgumentError):
        Calls(Codec.json()).write("k", {1, 2})
    with pytest.raises(ArgumentError, match="made str of a value"):
        Calls(Codec(encode=str, decode=int)).write("k", 5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options", [{"ex": 0}, {"ex": 1, "px": 1}, {"nx": True, "xx": True}, {"px": 1, "keepttl": True}, {"ex": 1.5}]
)
def test_options_are_checked_before_anything_is_sent(options: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        RAW.write("k", b"v", **options)


def test_touch_needs_a_time() -> None:
    with pytest.raises(ArgumentError, match="ex"):
        RAW.touch("k")
