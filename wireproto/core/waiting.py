"""Who waits for which reply, and the hot loop of both clients: plain replies straight to those who wait.

A batch is what was submitted together, one request or a thousand. Its requests are numbered in a row, so that the tag
of a reply tells its place among the batch's answers, and a reply needs no object of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from wireproto.core.reply_wire import CONFLICT, MISS, OK, Reply
from wireproto.core.wire import MAX_TAG

if TYPE_CHECKING:
    from mypy_extensions import i64

W = TypeVar("W")

_LF: Final = 10
_SPACE: Final = 32
_HASH: Final = 35
_ZERO: Final = 48
_C: Final = 67
_K: Final = 75
_M: Final = 77
_O: Final = 79
_COLON: Final = 10
"""A colon, seen as a digit: it is the character behind 9."""
_GAP: Final = -16
"""A space, seen as a digit."""
_MAX_LENGTH: Final = 64 * 1024 * 1024
"""Bytes of a value that is taken here; the full parser knows what is too long."""
_DONE: Final = Reply(b"", OK)
_NOTHING: Final = Reply(b"", MISS)
_REFUSED: Final = Reply(b"", CONFLICT)
"""The replies that say no more than this, one object for all."""


class Batch(Generic[W]):
    """Requests that were submitted together. An answer is None until it has come; then it is a value (`OK` with one
    argument and nothing else), any other reply, or the RequestError that stands for one that never comes."""

    __slots__ = ("answers", "first", "missing", "owner", "requests")

    def __init__(self, requests: list[bytes], owner: W, first: int) -> None:
        self.requests = requests
        self.owner = owner
        self.first = first
        """The number of the first request; the others follow."""
        self.missing = len(requests)
        """How many answers are still to come."""
        self.answers: list[Any] = [None] * len(requests)


class Waiting(Generic[W]):
    """The requests of one connection that are not answered yet, by number."""

    __slots__ = ("batches", "size")

    def __init__(self) -> None:
        self.batches: dict[int, Batch[W]] = {}
        """The batch of each number, in the order sent."""
        self.size = 0
        """Bytes of these requests."""

    def add(self, batch: Batch[W]) -> None:
        """Let all of a batch wait. The table is the first to know: see `ClientSession.submit`."""
        requests, first = batch.requests, batch.first
        if len(requests) == 1:
            self.batches[first] = batch
            self.size += len(requests[0])
        else:
            self.batches.update(dict.fromkeys(range(first, first + len(requests)), batch))
            self.size += sum([len(request) for request in requests])

    def take(self, number: int, answer: object, done: list[Batch[W]]) -> bool:
        """Give an answer to whoever waits for it; False: nobody does. A batch that is complete goes to `done`."""
        batch = self.batches.pop(number, None)
        if batch is None:
            return False
        index = number - batch.first
        batch.answers[index] = answer
        self.size -= len(batch.requests[index])
        batch.missing -= 1
        if not batch.missing:
            done.append(batch)
        return True

    def take_plain(self, data: bytes, position: int, done: list[Batch[W]]) -> int:
        """The hot loop: the plain replies from `position` on. The position behind them.

        Plain is `OK` with or without one argument, `MISS` or `CONFLICT`, without options, whose tag is a number that
        somebody waits for. Whatever else is met, or is not whole yet, is left where it is: the full parser reads and
        judges it. So this is one function, a cursor that looks at each byte outside the values once, like the server's
        `Dispatch.take_plain`.
        """
        batches = self.batches
        cursor: i64
        number: i64
        digit: i64
        length: i64
        stop: i64
        index: i64
        taken: i64 = 0
        begin: i64 = position
        end: i64 = len(data)
        answer: object
        try:
            while begin < end:
                # -- the tag
                if data[begin] != _HASH:
                    break
                cursor = begin + 1
                number = data[cursor] - _ZERO
                if not 0 < number < 10:
                    break
                cursor += 1
                digit = data[cursor] - _ZERO
                while 0 <= digit < 10 and cursor - begin <= MAX_TAG:
                    number = number * 10 + digit
                    cursor += 1
                    digit = data[cursor] - _ZERO
                if digit != _GAP:
                    break
                # -- the status
                cursor += 1
                letter = data[cursor]
                if letter == _O:
                    if data[cursor + 1] != _K:
                        break
                    stop = cursor + 2
                    ending = data[stop]
                    if ending == _LF:
                        answer = _DONE
                    else:
                        # -- the value
                        if ending != _SPACE:
                            break
                        length = data[cursor + 3] - _ZERO
                        if not 0 <= length < 10:
                            break
                        cursor += 4
                        digit = data[cursor] - _ZERO
                        while 0 <= digit < 10 and 0 < length <= _MAX_LENGTH:
                            length = length * 10 + digit
                            cursor += 1
                            digit = data[cursor] - _ZERO
                        if digit != _COLON or length > _MAX_LENGTH:
                            break
                        stop = cursor + 1 + length
                        if data[stop] != _LF:
                            break
                        answer = data[cursor + 1 : stop]
                elif letter == _M:
                    stop = cursor + 4
                    if data[stop] != _LF or data[cursor:stop] != b"MISS":
                        break
                    answer = _NOTHING
                else:
                    stop = cursor + 8
                    if letter != _C or data[stop] != _LF or data[cursor:stop] != b"CONFLICT":
                        break
                    answer = _REFUSED
                # -- whoever waits for it
                batch = batches.pop(number, None)
                if batch is None:
                    break
                index = number - batch.first
                batch.answers[index] = answer
                taken += len(batch.requests[index])
                batch.missing -= 1
                if not batch.missing:
                    done.append(batch)
                begin = stop + 1
        except IndexError:
            pass  # the rest of this reply is not there yet
        self.size -= taken
        return begin
