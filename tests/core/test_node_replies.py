"""What nodes answer, as lines."""

from __future__ import annotations

import hiredis
import pytest

from wireproto.core.commands import (
    DELETE,
    DELETE_IF,
    INCR,
    READ,
    READ_SCRIPTED,
    TELL_LEASE,
    TELL_TTL,
    TELL_VERSION,
    TOUCH,
    WRITE,
    WRITE_VERSION,
)
from wireproto.core.envelope import NO_STAMP
from wireproto.core.node_replies import is_refused_by_replica, render
from wireproto.errors import BY_CODE

NOW = 1_700_000_000_123
STAMP = b"a-stamp-00000001"
READ_TTL = READ_SCRIPTED + TELL_TTL
READ_ALL = READ_SCRIPTED + TELL_TTL + TELL_VERSION + TELL_LEASE


def now_ms() -> int:
    return NOW


def enveloped(value: bytes, fresh_until: int = 0, stale: int = 0, version: bytes = NO_STAMP) -> bytes:
    return b"\xffE%b%014d%014d%b%014d%b" % (version, fresh_until, stale, NO_STAMP, 0, value)


VACANT = b"\xffV" + STAMP + b"%014d" % (NOW + 5)


@pytest.mark.parametrize(
    ("kind", "reply", "outcome", "line"),
    [
        (READ, b"v", "OK", b"OK 1:v\n"),
        (READ, b"", "OK", b"OK 0:\n"),
        (READ, None, "MISS", b"MISS\n"),
        (READ, b"\xff\x00\xffv", "OK", b"OK 2:\xffv\n"),
        (READ, VACANT, "MISS", b"MISS\n"),
        (READ, enveloped(b"v"), "OK", b"OK 1:v\n"),
        (READ, enveloped(b"\xff\x00\xffv"), "OK", b"OK 2:\xffv\n"),
        (READ, enveloped(b"v", NOW + 1), "OK", b"OK 1:v\n"),
        (READ, enveloped(b"v", NOW, 1000), "MISS", b"MISS\n"),
        (READ_TTL, [b"v", 1500, None, 0, 0], "OK", b"OK 1:v ttl=1500\n"),
        (READ_TTL, [b"v", -1, None, 0, 0], "OK", b"OK 1:v\n"),
        (READ_TTL, [None, -1, None, 0, 0], "MISS", b"MISS\n"),
        (READ_TTL, [enveloped(b"v", NOW, 9, STAMP), 7, None, 0, 0], "OK", b"OK 1:v ttl=7\n"),
        (READ_ALL, [enveloped(b"v", 0, 0, STAMP), 7, None, 5, 0], "OK", b"OK 1:v ttl=7 ver=a-stamp-00000001\n"),
        (READ_ALL, [enveloped(b"v", 0, 0, STAMP), 7, b"L", 0, 0], "OK", b"OK 1:v ttl=7 ver=a-stamp-00000001 lease=L\n"),
        (READ_ALL, [enveloped(b"v", NOW, 9, STAMP), -7, b"L", 0, 1], "OK", b"OK 1:v stale lease=L\n"),
        (READ_ALL, [enveloped(b"v", NOW, 9, STAMP), -7, None, 5, 1], "OK", b"OK 1:v stale held=5\n"),
        (READ_ALL, [None, -1, b"L", 0, 0], "MISS", b"MISS lease=L\n"),
        (READ_ALL, [None, -1, None, 5, 0], "MISS", b"MISS held=5\n"),
        (WRITE_VERSION, STAMP, "OK", b"OK ver=a-stamp-00000001\n"),
        (WRITE_VERSION, None, "CONFLICT", b"CONFLICT\n"),
        (INCR, b"-42", "OK", b"OK 3:-42\n"),
        (DELETE_IF, 1, "OK", b"OK\n"),
        (DELETE_IF, 0, "MISS", b"MISS\n"),
        (DELETE_IF, -1, "CONFLICT", b"CONFLICT\n"),
        (WRITE, b"OK", "OK", b"OK\n"),
        (WRITE, None, "CONFLICT", b"CONFLICT\n"),
        (DELETE, 1, "OK", b"OK\n"),
        (DELETE, 0, "MISS", b"MISS\n"),
        (TOUCH, 1, "OK", b"OK\n"),
        (TOUCH, 0, "MISS", b"MISS\n"),
    ],
)
def test_replies(kind: int, reply: object, outcome: str, line: bytes) -> None:
    assert render(kind, reply, now_ms) == (outcome, line)


