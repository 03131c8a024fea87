"""Requests as Redis commands."""

from __future__ import annotations

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wireproto.core.commands import (
    DELETE_IF,
    READ_SCRIPTED,
    TELL_LEASE,
    TELL_TTL,
    TELL_VERSION,
    WRITE,
    WRITE_VERSION,
    namespace_commands,
)
from wireproto.core.scripts import DELETE_SCRIPT, INCR_SCRIPT, READ_SCRIPT, TOUCH_SCRIPT, WRITE_SCRIPT, Script
from wireproto.core.verbs import Verb

COMMANDS = namespace_commands("ns")
NOW = 1_700_000_000_123
STAMP = b"a-stamp-00000001"
NONE = b" " * 16


class World:
    """A clock that stands, and a stamp that repeats."""

    def wall_clock(self) -> float:
        return NOW / 1000

    def stamp(self) -> bytes:
        return STAMP


def command_of(
    verb: Verb, arguments: list[bytes], options: dict[str, int], tokens: dict[str, bytes] | None = None
) -> tuple[int, bytes]:
    return COMMANDS.command(verb, arguments, options, tokens or {}, World())


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
        (Verb.READ, [b"k"], {"lease": 5, "replica": 1}, [b"GET", b"ns:k"]),
        (
            Verb.WRITE,
            [b"k", b"v"],
            {"px": 7, "stale": 2},
            [b"SET", b"ns:k", b"\xffE%b%014d%014d%b%014dv" % (NONE, NOW + 7, 2000, NONE, 0), b"PX", b"2007"],
        ),
        (Verb.DELETE, [b"k"], {}, [b"UNLINK", b"ns:k"]),
        (Verb.READ, [b"a:b\r\n\0"], {}, [b"GET", b"ns:a:b\r\n\0"]),
    ],
)
def test_commands(verb: Verb, arguments: list[bytes], options: dict[str, int], expected: list[bytes]) -> None:
    _, command = command_of(verb, arguments, options)
    assert words(command) == expected


@pytest.mark.parametrize(
    ("text", "options", "tokens", "kind", "script", "expected"),
    [
        ("READ", {"ttl": 1}, {}, READ_SCRIPTED + TELL_TTL, READ_SCRIPT, [b"", b"", b"0", b"0"]),
        ("READ", {"ver": 1}, {}, READ_SCRIPTED + TELL_VERSION, READ_SCRIPT, [STAMP, b"", b"0", b"0"]),
        (
            "READ",
            {"ver": 1, "lease": 9, "early": 7, "ttl": 1},
            {},
            READ_SCRIPTED + TELL_TTL + TELL_VERSION + TELL_LEASE,
            READ_SCRIPT,
            [STAMP, STAMP, b"9", b"7"],
        ),
        ("WRITE", {"nx": 1, "px": 7}, {}, WRITE, WRITE_SCRIPT, [b"nx", b"", NONE, b"7", b"0", b"0", b"v"]),
        ("WRITE", {"xx": 1, "keepttl": 1}, {}, WRITE, WRITE_SCRIPT, [b"xx", b"", NONE, b"keepttl", b"0", b"0", b"v"]),
        ("WRITE", {"keepttl": 1}, {}, WRITE, WRITE_SCRIPT, [b"", b"", NONE, b"keepttl", b"0", b"0", b"v"]),
        (
            "WRITE",
            {"ver": 1, "ex": 2, "stale": 3},
            {"ver": b"x"},
            WRITE_VERSION,
            WRITE_SCRIPT,
            [b"ver", b"x", STAMP, b"5000", b"%d" % (NOW + 2000), b"3000", b"v"],
        ),
        ("WRITE", {"lease": 1}, {"lease": b"x"}, WRITE, WRITE_SCRIPT, [b"lease", b"x", NONE, b"", b"0", b"0", b"v"]),
        ("DELETE", {"ver": 1}, {"ver": b"x"}, DELETE_IF, DELETE_SCRIPT, [b"ver", b"x"]),
        ("DELETE", {"lease": 1}, {"lease": b"x"}, DELETE_IF, DELETE_SCRIPT, [b"lease", b"x"]),
        ("TOUCH", {"ex": 3}, {}, 4, TOUCH_SCRIPT, [b"3000"]),
        ("INCR", {}, {}, 10, INCR_SCRIPT, [b"1", b""]),
        ("INCR", {"by": -5, "ex": 3}, {}, 10, INCR_SCRIPT, [b"-5", b"3000"]),
    ],
)
def test_what_a_script_is_told(
    text: str, options: dict[str, int], tokens: dict[str, bytes], kind: int, script: Script, expected: list[bytes]
) -> None:
    verb = Verb[text]
    arguments = [b"k", b"v"] if verb is Verb.WRITE else [b"k"]
    found, command = command_of(verb, arguments, options, tokens)
    assert found == kind
    assert words(command) == [b"EVALSHA", script.name, b"1", b"ns:k", b"%d" % NOW, *expected]


