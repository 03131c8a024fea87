"""Verb <-> Redis command: the one place that knows both languages.

Every request becomes exactly one Redis command with exactly one reply, so that a node's answers can be matched by
counting. A value's stored form is `stored_values`' and `sealing`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

import hiredis

from wireproto.core.stored_values import MARKER, from_stored
from wireproto.core.verbs import Verb
from wireproto.core.wire import MAX_KEY

READ: Final = 1
WRITE: Final = 2
DELETE: Final = 3
TOUCH: Final = 4
"""The kinds of replies to expect, each numbered as its verb."""
READ_TTL: Final = 10
"""A READ that also wants the time to live."""

VERB_NAMES: Final[Mapping[int, str]] = {
    READ: "READ",
    WRITE: "WRITE",
    DELETE: "DELETE",
    TOUCH: "TOUCH",
    READ_TTL: "READ",
}

_READ_TTL_SCRIPT: Final = b"return {redis.call('GET',KEYS[1]),redis.call('PTTL',KEYS[1])}"
"""Value and time to live of the same moment; GET and PTTL one after the other can be of two different values."""

OK: Final = b"OK\n"
MISS: Final = b"MISS\n"
CONFLICT: Final = b"CONFLICT\n"


def error_line(code: str, text: str, retry_ms: int | None = None) -> bytes:
    """An error reply without its tag."""
    if retry_ms is None:
        return f"ERR {code} :{text}\n".encode()
    return f"ERR {code} retry={retry_ms} :{text}\n".encode()


def bulk_head(length: int) -> bytes:
    """The line before so many bytes in RESP, and the end of the line before that."""
    return b"\r\n$%d\r\n" % length


MAX_BULK_HEAD: Final = 4096
BULK_HEADS: Final[list[bytes]] = [bulk_head(length) for length in range(MAX_BULK_HEAD)]
"""`BULK_HEADS[n]` is `bulk_head(n)`. A look-up costs 20 ns, formatting 90."""
EX_HEAD: Final = bulk_head(2) + b"EX"
PX_HEAD: Final = bulk_head(2) + b"PX"


class PlainVerb(NamedTuple):
    """A verb as the hot loop meets it."""

    word: bytes
    """With the space behind it."""
    kind: int
    """Of reply to expect."""
    heads: list[bytes]
    """What the command begins with, by the length of the key."""


class NamespaceCommands:
    """Redis commands for the keys of one namespace, as pieces to be joined.

    A command's head depends only on the key's length, so heads are made once: two pieces cost 40 ns where formatting
    the whole command costs 270. A command here begins with the CRLF that ends the one before it, and ends without its
    own, so that nothing has to be appended to a key: `node_pipeline` puts that right at the ends of each write.
    """

    __slots__ = ("expiring_write_heads", "plain", "prefix", "read_heads")

    def __init__(self, namespace: str) -> None:
        prefix = namespace.encode("ascii") + b":"
        self.prefix = prefix
        lengths = range(len(prefix), len(prefix) + MAX_KEY + 1)
        self.read_heads = [b"\r\n*2\r\n$3\r\nGET\r\n$%d\r\n%b" % (length, prefix) for length in lengths]
        self.expiring_write_heads = [b"\r\n*5\r\n$3\r\nSET\r\n$%d\r\n%b" % (length, prefix) for length in lengths]
        write_heads = [b"\r\n*3\r\n$3\r\nSET\r\n$%d\r\n%b" % (length, prefix) for length in lengths]
        delete_heads = [b"\r\n*2\r\n$6\r\nUNLINK\r\n$%d\r\n%b" % (length, prefix) for length in lengths]
        self.plain: dict[bytes, PlainVerb] = {
            verb.word[:4]: verb
            for verb in (
                PlainVerb(b"READ ", READ, self.read_heads),
                PlainVerb(b"GET ", READ, self.read_heads),
                PlainVerb(b"WRITE ", WRITE, write_heads),
                PlainVerb(b"SET ", WRITE, write_heads),
                PlainVerb(b"DELETE ", DELETE, delete_heads),
                PlainVerb(b"DEL ", DELETE, delete_heads),
            )
        }
        """By the first four bytes, which tell them apart."""

    def command(self, verb: Verb, arguments: list[bytes], options: Mapping[str, int]) -> tuple[int, bytes]:
        """The kind of reply to expect and the command, for any request that goes to a node.

        A value is given as it is to be stored.
        """
        key = self.prefix + arguments[0]
        if verb is Verb.READ:
            if "ttl" in options:
                return READ_TTL, encode_command(b"EVAL", _READ_TTL_SCRIPT, b"1", key)
            return READ, encode_command(b"GET", key)
        if verb is Verb.WRITE:
            return WRITE, encode_command(b"SET", key, arguments[1], *_write_options(options))
        if verb is Verb.TOUCH:
            return TOUCH, encode_command(b"PEXPIRE", key, b"%d" % _milliseconds(options))
        return DELETE, encode_command(b"UNLINK", key)


@lru_cache(maxsize=256)
def namespace_commands(namespace: str) -> NamespaceCommands:
    """The commands of a namespace, made once (0.5 ms and 300 KiB each)."""
    return NamespaceCommands(namespace)


def _milliseconds(options: Mapping[str, int]) -> int:
    return options["px"] if "px" in options else options["ex"] * 1000


def _write_options(options: Mapping[str, int]) -> list[bytes]:
    words: list[bytes] = []
    if "ex" in options or "px" in options:
        words += (b"PX", b"%d" % _milliseconds(options))
    words += [name.upper().encode("ascii") for name in ("keepttl", "nx", "xx") if name in options]
    return words


def encode_command(*words: bytes) -> bytes:
    """A RESP command (https://redis.io/docs/latest/develop/reference/protocol-spec), its CRLF as said above."""
    parts = [b"\r\n*%d" % len(words)]
    for word in words:
        parts.append(bulk_head(len(word)))
        parts.append(word)
    return b"".join(parts)


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


# -- replies

_NOT_EXECUTED: Final[Mapping[str, tuple[str, str]]] = {
    "OOM": ("BUSY", "the node is out of memory"),
    "BUSY": ("BUSY", "the node is busy with a script"),
    "LOADING": ("DOWN", "the node is loading its data"),
    "READONLY": ("DOWN", "the node is not a master"),
    "MASTERDOWN": ("DOWN", "the node has lost its master"),
    "MISCONF": ("DOWN", "the node refuses writes because it cannot save"),
    "NOREPLICAS": ("DOWN", "the node refuses writes because it has too few replicas"),
    "NOAUTH": ("DOWN", "the node wants other credentials"),
    "NOPERM": ("DOWN", "the node does not permit this to its user"),
    "MOVED": ("DOWN", "the node does not own this key"),
    "CLUSTERDOWN": ("DOWN", "the node's cluster is down"),
}
"""What Redis says when it refuses a command without executing it, as our codes."""

RETRY_AFTER_REFUSAL_MS: Final = 100


def was_executed(kind: int, reply: object) -> bool:
    """Whether a WRITE or DELETE has done its part on the node: not if it was refused, or a condition did not hold.

    To delete what is not there counts: the DELETE before may be what replicas do not have yet.
    """
    return reply == b"OK" if kind == WRITE else kind == DELETE and (reply == 1 or reply == 0)


def is_refused_by_replica(reply: object) -> bool:
    """Whether a node refused a write because it is not a master."""
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith("READONLY")


def render(kind: int, reply: object) -> tuple[str, bytes]:
    """A node's reply as an outcome (`OK`, `MISS`, `CONFLICT` or an error's code) and a line without its tag."""
    if isinstance(reply, hiredis.ReplyError):
        return _render_refusal(str(reply))
    if kind == READ:
        return _render_value(reply, b"")
    if kind == WRITE:
        if reply == b"OK":
            return "OK", OK
        if reply is None:
            return "CONFLICT", CONFLICT
    elif kind == READ_TTL:
        if isinstance(reply, list) and len(reply) == 2 and type(reply[1]) is int:
            return _render_value(reply[0], b" ttl=%d" % reply[1] if reply[1] >= 0 else b"")
    elif reply == 1 or reply == 0:
        return ("OK", OK) if reply else ("MISS", MISS)
    return _unexpected(kind)


def _render_value(reply: object, options: bytes) -> tuple[str, bytes]:
    if reply is None:
        return "MISS", MISS
    if not isinstance(reply, bytes):
        return _unexpected(READ)
    value: bytes | None = reply
    if reply and reply[0] == MARKER:
        value = from_stored(reply)
        if value is None:
            return "CORRUPT", error_line("CORRUPT", "the stored value is of no known format")
    assert value is not None
    return "OK", b"OK %d:%b%b\n" % (len(value), value, options)


def _render_refusal(text: str) -> tuple[str, bytes]:
    word = text.partition(" ")[0]
    if word == "WRONGTYPE":
        return "CORRUPT", error_line("CORRUPT", "the key holds something that is not a value of this cache")
    code, meaning = _NOT_EXECUTED.get(word, ("INTERNAL", ""))
    if code == "INTERNAL":
        known = word if word.isascii() and word.isalpha() and len(word) <= 16 else "ERR"
        return code, error_line(code, f"the node answered with an error of kind {known}")
    return code, error_line(code, meaning, RETRY_AFTER_REFUSAL_MS if code == "BUSY" else None)


def _unexpected(kind: int) -> tuple[str, bytes]:
    return "INTERNAL", error_line("INTERNAL", f"the node gave a reply that does not fit {VERB_NAMES[kind]}")
