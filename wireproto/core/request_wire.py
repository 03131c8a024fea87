"""The server's reading of requests: any cut of the bytes gives the same frames.

Only the uncommon frame comes here; plain requests are read by `dispatch`. What is read here is consumed word by word,
so that a value that arrives in a thousand pieces is joined once, and an argument that is over its limit is skipped
without being held.
"""

from __future__ import annotations

import re
from typing import Final

from wireproto.core.limits import Limits
from wireproto.core.verbs import BY_NAME, Argument, VerbSpec, check_options
from wireproto.core.wire import MAX_CREDENTIAL, MAX_TAG

_LENGTH: Final = re.compile(rb"0|[1-9][0-9]{0,8}")
_WORD: Final = re.compile(rb"[^ \r\n]*")
_TAG: Final = re.compile(rb"[A-Za-z0-9_-]{1,16}")
_VERB: Final = re.compile(rb"[A-Za-z]{1,16}")
_OPTION: Final = re.compile(rb"([a-z][a-z0-9_]*)(?:=([A-Za-z0-9._+-]+))?")
_QUOTED: Final = re.compile(rb'[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+')
_ESCAPE: Final = re.compile(rb"\\(?:([\"\\nrt])|x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_PLAIN_ESCAPES: Final = {b'"': b'"', b"\\": b"\\", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_NO_VERB: Final = "a frame begins with a verb; is this another protocol?"
MAX_QUOTED: Final = 8 * 1024
"""The longest quoted argument as typed, in bytes: hands do not type more, and it is scanned, unlike `length:bytes`."""

_SPACE, _CR, _LF, _QUOTE, _HASH, _COLON = b' \r\n"#:'
_DIGITS: Final = frozenset(b"0123456789")


def is_tag(word: bytes) -> bool:
    """Whether this may stand behind the # of a tag."""
    return (word.isalnum() and len(word) <= MAX_TAG) or _TAG.fullmatch(word) is not None


class Frame:
    """One request as it was read.

    `error` is the code of what is wrong with it ("" if nothing) and `text` says it for a person. After `PROTO` the
    stream is not to be read any further.
    """

    __slots__ = ("arguments", "error", "options", "spec", "tag", "text", "tokens")

    def __init__(self) -> None:
        self.tag = b""
        self.spec: VerbSpec | None = None
        self.arguments: list[bytes] = []
        self.options: dict[str, int] = {}
        self.tokens: dict[str, bytes] = {}
        """The values of those options that take a token."""
        self.error = ""
        self.text = ""

    def refuse(self, code: str, text: str) -> None:
        """Note what is wrong; the first fault stands."""
        if not self.error:
            self.error, self.text = code, text


EMPTY_LINE: Final = Frame()
"""What `read` gives for an empty line. There is nothing to answer, but a flood of them is to cost its sender turns."""


class _BadStreamError(Exception):
    """The bytes are no frame; the text says why."""


class _NeedMoreError(Exception):
    """The word at this position is not complete; `position` is where it begins."""

    def __init__(self, position: int) -> None:
        self.position = position


class RequestParser:
    """Reads frames one by one from bytes that its owner holds.

    `read(data, position)` gives `(frame, next position)`. With `frame` None the frame is not complete: the owner keeps
    what lies behind the position and calls again when at least `need` bytes are there (0 when that is not known).
    """

    __slots__ = (
        "_after_argument",
        "_frame",
        "_given",
        "_limits",
        "_overhead",
        "_scanned",
        "_size",
        "_skip",
        "_verb_seen",
        "need",
        "trusted",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.trusted = False
        """Set after AUTH: until then a whole frame is held to `max_frame_before_auth`."""
        self.need = 0
        self._begin()

    def _begin(self) -> None:
        self._frame = Frame()
        self._given: dict[str, str | None] = {}
        self._verb_seen = False
        self._after_argument = False
        self._overhead = 0
        self._size = 0
        self._skip = 0
        self._scanned = 0
        """How much of a quoted argument has been looked at: 8 KiB that come byte by byte would take 2 s else."""

    @property
    def in_frame(self) -> bool:
        """Whether a part of a frame has been consumed."""
        return self._size > 0

    @property
    def held(self) -> int:
        """Bytes of the arguments of a frame that is not whole."""
        return sum(map(len, self._frame.arguments))

    def forget(self) -> None:
        """Drop what there is of a frame that will not become whole."""
        self._begin()

    def read(self, data: bytes, position: int) -> tuple[Frame | None, int]:
        """Go on with the current frame; see the class."""
        self.need = 0
        try:
            return self._read(data, position)
        except _NeedMoreError as more:
            return None, more.position
        except _BadStreamError as bad:
            frame = self._frame
            frame.error, frame.text = "PROTO", str(bad)
            self._begin()
            return frame, len(data)

    def _read(self, data: bytes, position: int) -> tuple[Frame | None, int]:
        end = len(data)
        while True:
            if self._skip:
                position = self._skip_some(position, end)
            if position >= end:
                raise _NeedMoreError(position)
            byte = data[position]
            if byte in (_LF, _CR):
                position = self._end_of_line(data, position, end)
                if self._verb_seen or self._frame.tag:
                    return self._finish(), position
                self._begin()
                return EMPTY_LINE, position
            if byte == _SPACE:
                self._after_argument = False
                position += 1
                self._consumed(1, 1)
            elif self._after_argument:
                raise _BadStreamError("an argument is longer than its length says")
            elif byte in _DIGITS and self._verb_seen:
                position = self._length_prefixed(data, position, end)
            elif byte == _QUOTE and self._verb_seen:
                position = self._quoted(data, position, end)
            else:
                position = self._word(data, position, end)

    def _consumed(self, overhead: int, size: int) -> None:
        self._check_overhead(overhead)
        self._overhead += overhead
        self._size += size
        if not self.trusted and self._size > self._limits.max_frame_before_auth:
            raise _BadStreamError(f"a frame before AUTH has at most {self._limits.max_frame_before_auth} bytes")

    def _check_overhead(self, more: int) -> None:
        """Before so many bytes are looked at: so the same is said of them when they are the beginning of a word."""
        if self._overhead + more > self._limits.max_frame_overhead:
            raise _BadStreamError(f"more than {self._limits.max_frame_overhead} bytes outside the arguments")

    def _skip_some(self, position: int, end: int) -> int:
        taken = min(self._skip, end - position)
        self._skip -= taken
        return position + taken

    @staticmethod
    def _end_of_line(data: bytes, position: int, end: int) -> int:
        if data[position] == _LF:
            return position + 1
        if position + 1 == end:
            raise _NeedMoreError(position)
        if data[position + 1] != _LF:
            raise _BadStreamError("CR without LF")
        return position + 2

    # -- words

    def _length_prefixed(self, data: bytes, position: int, end: int) -> int:
        digits = _LENGTH.match(data, position)
        assert digits is not None
        self._check_overhead(digits.end() - position)
        if digits.end() == end:
            raise _NeedMoreError(position)
        if data[digits.end()] != _COLON:
            raise _BadStreamError("a length is 1 to 9 digits without sign or leading zero, then a colon")
        length = int(digits[0])
        start = digits.end() + 1
        stop = start + length
        if not self.trusted and self._size + stop - position > self._limits.max_frame_before_auth:
            raise _BadStreamError(f"a frame before AUTH has at most {self._limits.max_frame_before_auth} bytes")
        if not self._admit_argument(length):
            self._consumed(start - position, stop - position)
            self._skip = length
            self._after_argument = True
            return start
        if stop > end:
            self.need = stop - position
            raise _NeedMoreError(position)
        self._frame.arguments.append(data[start:stop])
        self._consumed(start - position, stop - position)
        self._after_argument = True
        return stop

    def _quoted(self, data: bytes, position: int, end: int) -> int:
        limit = min(end, position + MAX_QUOTED)
        found = _QUOTED.match(data, position + 1 + self._scanned, limit)
        assert found is not None
        stop = found.end()
        if stop == limit or data[stop] != _QUOTE:
            return self._not_closed(data, position, stop, limit)
        argument = self._unescape(data[position + 1 : stop])
        if self._admit_argument(len(argument)):
            self._frame.arguments.append(argument)
        self._consumed(0, stop + 1 - position)
        self._scanned = 0
        self._after_argument = True
        return stop + 1

    def _not_closed(self, data: bytes, position: int, scanned: int, limit: int) -> int:
        """Up to `limit` there is no end of the quoted argument at `position`; it may still come."""
        line_end = data.find(b"\n", scanned, limit)
        if line_end < 0:
            if limit - position >= MAX_QUOTED:
                raise _BadStreamError(f"a quoted argument has at most {MAX_QUOTED} bytes")
            self._scanned = scanned - position - 1
            raise _NeedMoreError(position)
        # The quoted form is for hands and cannot hold LF, so the frame ends here whatever was meant.
        self._frame.refuse("ARG", "a quoted argument is not closed")
        stop = line_end - 1 if data[line_end - 1] == _CR else line_end
        self._consumed(0, max(stop - position, 1))
        return stop

    def _unescape(self, text: bytes) -> bytes:
        def replace(found: re.Match[bytes]) -> bytes:
            if found[1]:
                return _PLAIN_ESCAPES[found[1]]
            if found[2]:
                return bytes((int(found[2], 16),))
            self._frame.refuse("ARG", r"a quoted argument takes the escapes \" \\ \n \r \t \xHH")
            return b""

        return _ESCAPE.sub(replace, text) if b"\\" in text else text

    def _word(self, data: bytes, position: int, end: int) -> int:
        if not data[position : position + 1].isalpha():
            self._begins_no_word(data[position])
        found = _WORD.match(data, position)
        stop = found.end() if found else position
        self._check_overhead(stop - position)
        if stop == end:
            raise _NeedMoreError(position)
        word = data[position:stop]
        if self._verb_seen:
            self._option(word)
        elif word[0] == _HASH and not self._frame.tag:
            if not is_tag(word[1:]):
                raise _BadStreamError("a tag is # and 1 to 16 of A-Z a-z 0-9 - _")
            self._frame.tag = word[1:]
        elif _VERB.fullmatch(word):
            self._verb_seen = True
            self._frame.spec = BY_NAME.get(word.upper())
            if self._frame.spec is None:
                self._frame.refuse("VERB", "no such verb; HELP lists them")
        else:
            raise _BadStreamError(_NO_VERB)
        self._consumed(stop - position, stop - position)
        return stop

    def _begins_no_word(self, byte: int) -> None:
        """Say so at once: whoever speaks another protocol, TLS for one, may wait for an answer in mid-word."""
        if self._verb_seen:
            raise _BadStreamError('an argument is length:bytes or "text", an option name or name=value')
        if byte != _HASH or self._frame.tag:
            raise _BadStreamError(_NO_VERB)

    def _option(self, word: bytes) -> None:
        found = _OPTION.fullmatch(word)
        if found is None:
            self._frame.refuse("ARG", "an option is name or name=value, its name in lower case")
            return
        name = found[1].decode("ascii")
        if name in self._given:
            self._frame.refuse("ARG", "an option is given twice")
        self._given[name] = None if found[2] is None else found[2].decode("ascii")

    # -- checks

    def _admit_argument(self, length: int) -> bool:
        """Whether to keep an argument of this length; if not, the reason is noted and its bytes are to be skipped."""
        frame, limits = self._frame, self._limits
        if length > limits.max_skipped:
            raise _BadStreamError(f"an argument of {length} bytes is not even skipped")
        if self._given:
            frame.refuse("ARG", "arguments come before options")
        spec = frame.spec
        if spec is None or frame.error:
            return False
        index = len(frame.arguments)
        if index >= len(spec.arguments):
            frame.refuse("ARG", _arity(spec))
            return False
        kind = spec.arguments[index]
        if kind is Argument.VALUE:
            if length > limits.max_value:
                frame.refuse("TOOBIG", f"a value has at most {limits.max_value} bytes")
        elif kind is Argument.KEY:
            if length == 0:
                frame.refuse("ARG", "the key is empty")
            elif length > limits.max_key:
                frame.refuse("ARG", f"a key has at most {limits.max_key} bytes")
        elif length > MAX_CREDENTIAL:
            frame.refuse("ARG", f"this argument has at most {MAX_CREDENTIAL} bytes")
        return not frame.error

    def _finish(self) -> Frame:
        frame, given = self._frame, self._given
        if not self._verb_seen:
            raise _BadStreamError("a tag without a verb")
        self._begin()
        spec = frame.spec
        if spec is None or frame.error:
            return frame
        if len(frame.arguments) < spec.required:
            frame.refuse("ARG", _arity(spec))
            return frame
        frame.options, frame.tokens, fault = check_options(spec, given)
        if fault:
            frame.refuse("ARG", fault)
        return frame


def _arity(spec: VerbSpec) -> str:
    names = " ".join(kind.value for kind in spec.arguments) or "no arguments"
    return f"{spec.verb.name} takes {names}; for example: {spec.example}"