names = st.from_regex(r"[A-Za-z0-9._-]{1,4}", fullmatch=True)
keys = st.lists(st.sampled_from([b":", b"a", b"b", b"-", b".", b"\r\n", b"\0", b"\xff"]), min_size=1, max_size=6).map(
    b"".join
)


@given(names, keys, names, keys)
def test_two_namespaces_never_meet_whatever_the_keys(name: str, key: bytes, other_name: str, other_key: bytes) -> None:
    stored, other = (
        words(namespace_commands(namespace).command(Verb.READ, [argument], {}, {}, World())[1])[1]
        for namespace, argument in ((name, key), (other_name, other_key))
    )
    assert (stored == other) == ((name, key) == (other_name, other_key))


@pytest.mark.parametrize("length", [1, 2, 9, 10, 99, 100, 1023, 1024])
def test_heads_made_beforehand_agree_with_commands_made_on_the_way(length: int) -> None:
    key = b"k" * length
    for plain in COMMANDS.plain.values():
        verb = Verb(plain.kind)
        arguments, tail = ([key, b"vv"], b"\r\n$2\r\nvv") if verb is Verb.WRITE else ([key], b"")
        if verb is Verb.INCR:
            tail = COMMANDS.incr_tail(b"", NOW)
        assert plain.heads[length] + key + tail == command_of(verb, arguments, {})[1]
    expiring = COMMANDS.expiring_write_heads[length] + key + b"\r\n$2\r\nvv\r\n$2\r\nPX\r\n$2\r\n77"
    assert expiring == command_of(Verb.WRITE, [key, b"vv"], {"px": 77})[1]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (b"", {}),
        (b" by=5", {"by": 5}),
        (b" by=-5 ex=60", {"by": -5, "ex": 60}),
        (b" ex=1", {"ex": 1}),
        (b" px=1500", {"px": 1500}),
        (b" by=999999999999999999 px=999999999", {"by": 10**18 - 1, "px": 999_999_999}),
    ],
)
def test_the_tail_of_a_plain_incr_agrees_with_the_command_made_on_the_way(text: bytes, options: dict[str, int]) -> None:
    command = COMMANDS.incr_heads[1] + b"k" + COMMANDS.incr_tail(text, NOW)
    assert command == command_of(Verb.INCR, [b"k"], options)[1]


@pytest.mark.parametrize(
    "text",
    [
        b" by=0",
        b" by=+1",
        b" by=1_0",
        b" by=01",
        b" by=-",
        b" ex=0",
        b" ex=060",
        b" ex=1 px=1",
        b" ex=1 by=1",
        b"  by=1",
        b" by=1 ",
        b" by=1\r",
        b" trace",
        b" by=9999999999999999999",
        b" sync=1",
        b"x",
    ],
)
def test_an_incr_that_is_not_plain_is_left_to_the_full_parser(text: bytes) -> None:
    assert COMMANDS.incr_tail(text, NOW) == b""
