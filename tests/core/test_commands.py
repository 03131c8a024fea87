"""Requests as Redis commands, and replies as lines."""

from __future__ import annotations

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wireproto.core.commands import DELETE, READ, READ_TTL, TOUCH, WRITE, namespace_commands, render
from wireproto.core.verbs import Verb
from wireproto.errors import BY_CODE

COMMANDS = namespace_commands("ns")


def words(command: bytes) -> list[bytes]:
    reader = hiredis.Reader()
    assert command.startswith(b"\r\n*")  # the end of the command before; its own is with the next
    reader.feed(command[2:] + b"\r\n")
    parsed = reader.gets()
    assert reader.gets() is False
    assert isinstance(parsed, list)
    return parsed


@pytest.mark.parametrize(
    ("verb", "arguments", "options", "expected"),
    [
        (Verb.READ, [b"k"], {}, [b"GET", b"ns:k"]),
        (Verb.READ, [b"k"], {"deadline": 5, "trace": 1}, [b"GET", b"ns:k"]),
        (Verb.WRITE, [b"k", b"v"], {}, [b"SET", b"ns:k", b"v"]),
        (Verb.WRITE, [b"k", b""], {"ex": 2}, [b"SET", b"ns:k", b"", b"PX", b"2000"]),
        (Verb.WRITE, [b"k", b"v"], {"px": 7, "nx": 1}, [b"SET", b"ns:k", b"v", b"PX", b"7", b"NX"]),
        (Verb.WRITE, [b"k", b"v"], {"keepttl": 1, "xx": 1}, [b"SET", b"ns:k", b"v", b"KEEPTTL", b"XX"]),
        (Verb.DELETE, [b"k"], {}, [b"UNLINK", b"ns:k"]),
        (Verb.TOUCH, [b"k"], {"ex": 3}, [b"PEXPIRE", b"ns:k", b"3000"]),
        (Verb.READ, [b"a:b\r\n\0"], {}, [b"GET", b"ns:a:b\r\n\0"]),
    ],
)
def test_commands(verb: Verb, arguments: list[bytes], options: dict[str, int], expected: list[bytes]) -> None:
    _, command = COMMANDS.command(verb, arguments, options)
    assert words(command) == expected


names = st.from_regex(r"[A-Za-z0-9._-]{1,4}", fullmatch=True)
keys = st.lists(st.sampled_from([b":", b"a", b"b", b"-", b".", b"\r\n", b"\0", b"\xff"]), min_size=1, max_size=6).map(
    b"".join
)


@given(names, keys, names, keys)
def test_two_namespaces_never_meet_whatever_the_keys(name: str, key: bytes, other_name: str, other_key: bytes) -> None:
    stored, other = (
        words(namespace_commands(namespace).command(Verb.READ, [argument], {})[1])[1]
        for namespace, argument in ((name, key), (other_name, other_key))
    )
    assert (stored == other) == ((name, key) == (other_name, other_key))


def test_a_read_with_ttl_takes_both_in_one_moment() -> None:
    kind, command = COMMANDS.command(Verb.READ, [b"k"], {"ttl": 1})
    assert kind == READ_TTL
    assert words(command)[0] == b"EVAL"
    assert words(command)[2:] == [b"1", b"ns:k"]


@pytest.mark.parametrize("length", [1, 2, 9, 10, 99, 100, 1023, 1024])
def test_heads_made_beforehand_agree_with_commands_made_on_the_way(length: int) -> None:
    key = b"k" * length
    for plain in COMMANDS.plain.values():
        verb = Verb(plain.kind)
        arguments, tail = ([key, b"vv"], b"\r\n$2\r\nvv") if verb is Verb.WRITE else ([key], b"")
        assert plain.heads[length] + key + tail == COMMANDS.command(verb, arguments, {})[1]
    expiring = COMMANDS.expiring_write_heads[length] + key + b"\r\n$2\r\nvv\r\n$2\r\nPX\r\n$2\r\n77"
    assert expiring == COMMANDS.command(Verb.WRITE, [key, b"vv"], {"px": 77})[1]


@pytest.mark.parametrize(
    ("kind", "reply", "outcome", "line"),
    [
        (READ, b"v", "OK", b"OK 1:v\n"),
        (READ, b"", "OK", b"OK 0:\n"),
        (READ, None, "MISS", b"MISS\n"),
        (READ, b"\xff\x00\xffv", "OK", b"OK 2:\xffv\n"),
        (READ_TTL, [b"v", 1500], "OK", b"OK 1:v ttl=1500\n"),
        (READ_TTL, [b"v", -1], "OK", b"OK 1:v\n"),
        (READ_TTL, [None, -2], "MISS", b"MISS\n"),
        (WRITE, b"OK", "OK", b"OK\n"),
        (WRITE, None, "CONFLICT", b"CONFLICT\n"),
        (DELETE, 1, "OK", b"OK\n"),
        (DELETE, 0, "MISS", b"MISS\n"),
        (TOUCH, 1, "OK", b"OK\n"),
        (TOUCH, 0, "MISS", b"MISS\n"),
    ],
)
def test_replies(kind: int, reply: object, outcome: str, line: bytes) -> None:
    assert render(kind, reply) == (outcome, line)


@pytest.mark.parametrize("stored", [b"\xff", b"\xff\x07sealed", b"\xff\xff"])
def test_a_stored_value_of_no_known_form_is_corrupt_and_never_shown(stored: bytes) -> None:
    for kind, reply in ((READ, stored), (READ_TTL, [stored, 5])):
        outcome, line = render(kind, reply)
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
        ("ERR something with a key in it", "INTERNAL"),
        ("", "INTERNAL"),
        ("\n\n\x00", "INTERNAL"),
    ],
)
@pytest.mark.parametrize("kind", [READ, WRITE, DELETE, TOUCH, READ_TTL])
def test_every_refusal_of_a_node_is_a_documented_code(kind: int, text: str, code: str) -> None:
    outcome, line = render(kind, hiredis.ReplyError(text))
    assert outcome == code
    assert code in BY_CODE
    assert line.startswith(b"ERR " + code.encode())
    assert line.count(b"\n") == 1
    assert b"key in it" not in line


@pytest.mark.parametrize("reply", [5, b"other", [1, 2], [b"a"], [b"a", b"b"], [], True, 2, -1, "text"])
@pytest.mark.parametrize("kind", [READ, WRITE, DELETE, TOUCH, READ_TTL])
def test_replies_that_do_not_fit_are_internal_errors(kind: int, reply: object) -> None:
    if (kind == READ and isinstance(reply, bytes)) or (kind in (DELETE, TOUCH) and reply is True):
        return
    outcome, line = render(kind, reply)
    assert outcome == "INTERNAL"
    assert line.startswith(b"ERR INTERNAL :")
