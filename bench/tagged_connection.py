"""A connection whose requests carry tags, as only our own protocol knows them: replies may come in any order.

The expected replies to a batch are a set of lines, so it takes one set operation to compare a piece of the stream. This
wants values without LF that are not much longer than a TLS record.
"""

from __future__ import annotations

import socket
import time

from bench.connection import Connection
from bench.dialects import Wireproto
from bench.plan import Plan
from bench.script import Script, make_script

SIDE_TAG = b"#side "
SIDE_INTERVAL = 0.1
"""Seconds from one side request of a connection to the next; there is one in flight at most."""


class TaggedConnection(Connection):
    """`sent` and `answered` do not count the side requests."""

    def __init__(self, connection: socket.socket, plan: Plan, stream: int) -> None:
        dialect = Wireproto()
        untagged = make_script(plan.workload, dialect, stream, plan.depth)
        super().__init__(connection, untagged, dialect)
        self._depth = plan.depth
        self._batches = [self._batch(untagged, start) for start in range(0, untagged.count, plan.depth)]
        self._side_request = None
        if plan.side_key is not None:
            self._side_request = memoryview(SIDE_TAG + dialect.read(plan.workload.key(plan.side_key)))
        self._side_due = 0.0
        self._side_in_flight = False
        self._rest = b""
        self._expected: dict[bytes, bytes] = {}
        self._missing: set[bytes] = set()

    def _batch(self, script: Script, start: int) -> tuple[memoryview, dict[bytes, bytes]]:
        """What to send, and by tag the lines that must come back, without LF."""
        requests, replies = b"", {}
        for index in range(start, start + self._depth):
            tag = b"#%d" % (index - start)
            requests += b"%b %b" % (tag, bytes(script.request_slice(index, 1)[0]))
            begin, end = script.reply_offsets[index], script.reply_offsets[index + 1]
            replies[tag] = b"%b %b" % (tag, script.replies[begin : end - 1])
        return memoryview(requests), replies

    def send(self, count: int) -> None:
        """Send the next batch; `count` is the depth. The tags are free: all of the batch before has been answered."""
        assert count == self._depth
        requests, self._expected = self._batches[self.sent // count % len(self._batches)]
        self._missing = set(self._expected.values())
        if self._side_request is not None and not self._side_in_flight and time.monotonic() >= self._side_due:
            self._side_in_flight = True
            self._side_due = time.monotonic() + SIDE_INTERVAL
            self.outgoing.append(self._side_request)
        self.outgoing.append(requests)
        self.sent += count
        self.flush()

    def receive(self) -> int | None:
        """Read once: how many replies of the batch that completes, or None when there is nothing to read."""
        data = self._read()
        if data is None:
            return None
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        before = len(self._missing)
        self._missing.difference_update(lines)
        if before - len(self._missing) != len(lines):
            self._inspect_lines(lines, before - len(self._missing))
        completed = before - len(self._missing)
        self.answered += completed
        return completed

    def _inspect_lines(self, lines: list[bytes], new: int) -> None:
        """Count what is not as it must be, in lines of which so many are right and new; a wrong reply is a reply."""
        expected_lines = set(self._expected.values())
        strange = [line for line in lines if line not in expected_lines]
        if len(lines) - len(strange) > new:
            self.errors["a reply twice"] += len(lines) - len(strange) - new
        for line in strange:
            tag, _, text = line.partition(b" ")
            if line.startswith(SIDE_TAG):
                self._side_in_flight = False
                self.side_replies[_status(text)] += 1
                continue
            status = _status(text)
            self.errors["wrong value" if status == "OK" else status] += 1
            self._missing.discard(self._expected.get(tag, b""))


def _status(text: bytes) -> str:
    words = text.decode(errors="replace").split(" ")
    return " ".join(words[:2]) if words[0] == "ERR" else words[0][:16]
