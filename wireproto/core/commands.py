"""Verb -> Redis command; `node_replies` knows the way back.

Every request becomes exactly one Redis command with exactly one reply, so that a node's answers can be matched by
counting. (A READ with a lease that misses asks a second question: `lease_reads`.) What Redis cannot do in one command
is done by a script (`scripts`). A value's stored form is `stored_values`', `sealing`'s and `envelope`'s.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from wireproto.core.envelope import NO_STAMP, in_envelope
from wireproto.core.scripts import (
    DELETE_SCRIPT,
    INCR_SCRIPT,
    READ_SCRIPT,
    SCRIPTS,
    TOUCH_SCRIPT,
    WRITE_SCRIPT,
    Script,
)
from wireproto.core.verbs import Verb
from wireproto.core.wire import MAX_KEY

READ: Final = 1
WRITE: Final = 2
DELETE: Final = 3
TOUCH: Final = 4
INCR: Final = 10
"""The kinds of replies to expect, each numbered as its verb."""
WRITE_VERSION: Final = 11
"""A WRITE with `ver=`."""
DELETE_IF: Final = 12
"""A DELETE with a condition."""
READ_SCRIPTED: Final = 16
"""A READ by script; added to it is what the reply is to tell."""
TELL_TTL: Final = 1
TELL_VERSION: Final = 2
TELL_LEASE: Final = 4

VERB_NAMES: Final[Mapping[int, str]] = {
    READ: "READ",
    WRITE: "WRITE",
    DELETE: "DELETE",
    TOUCH: "TOUCH",
    INCR: "INCR",
    WRITE_VERSION: "WRITE",
    DELETE_IF: "DELETE",
    **{READ_SCRIPTED + told: "READ" for told in range(8)},
}


def bulk_head(length: int) -> bytes:
    """The line before so many bytes in RESP, and the end of the line before that."""
    return b"\r\n$%d\r\n" % length


MAX_BULK_HEAD: Final = 4096
BULK_HEADS: Final[list[bytes]] = [bulk_head(length) for length in range(MAX_BULK_HEAD)]
"""`BULK_HEADS[n]` is `bulk_head(n)`. A look-up costs 20 ns, formatting 90."""
EX_HEAD: Final = bulk_head(2) + b"EX"
PX_HEAD: Final = bulk_head(2) + b"PX"


_PLAIN_INCR: Final = re.compile(rb"(?: by=(-?[1-9][0-9]{0,17}))?(?: ex=([1-9][0-9]{0,8})| px=([1-9][0-9]{0,8}))?")


class PlainVerb(NamedTuple):
    """A verb as the hot loop meets it."""

    word: bytes
    """With the space behind it."""
    kind: int
    """Of reply to expect."""
    heads: list[bytes]
    """What the command begins with, by the length of the key."""


class Moment(Protocol):
    """What a command needs of the world."""

    def wall_clock(self) -> float:
        """Seconds since 1970."""

    def stamp(self) -> bytes:
        """A version or a lease that was not given out before (`stamps`)."""


def milliseconds(world: Moment) -> int:
    """The time, in milliseconds since 1970."""
    return int(world.wall_clock() * 1000)


class NamespaceCommands:
    """Redis commands for the keys of one namespace, as pieces to be joined.

    A command's head depends only on the key's length, so heads are made once: two pieces cost 40 ns where formatting
    the whole command costs 270. A command here begins with the CRLF that ends the one before it, and ends without its
    own, so that nothing has to be appended to a key: `node_pipeline` puts that right at the ends of each write.
    """

    __slots__ = ("expiring_write_heads", "incr_heads", "plain", "prefix", "read_heads")

    def __init__(self, namespace: str) -> None:
        prefix = namespace.encode("ascii") + b":"
        self.prefix = prefix
        lengths = range(len(prefix), len(prefix) + MAX_KEY + 1)
        self.read_heads = [b"\r\n*2\r\n$3\r\nGET\r\n$%d\r\n%b" % (length, prefix) for length in lengths]
        self.expiring_write_heads = [b"\r\n*5\r\n$3\r\nSET\r\n$%d\r\n%b" % (length, prefix) for length in lengths]
        write_heads = [b"\r\n*3\r\n$3\r\nSET\r\n$%d\r\n%b" % (length, prefix) for length in lengths]
        delete_heads = [b"\r\n*2\r\n$6\r\nUNLINK\r\n$%d\r\n%b" % (length, prefix) for length in lengths]
        self.incr_heads = [
            b"\r\n*7\r\n$7\r\nEVALSHA\r\n$40\r\n%b\r\n$1\r\n1\r\n$%d\r\n%b" % (INCR_SCRIPT.name, length, prefix)
            for length in lengths
        ]
        self.plain: dict[bytes, PlainVerb] = {
            verb.word[:4]: verb
            for verb in (
                PlainVerb(b"READ ", READ, self.read_heads),
                PlainVerb(b"GET ", READ, self.read_heads),
                PlainVerb(b"WRITE ", WRITE, write_heads),
                PlainVerb(b"SET ", WRITE, write_heads),
                PlainVerb(b"DELETE ", DELETE, delete_heads),
                PlainVerb(b"DEL ", DELETE, delete_heads),
                PlainVerb(b"INCR ", INCR, self.incr_heads),
            )
        }
        """By the first four bytes, which tell them apart."""

    def command(
        self,
        verb: Verb,
        arguments: list[bytes],
        options: Mapping[str, int],
        tokens: Mapping[str, bytes],
        world: Moment,
    ) -> tuple[int, bytes]:
        """The kind of reply to expect and the command, for any request that goes to a node.

        A value is given as it is to be stored, but for its envelope. A READ with a lease and nothing else that needs a
        script is a GET: `lease_reads` asks for the lease if it misses.
        """
        key = self.prefix + arguments[0]
        if verb is Verb.READ:
            if needs_script(options):
                return self.scripted_read(arguments[0], options, world)
            return READ, encode_command(b"GET", key)
        if verb is Verb.WRITE:
            return _write(key, arguments[1], options, tokens, world)
        if verb is Verb.INCR:
            by, expiry = b"%d" % options.get("by", 1), _expiry(options)
            return INCR, _run(INCR_SCRIPT, key, world, by, b"%d" % expiry if expiry else b"")
        if verb is Verb.TOUCH:
            return TOUCH, _run(TOUCH_SCRIPT, key, world, b"%d" % _expiry(options))
        for condition, operand in tokens.items():
            return DELETE_IF, _run(DELETE_SCRIPT, key, world, condition.encode("ascii"), operand)
        return DELETE, encode_command(b"UNLINK", key)

    @staticmethod
    def incr_tail(options: bytes, now_ms: int) -> bytes:
        """What stands behind the key in the command of an INCR with these options, as the client wrote them.

        Empty if they are not of the simplest form.
        """
        found = _PLAIN_INCR.fullmatch(options)
        if found is None:
            return b""
        expiry = b"%b000" % found[2] if found[2] else found[3] or b""
        words = (b"%d" % now_ms, found[1] or b"1", expiry)
        return b"".join([bulk_head(len(word)) + word for word in words])

    def scripted_read(self, key: bytes, options: Mapping[str, int], world: Moment) -> tuple[int, bytes]:
        """The same for a READ that is done by script."""
        told = TELL_TTL * ("ttl" in options) + TELL_VERSION * ("ver" in options) + TELL_LEASE * ("lease" in options)
        command = _run(
            READ_SCRIPT,
            self.prefix + key,
            world,
            world.stamp() if "ver" in options else b"",
            world.stamp() if "lease" in options else b"",
            b"%d" % options.get("lease", 0),
            b"%d" % options.get("early", 0),
        )
        return READ_SCRIPTED + told, command


@lru_cache(maxsize=256)
def namespace_commands(namespace: str) -> NamespaceCommands:
    """The commands of a namespace, made once (1 ms and 400 KiB each)."""
    return NamespaceCommands(namespace)


def needs_script(options: Collection[str]) -> bool:
    """Whether a READ with these options is done by script."""
    return "ttl" in options or "ver" in options or "early" in options


def _expiry(options: Mapping[str, int]) -> int:
    """The time to live in milliseconds; 0 for none."""
    return options["px"] if "px" in options else options.get("ex", 0) * 1000


def _write(
    key: bytes, value: bytes, options: Mapping[str, int], tokens: Mapping[str, bytes], world: Moment
) -> tuple[int, bytes]:
    expiry, stale = _expiry(options), options.get("stale", 0) * 1000
    fresh_until = milliseconds(world) + expiry if stale else 0
    condition = next((name for name in ("nx", "xx", "ver", "lease") if name in options), "")
    if not condition and "keepttl" not in options:
        if stale:
            value = in_envelope(value, fresh_until, stale)
        if expiry:
            return WRITE, encode_command(b"SET", key, value, b"PX", b"%d" % (expiry + stale))
        return WRITE, encode_command(b"SET", key, value)
    lifetime = b"keepttl" if "keepttl" in options else b"%d" % (expiry + stale) if expiry else b""
    command = _run(
        WRITE_SCRIPT,
        key,
        world,
        condition.encode("ascii"),
        tokens.get(condition, b""),
        world.stamp() if condition == "ver" else NO_STAMP,
        lifetime,
        b"%d" % fresh_until,
        b"%d" % stale,
        value,
    )
    return WRITE_VERSION if condition == "ver" else WRITE, command


def _run(script: Script, key: bytes, world: Moment, *arguments: bytes) -> bytes:
    return encode_command(b"EVALSHA", script.name, b"1", key, b"%d" % milliseconds(world), *arguments)


def encode_command(*words: bytes) -> bytes:
    """A RESP command (https://redis.io/docs/latest/develop/reference/protocol-spec), its CRLF as said above."""
    parts = [b"\r\n*%d" % len(words)]
    for word in words:
        parts.append(bulk_head(len(word)))
        parts.append(word)
    return b"".join(parts)


LOAD_SCRIPTS: Final = [encode_command(b"SCRIPT", b"LOAD", script.text) for script in SCRIPTS]
ASK_FOR_HISTORY: Final = encode_command(b"INFO", b"replication")
_HISTORY: Final = b"master_replid:"


def history_of(info: object) -> bytes:
    """The id of a node's data set, from the answer to INFO replication; empty if it is not there.

    A master gives its stream of changes a new id when it becomes one, and when its first replica comes
    (https://redis.io/docs/latest/commands/info, and `changeReplicationId` in its source).
    """
    if not isinstance(info, bytes):
        return b""
    return info.partition(_HISTORY)[2].partition(b"\r")[0].strip()