@pytest.mark.parametrize(
    "stored",
    [
        b"\xff",
        b"\xff\x07sealed",
        b"\xff\xff",
        b"\xffE",
        enveloped(b"\xff\x09"),
        enveloped(b"v")[:40],
        b"\xffE" + b"x" * 80,
    ],
)
def test_a_stored_value_of_no_known_form_is_corrupt_and_never_shown(stored: bytes) -> None:
    for kind, reply in ((READ, stored), (READ_TTL, [stored, 5, None, 0, 0])):
        outcome, line = render(kind, reply, now_ms)
        assert outcome == "CORRUPT"
        assert stored not in line


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", "BUSY"),
        ("BUSY Redis is busy running a script.", "BUSY"),
        ("LOADING Redis is loading the dataset in memory", "DOWN"),
        ("READONLY You can't write against a read only replica.", "DOWN"),
        ("MASTERDOWN Link with MASTER is down", "DOWN"),
        ("MISCONF Errors writing to the AOF file", "DOWN"),
        ("NOAUTH Authentication required.", "DOWN"),
        ("NOPERM this user has no permissions", "DOWN"),
        ("MOVED 3999 127.0.0.1:6381", "DOWN"),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", "CORRUPT"),
        ("NOSCRIPT No matching script. Please use EVAL.", "DOWN"),
        ("TYPE value", "TYPE"),
        ("TYPE overflow", "TYPE"),
        ("ERR Error running script (call to f_ab): @user_script:7: -OOM command not allowed", "BUSY"),
        ("ERR Error running script (call to f_ab): @user_script:7: @user_script: 7: -OOM command not allowed", "BUSY"),
        ("ERR Error running script (call to f_ab): @user_script:7: WRONGTYPE Operation against a key", "CORRUPT"),
        ("ERR Error running script (call to f_ab): @user_script:7: -READONLY You can't write", "DOWN"),
        ("@user_script: 69: -OOM command not allowed", "BUSY"),
        (
            "ERR Error running script (call to f_ab): @user_script:7: @user_script: 7: The user executing the script"
            " can't run this command or subcommand",
            "DOWN",
        ),
        (
            "ERR The user executing the script can't run this command or subcommand script: ab, on @user_script:7.",
            "DOWN",
        ),
        (
            "ERR ACL failure in script: User u has no permissions to run the 'get' command script: on @user_script:7.",
            "DOWN",
        ),
        ("ERR Error running script (call to f_ab): @user_script:7: attempt to index a nil value", "INTERNAL"),
        ("ERR something with a key in it", "INTERNAL"),
        ("", "INTERNAL"),
        ("\n\n\x00", "INTERNAL"),
    ],
)
@pytest.mark.parametrize("kind", [READ, WRITE, DELETE, TOUCH, READ_TTL, READ_ALL, INCR, WRITE_VERSION, DELETE_IF])
def test_every_refusal_of_a_node_is_a_documented_code(kind: int, text: str, code: str) -> None:
    outcome, line = render(kind, hiredis.ReplyError(text), now_ms)
    assert outcome == code
    assert code in BY_CODE
    assert line.startswith(b"ERR " + code.encode())
    assert line.count(b"\n") == 1
    assert b"key in it" not in line


@pytest.mark.parametrize(
    "text",
    [
        "READONLY You can't write against a read only replica. script: ab, on @user_script:17.",
        "ERR Error running script (call to f_ab): @user_script:17: @user_script: 17: -READONLY You can't write",
        "@user_script: 69: -READONLY You can't write",
    ],
)
def test_a_replica_is_known_wherever_it_says_so(text: str) -> None:
    assert is_refused_by_replica(hiredis.ReplyError(text))
    assert not is_refused_by_replica(hiredis.ReplyError(text.replace("READONLY", "OOM")))
    assert not is_refused_by_replica(text.encode())


@pytest.mark.parametrize("reply", [5, b"other", [1, 2], [b"a"], [b"a", b"b"], [], True, 2, -1, "text"])
@pytest.mark.parametrize("kind", [READ, WRITE, DELETE, TOUCH, READ_TTL, READ_ALL, INCR, WRITE_VERSION, DELETE_IF])
def test_replies_that_do_not_fit_are_internal_errors(kind: int, reply: object) -> None:
    # Any bytes are a value, and these bytes could be a version.
    if (kind in (READ, WRITE_VERSION) and isinstance(reply, bytes)) or (kind == DELETE_IF and reply == -1):
        return
    outcome, line = render(kind, reply, now_ms)
    assert outcome == "INTERNAL"
    assert line.startswith(b"ERR INTERNAL :")
