"""A client's reading of replies: any cut of the bytes gives the same replies.

It reads word by word; what has been read is kept, so that nothing is looked at twice and a value that arrives in a
thousand pieces is joined once. The common replies are taken before they come here, by `Waiting.take_plain`.

The grammar is held strictly: one space between words, no empty line, no CR, nothing but what the protocol names. A
server that strays from it is not one whose answers should be given to anybody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from wireproto.errors import BY_CODE, InternalError, ProtocolError, RequestError

OK: Final = "OK"
MISS: Final = "MISS"
CONFLICT: Final = "CONFLICT"
ERR: Final = "ERR"

MAX_REPLY_OVERHEAD: Final = 4096
"""Bytes of a reply outside its arguments. The longest that a server has to say, an error's text, is far below."""
MAX_REPLY_ARGUMENTS: Final = 64 * 1024 * 1024
"""Bytes of a reply's arguments together: the largest value that a server can be configured for."""

_LENGTH: Final = re.compile(rb"(0|[1-9][0-9]{0,8}):")
_PART_OF_LENGTH: Final = re.compile(rb"(?:0|[1-9][0-9]{0,8})?\Z")
_WORD: Final = re.compile(rb"[^ \n]*")
_TAG: Final = re.compile(rb"#([A-Za-z0-9_-]{1,16})")
_CODE: Final = re.compile(rb"[A-Z]{1,16}")
_OPTION: Final = re.compile(rb"([a-z][a-z0-9_]*)(?:=([A-Za-z0-9._+-]+))?")

_STATUSES: Final[Mapping[bytes, str]] = {status.encode("ascii"): status for status in (OK, MISS, CONFLICT, ERR)}
_DIGITS: Final = frozenset(b"0123456789")
_SPACE, _LF, _COLON, _HASH = b" \n:#"
_NO_OPTIONS: Final[Mapping[str, str | None]] = MappingProxyType({})


