"""Redis reply -> line: what a node's answer means, and how a client is told."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

import hiredis

from wireproto.core.commands import (
    DELETE,
    DELETE_IF,
    INCR,
    READ,
    READ_SCRIPTED,
    TELL_LEASE,
    TELL_TTL,
    TELL_VERSION,
    VERB_NAMES,
    WRITE,
    WRITE_VERSION,
)
from wireproto.core.envelope import NO_STAMP, is_enveloped, is_vacancy, read_envelope
from wireproto.core.reply_lines import CONFLICT, MISS, OK, error_line
from wireproto.core.stored_values import MARKER, from_stored
from wireproto.core.verbs import MAX_LEASE_MS

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
    "NOSCRIPT": ("DOWN", "the node does not know the scripts of this server; it is being told"),
}
"""What Redis says when it refuses a command without executing it, as our codes."""

RETRY_AFTER_REFUSAL_MS: Final = 100

_IN_SCRIPT: Final = re.compile(r"(?:ERR Error running script |@user_script).*?: -?([A-Z]+) ")
"""How Redis before version 7 tells what a command in a script was refused with."""
_NOT_PERMITTED: Final = ("ERR ACL failure in script", "can't run this command or subcommand")
"""How Valkey, and Redis, tell that the node's user may not run a command that is in a script."""
_NO_COUNTER: Final = "the value is no counter"
_TYPE_TEXTS: Final = {"overflow": "the counter would pass what 64 bits hold"}


def was_executed(kind: int, reply: object) -> bool:
    """Whether a WRITE, DELETE or INCR has done its part on the node: not if it was refused, or a condition failed.

    To delete what is not there counts: the DELETE before may be what replicas do not have yet.
    """
    if kind in (DELETE, DELETE_IF):
        return reply == 1 or reply == 0
    return isinstance(reply, bytes)


def is_refused_by_replica(reply: object) -> bool:
    """Whether a node refused a write because it is not a master."""
    return isinstance(reply, hiredis.ReplyError) and _kind_of_refusal(str(reply)) == "READONLY"


def lacks_scripts(reply: object) -> bool:
    """Whether a node does not know the scripts any more: somebody has flushed them."""
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT")


def render(kind: int, reply: object, now_ms: Callable[[], int]) -> tuple[str, bytes]:
    """A node's reply as an outcome (`OK`, `MISS`, `CONFLICT` or an error's code) and a line without its tag.

    `now_ms` gives the milliseconds since 1970. It is asked only for a value that has a time of its own.
    """
    if isinstance(reply, hiredis.ReplyError):
        return _render_refusal(str(reply))
    if kind == READ:
        return _render_value(reply, now_ms)
    if kind >= READ_SCRIPTED:
        return _render_scripted(kind - READ_SCRIPTED, reply)
    line = _render_change(kind, reply)
    return _unexpected(kind) if line is None else (line.partition(b" ")[0].strip().decode("ascii"), line)


def _render_change(kind: int, reply: object) -> bytes | None:
    """The reply to a request that changes something; None if it does not fit."""
    if kind in (WRITE, WRITE_VERSION):
        if reply is None:
            return CONFLICT
        if kind == WRITE:
            return OK if reply == b"OK" else None
        return b"OK ver=%b\n" % reply if isinstance(reply, bytes) and _is_stamp(reply) else None
    if kind == INCR:
        return b"OK %d:%b\n" % (len(reply), reply) if isinstance(reply, bytes) and _NUMBER.fullmatch(reply) else None
    if kind == DELETE_IF and reply == -1:
        return CONFLICT
    if type(reply) is int and reply in (0, 1):
        return OK if reply else MISS
    return None


_STAMP: Final = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_NUMBER: Final = re.compile(rb"-?[0-9]{1,20}")


def _is_stamp(word: object) -> bool:
    """Whether it may stand in a reply: a node could send anything."""
    return isinstance(word, bytes) and _STAMP.fullmatch(word) is not None


def _render_value(reply: object, now_ms: Callable[[], int]) -> tuple[str, bytes]:
    """The reply to a GET."""
    if reply is None:
        return "MISS", MISS
    if not isinstance(reply, bytes):
        return _unexpected(READ)
    if is_vacancy(reply):
        return "MISS", MISS
    if is_enveloped(reply):
        envelope = read_envelope(reply)
        if envelope is None:
            return _CORRUPT
        if not envelope.is_fresh(now_ms()):
            return "MISS", MISS
        reply = envelope.value
    return hit(reply, b"")


_CORRUPT: Final = ("CORRUPT", error_line("CORRUPT", "the stored value is of no known format"))


def hit(stored: bytes, options: bytes) -> tuple[str, bytes]:
    """The reply to a READ that has found a value, which is stored so, without envelope."""
    value: bytes | None = stored
    if stored and stored[0] == MARKER:
        value = from_stored(stored)
        if value is None:
            return _CORRUPT
    assert value is not None
    return "OK", b"OK %d:%b%b\n" % (len(value), value, options)


def _render_scripted(told: int, reply: object) -> tuple[str, bytes]:
    """The reply to a READ by script. What is to be told of it: `TELL_TTL` and so on, added up."""
    if not (isinstance(reply, list) and len(reply) == 5):
        return _unexpected(READ)
    stored, left, lease, held, stale = reply
    if type(left) is not int or type(held) is not int or not (lease is None or _is_stamp(lease)):
        return _unexpected(READ)
    options = b""
    if told & TELL_LEASE and lease is not None:
        options = b" lease=%b" % lease
    elif told & TELL_LEASE and held > 0 and (stale or stored is None):
        options = b" held=%d" % min(held, MAX_LEASE_MS)  # more is told by a clock that was set back
    if stored is None:
        return "MISS", b"MISS%b\n" % options
    if not isinstance(stored, bytes):
        return _unexpected(READ)
    version = NO_STAMP
    if is_enveloped(stored):
        envelope = read_envelope(stored)
        if envelope is None:
            return _CORRUPT
        version, stored = envelope.version, envelope.value
    if stale:
        return hit(stored, b" stale" + options)
    if told & TELL_VERSION and _is_stamp(version):
        options = b" ver=%b%b" % (version, options)
    if told & TELL_TTL and left >= 0:
        options = b" ttl=%d%b" % (left, options)
    return hit(stored, options)


def _kind_of_refusal(text: str) -> str:
    """The first word of a node's error; of one in a script, that of the command which was refused there."""
    if any(words in text for words in _NOT_PERMITTED):
        return "NOPERM"
    inner = _IN_SCRIPT.match(text)
    return inner[1] if inner else text.partition(" ")[0]


def _render_refusal(text: str) -> tuple[str, bytes]:
    word = _kind_of_refusal(text)
    if word == "TYPE":
        return "TYPE", error_line("TYPE", _TYPE_TEXTS.get(text.partition(" ")[2], _NO_COUNTER))
    if word == "WRONGTYPE":
        return "CORRUPT", error_line("CORRUPT", "the key holds something that is not a value of this cache")
    code, meaning = _NOT_EXECUTED.get(word, ("INTERNAL", ""))
    if code == "INTERNAL":
        known = word if word.isascii() and word.isalpha() and len(word) <= 16 else "ERR"
        return code, error_line(code, f"the node answered with an error of kind {known}")
    return code, error_line(code, meaning, RETRY_AFTER_REFUSAL_MS if code == "BUSY" else None)


def _unexpected(kind: int) -> tuple[str, bytes]:
    return "INTERNAL", error_line("INTERNAL", f"the node gave a reply that does not fit {VERB_NAMES[kind]}")
