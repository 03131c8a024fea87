"""The requests of one connection, prepared in advance, and the replies that they must get.

A script is a run of requests that is repeated from its end. It knows at which byte each request and each reply begins,
so that the generator sends a slice of bytes, finds by bisection how many replies a piece of the stream completes, and
compares the bytes without parsing them.
"""

from __future__ import annotations

import bisect
import itertools
from dataclasses import dataclass

from bench.dialects import Dialect
from bench.workload import Workload

REQUESTS = 2048
"""In a script, unless its replies or requests are long; a multiple of the depth."""
LONGEST = 4 * 1024 * 1024
"""Bytes of a script, unless a single batch has more."""


@dataclass(frozen=True)
class Script:
    """Bytes, and where in them each request and each reply begins; the last offset is the length."""

    requests: memoryview
    request_offsets: list[int]
    replies: bytes
    reply_offsets: list[int]

    @property
    def count(self) -> int:
        """Requests before it repeats."""
        return len(self.request_offsets) - 1

    def request_slice(self, start: int, count: int) -> list[memoryview]:
        """The bytes of `count` requests from the `start`-th on, counted over all repetitions."""
        slices = []
        while count:
            index = start % self.count
            some = min(count, self.count - index)
            slices.append(self.requests[self.request_offsets[index] : self.request_offsets[index + some]])
            start, count = start + some, count - some
        return slices

    def replies_before(self, position: int) -> int:
        """How many replies are complete when `position` bytes of the endless stream have come."""
        turns, rest = divmod(position, self.reply_offsets[-1])
        return turns * self.count + bisect.bisect_right(self.reply_offsets, rest) - 1

    def reply_position(self, number: int) -> int:
        """Where in the endless stream the number-th reply begins."""
        turns, index = divmod(number, self.count)
        return turns * self.reply_offsets[-1] + self.reply_offsets[index]

    def expected(self, position: int, length: int) -> bytes:
        """So many bytes of the endless stream."""
        start = position % self.reply_offsets[-1]
        piece = self.replies[start : start + length]
        while len(piece) < length:
            piece += self.replies[: length - len(piece)]
        return piece


def make_script(workload: Workload, dialect: Dialect, stream: int, depth: int) -> Script:
    """A script of the workload's own requests; `stream` tells connections apart."""
    requests: list[bytes] = []
    replies: list[bytes] = []
    size = 0
    for is_read, number in workload.requests(stream):
        key, value = workload.key(number), workload.value(number)
        requests.append(dialect.read(key) if is_read else dialect.write(key, value))
        replies.append(dialect.value(value) if is_read else dialect.written())
        size += len(requests[-1]) + len(replies[-1])
        if len(requests) % depth == 0 and (len(requests) >= REQUESTS or size >= LONGEST):
            break
    return script_of(requests, replies)


def loading_script(workload: Workload, dialect: Dialect, numbers: range) -> Script:
    """Writes of the keys with these numbers."""
    values = ((workload.key(number), workload.value(number)) for number in numbers)
    requests = [dialect.write(key, value) for key, value in values]
    return script_of(requests, [dialect.written()] * len(requests))


def script_of(requests: list[bytes], replies: list[bytes]) -> Script:
    """A script of these requests, each with the reply it must get."""
    return Script(
        memoryview(b"".join(requests)),
        list(itertools.accumulate(map(len, requests), initial=0)),
        b"".join(replies),
        list(itertools.accumulate(map(len, replies), initial=0)),
    )
