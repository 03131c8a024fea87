"""How each protocol says a request, and what the reply to it must be, byte for byte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Reply:
    """One reply found in a stream: where it ends, and `OK`, `MISS` or `ERR` and its code."""

    end: int
    status: str


class BrokenReplyError(ValueError):
    """What was received is no reply of this protocol: the rest of the stream means nothing."""


class Dialect(Protocol):
    """A protocol that the generator speaks. Without a tag, replies come in the order of the requests."""

    name: str

    def login(self, secret: str) -> bytes:
        """A request that authenticates the connection; answered by one line."""
        ...

    def logged_in(self, line: bytes) -> bool:
        """Whether that line means yes."""
        ...

    def read(self, key: bytes) -> bytes:
        """A request for the value of a key."""
        ...

    def write(self, key: bytes, value: bytes) -> bytes:
        """A request that sets it."""
        ...

    def value(self, value: bytes) -> bytes:
        """The reply to a read."""
        ...

    def written(self) -> bytes:
        """The reply to a write."""
        ...

    def parse(self, data: bytes, start: int) -> Reply | None:
        """The reply that begins at `start`, or None when it is not whole. Raises BrokenReplyError."""
        ...


class Wireproto:
    """Our own protocol (docs/PROTOCOL.md)."""

    name = "wireproto"

    def login(self, secret: str) -> bytes:
        return b"AUTH %d:%b\n" % (len(secret.encode()), secret.encode())

    def logged_in(self, line: bytes) -> bool:
        return line.startswith(b"OK ")

    def read(self, key: bytes) -> bytes:
        return b"READ %d:%b\n" % (len(key), key)

    def write(self, key: bytes, value: bytes) -> bytes:
        return b"WRITE %d:%b %d:%b\n" % (len(key), key, len(value), value)

    def value(self, value: bytes) -> bytes:
        return b"OK %d:%b\n" % (len(value), value)

    def written(self) -> bytes:
        return b"OK\n"

    def parse(self, data: bytes, start: int) -> Reply | None:
        colon, line_end = data.find(b":", start), data.find(b"\n", start)
        if data.startswith(b"OK ", start) and colon != -1 and (line_end == -1 or colon < line_end):
            end = colon + 1 + _length(data[start + 3 : colon])
            line_end = data.find(b"\n", end)  # a value may hold LF; options may stand behind it
            return None if line_end == -1 else Reply(line_end + 1, "OK")
        if line_end == -1:
            return None
        words = data[start:line_end].decode(errors="replace").split(" ")
        if words[0] == "ERR":
            return Reply(line_end + 1, " ".join(words[:2]))
        if words[0] not in ("OK", "MISS", "CONFLICT"):
            raise BrokenReplyError(words[0][:20])
        return Reply(line_end + 1, words[0])


class Resp:
    """What Redis and what stands in front of it speak: RESP, version 2."""

    name = "resp"

    def login(self, secret: str) -> bytes:
        return _command(b"AUTH", secret.encode())

    def logged_in(self, line: bytes) -> bool:
        return line == b"+OK\r\n"

    def read(self, key: bytes) -> bytes:
        return _command(b"GET", key)

    def write(self, key: bytes, value: bytes) -> bytes:
        return _command(b"SET", key, value)

    def value(self, value: bytes) -> bytes:
        return b"$%d\r\n%b\r\n" % (len(value), value)

    def written(self) -> bytes:
        return b"+OK\r\n"

    def parse(self, data: bytes, start: int) -> Reply | None:
        line_end = data.find(b"\r\n", start)
        if line_end == -1:
            return None
        kind, text = data[start : start + 1], data[start + 1 : line_end]
        if kind == b"$" and text != b"-1":
            end = line_end + 2 + _length(text) + 2
            return Reply(end, "OK") if end <= len(data) else None
        if kind not in (b"+", b"-", b":", b"$"):
            raise BrokenReplyError(repr(data[start : start + 20]))
        status = {b"$": "MISS", b"-": "ERR " + text.decode(errors="replace").partition(" ")[0]}.get(kind, "OK")
        return Reply(line_end + 2, status)


def _command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _length(text: bytes) -> int:
    if not text.isdigit():
        raise BrokenReplyError(repr(text[:20]))
    return int(text)


DIALECTS: dict[str, Dialect] = {"wireproto": Wireproto(), "resp": Resp()}