def whole_number(text: str) -> int:
    """A number that a reply tells. Raises ProtocolError."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ProtocolError("what should be a whole number in the reply is none")
    return int(text)


class Reply:
    """One reply. `code` and `text` are those of an error; an option without a value is None."""

    __slots__ = ("arguments", "code", "options", "status", "tag", "text")

    def __init__(self, tag: bytes, status: str, arguments: tuple[bytes, ...] = ()) -> None:
        self.tag = tag
        self.status = status
        self.arguments = arguments
        self.options = _NO_OPTIONS
        self.code = ""
        self.text = ""

    def error(self) -> RequestError:
        """The error that this reply tells. A code from a later version of the protocol is an InternalError: what such a
        request did is not known."""
        retry = self.options.get("retry")
        retry_after = int(retry) / 1000 if retry and retry.isdigit() and len(retry) < 10 else None
        kind = BY_CODE.get(self.code)
        if kind is None:
            return InternalError(f"{self.code}: {self.text}", retry_after=retry_after)
        return kind(self.text, retry_after=retry_after)


class _NeedMoreError(Exception):
    """The word at this position is not complete; `need` is how many bytes from there on would do (0: not known)."""

    def __init__(self, position: int, need: int = 0) -> None:
        self.position = position
        self.need = need


class ReplyParser:
    """Reads replies from bytes as they come. `max_arguments` bounds the bytes of one reply's arguments.

    `feed` it what has come, then ask for `next` until that is None. In between, whoever can read a reply faster may do
    so: `data` from `position` on, where `is_between` says that a reply begins, and set `position` behind it.
    """

    def __init__(self, max_arguments: int = MAX_REPLY_ARGUMENTS) -> None:
        self.data = b""
        self.position = 0
        self._max_arguments = max_arguments
        self._held = bytearray()
        self._need = 0
        self._fault: ProtocolError | None = None
        self._begin()

    def _begin(self) -> None:
        """Forget the reply that was being read, for the next."""
        self._tag = b""
        self._status = ""
        self._code = ""
        self._text: str | None = None
        self._arguments: list[bytes] = []
        self._options: dict[str, str | None] = {}
        self._overhead = 0
        self._size = 0

    @property
    def is_between(self) -> bool:
        """Whether nothing of the reply at `position` has been read."""
        return not self._overhead

    def feed(self, chunk: bytes) -> None:
        """Take what has come, when all that came before has been read."""
        self.position = 0
        if not self._held:
            self.data = chunk
            return
        self._held += chunk
        if len(self._held) >= self._need:
            self.data = bytes(self._held)
            self._held.clear()

    def next(self) -> Reply | None:
        """The next reply, or None when there is no whole one.

        Raises ProtocolError, now and ever after, where the bytes are no reply.
        """
        if self._fault is not None:
            raise self._fault
        data = self.data
        if self.position < len(data):
            try:
                return self._read_words(data)
            except _NeedMoreError as more:
                self._held += data[more.position :]
                self._need = more.need
            except ProtocolError as fault:
                self._fault = fault
                raise
        self.data = b""
        self.position = 0
        return None

    def _read_words(self, data: bytes) -> Reply:
        """Go on with the present reply to its end. Raises _NeedMoreError if the data ends inside of it."""
        position, end = self.position, len(data)
        while True:
            if position == end:
                raise _NeedMoreError(position)
            byte = data[position]
            if byte in _DIGITS and self._status and self._status != ERR and not self._options:
                stop = self._argument(data, position)
            else:
                text_follows = byte == _COLON and self._code
                stop = data.find(b"\n", position) if text_follows else self._end_of_word(data, position)
                if not 0 <= stop < end:
                    self._check_overhead(end - position)
                    raise _NeedMoreError(position)
                if text_follows:
                    self._take_text(data[position + 1 : stop])
                else:
                    self._take_word(data[position:stop])
                self._overhead += stop + 1 - position
                self._check_overhead(0)
            position = stop + 1
            if data[stop] == _LF:
                self.position = position
                return self._finish()

    def _check_overhead(self, waiting: int) -> None:
        if self._overhead + waiting > MAX_REPLY_OVERHEAD:
            raise ProtocolError(f"a reply has more than {MAX_REPLY_OVERHEAD} bytes outside its arguments")

    @staticmethod
    def _end_of_word(data: bytes, position: int) -> int:
        found = _WORD.match(data, position)
        assert found is not None
        return found.end()

    def _argument(self, data: bytes, position: int) -> int:
        """Take an argument; the position of the space or LF behind it."""
        found = _LENGTH.match(data, position)
        if found is None:
            if _PART_OF_LENGTH.match(data, position):
                raise _NeedMoreError(position)
            raise ProtocolError("a length is 1 to 9 digits without sign or leading zero, then a colon")
        start = found.end()
        stop = start + int(found[1])
        if self._size + stop - start > self._max_arguments:
            raise ProtocolError(f"the arguments of a reply have more than {self._max_arguments} bytes")
        if stop >= len(data):
            raise _NeedMoreError(position, stop + 1 - position)
        if data[stop] not in (_SPACE, _LF):
            raise ProtocolError("an argument is longer than its length says")
        self._arguments.append(data[start:stop])
        self._size += stop - start
        self._overhead += start + 1 - position
        self._check_overhead(0)
        return stop

    def _take_text(self, text: bytes) -> None:
        if b"\r" in text:
            raise ProtocolError("the text of an error holds a CR")
        self._text = text.decode("utf-8", "replace")

    def _take_word(self, word: bytes) -> None:
        """Take a tag, a status, a code or an option, whichever is due."""
        if not self._status:
            if word[:1] == b"#" and not self._tag:
                tag = _TAG.fullmatch(word)
                if tag is None:
                    raise ProtocolError("a tag is # and 1 to 16 of A-Z a-z 0-9 - _")
                self._tag = tag[1]
                return
            status = _STATUSES.get(word)
            if status is None:
                raise ProtocolError("a reply begins with OK, MISS, CONFLICT or ERR; is this another protocol?")
            self._status = status
        elif self._status == ERR and not self._code:
            if not _CODE.fullmatch(word):
                raise ProtocolError("the code of an error is in capital letters")
            self._code = word.decode("ascii")
        else:
            self._take_option(word)

    def _take_option(self, word: bytes) -> None:
        option = _OPTION.fullmatch(word)
        if option is None:
            raise ProtocolError("an option is name or name=value, after the arguments")
        name = option[1].decode("ascii")
        if name in self._options:
            raise ProtocolError("an option is given twice")
        self._options[name] = None if option[2] is None else option[2].decode("ascii")

    def _finish(self) -> Reply:
        """The reply whose line has ended."""
        if not self._status:
            raise ProtocolError("a tag without a status")
        if self._status == ERR and self._text is None:
            raise ProtocolError("an error has a code and a text")
        reply = Reply(self._tag, self._status, tuple(self._arguments))
        if self._options:
            reply.options = self._options
        reply.code, reply.text = self._code, self._text or ""
        self._begin()
        return reply
