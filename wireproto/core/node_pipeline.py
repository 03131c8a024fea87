"""One node's conversation: commands in order, replies matched to requests by counting.

                 submit              data_to_send             receive
    sessions ──> waiting ──────────> in flight ─────────────> sessions
                    └── LATE            └── TIMEOUT, LOST

Requests travel in bundles: those that one read of one client brought in for this node. A bundle costs what one object
per request would cost, divided by the number of requests in it. A client that goes away leaves its bundles here; their
replies are read and dropped, so that the count stays right.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import hiredis

from wireproto.core.node_health import NodeEvent, NodeState, next_state

_UP: Final = NodeState.UP
NOT_ENOUGH: Final = object()
LONGEST_REPLY: Final = 16 * 1024 * 1024
"""Bytes of an unfinished reply after which a node is taken to be talking nonsense. It is far more than the largest
value, for a longer one may have been stored by other hands, and to drop the connection fails everybody's requests."""


class NodeProtocolError(Exception):
    """What the node sent cannot be an answer; its stream is not to be trusted any more."""


class BundleOwner(Protocol):
    """Who wants the answers of a bundle (`answers`)."""

    def deliver(self, bundle: Bundle, first: int, replies: list[object], size: int, now: float) -> None:
        """Take the replies of the requests from `first` on; they came in `size` bytes."""

    def fail(self, bundle: Bundle, code: str, text: str, retry_ms: int | None = None) -> None:
        """The requests of the bundle that are not answered yet never will be."""

    def give_up(self, error: Exception) -> None:
        """`deliver` or `fail` has failed, which is a bug; end this conversation, for its order is lost."""


EMPTY_REPLY: Final[list[bytes | None]] = [None, b"", b"\n"]
"""The places of a reply that is still to come: its head, its value and the end of its line. To put a value there costs
40 ns, and to make one line of the three 72."""
PLACES_OF_A_REPLY: Final = 3


class Batch:
    """The untagged requests of one read of a client.

    `replies` are the pieces of the replies, in order, and `missing` counts the replies that are still to come. A reply
    that was there at once is one piece; for one that a node will give there is an EMPTY_REPLY, and None marks that it
    is missing.
    """

    __slots__ = ("missing", "replies", "sent")

    def __init__(self) -> None:
        self.replies: list[bytes | None] = []
        self.missing = 0
        self.sent = 0
        """How many pieces of the front have left already."""


class Bundle:
    """Requests of one batch for one node, in the order sent.

    `commands` is what to send, as pieces to be joined. `kinds` and `slots` have an item for each request: the kind of
    reply to expect, and where the answer goes, which is a place in the batch's `replies` or, for a tagged request, its
    tag as it was sent (`#tag `).

    All times are seconds of the monotonic clock.
    """

    __slots__ = (
        "answered",
        "batch",
        "commands",
        "cost",
        "deadline",
        "kinds",
        "node",
        "owner",
        "received_at",
        "sent_at",
        "slots",
        "traced",
    )

    def __init__(self, owner: BundleOwner, batch: Batch, received_at: float) -> None:
        self.owner = owner
        self.batch = batch
        self.commands: list[bytes] = []
        self.kinds: list[int] = []
        self.slots: list[int | bytes] = []
        self.cost = 0
        """Bytes of the values in it."""
        self.answered = 0
        self.received_at = received_at
        self.sent_at = 0.0
        self.deadline = 0.0
        """Not to be sent after this moment; 0 for none."""
        self.node = ""
        """The name of the node that took it."""
        self.traced: set[int] | None = None
        """The entries whose replies are to tell of their way."""


class NodePipeline:
    """One ordered connection to a node, without the connection.

    `wake` is called when there is something to send. `max_requests` and `max_bytes` bound what may wait and be in
    flight. Times are seconds of a monotonic clock.
    """

    __slots__ = (
        "_has_deadlines",
        "_reader",
        "_received",
        "_wake",
        "in_flight",
        "in_flight_requests",
        "max_bytes",
        "max_reply",
        "max_requests",
        "name",
        "queued_bytes",
        "round_trip",
        "state",
        "stopped",
        "waiting",
        "waiting_requests",
    )

    def __init__(
        self, name: str, wake: Callable[[], None], *, max_requests: int, max_bytes: int, max_value: int
    ) -> None:
        self.name = name
        self._wake = wake
        self.max_requests = max_requests
        self.max_bytes = max_bytes
        self.max_reply = max(LONGEST_REPLY, 2 * max_value)
        self.state = NodeState.DOWN
        self.stopped = False
        """The connection takes no more for the moment: bundles wait."""
        self.waiting: deque[Bundle] = deque()
        self.in_flight: deque[Bundle] = deque()
        self.waiting_requests = 0
        self.in_flight_requests = 0
        self.queued_bytes = 0
        self.round_trip = 0.0
        """Smoothed time from sent to answered, in seconds."""
        self._has_deadlines = False
        self._reader = _new_reader()
        self._received = 0

    # -- requests

    def submit(self, bundle: Bundle) -> None:
        """Take a bundle, or refuse it at once: DOWN if the node cannot be reached, BUSY if too much is queued."""
        bundle.node = self.name
        count = len(bundle.kinds)
        if self.state is not _UP:
            _fail(bundle, "DOWN", f"node {self.name} cannot be reached")
        elif (
            self.waiting_requests + self.in_flight_requests + count > self.max_requests
            or self.queued_bytes + bundle.cost > self.max_bytes
        ):
            _fail(bundle, "BUSY", f"too much is queued for node {self.name}", 50)
        else:
            if not self.waiting:
                self._wake()
            self.waiting.append(bundle)
            self.waiting_requests += count
            if bundle.deadline:
                self._has_deadlines = True
            self.queued_bytes += bundle.cost

    def data_to_send(self, now: float) -> bytes:
        """The commands of everything that waits; empty while `stopped`."""
        pieces: list[bytes] = []
        if self.stopped:
            return b""
        if self._has_deadlines:
            self.give_up_late(now)
            self._has_deadlines = False
        for bundle in self.waiting:
            bundle.sent_at = now
            if pieces:
                pieces += bundle.commands
            else:
                pieces = bundle.commands
            bundle.commands = []
        self.in_flight += self.waiting
        self.in_flight_requests += self.waiting_requests
        self.waiting.clear()
        self.waiting_requests = 0
        if not pieces:
            return b""
        # Each command begins with the CRLF that ends the one before.
        pieces[0] = pieces[0][2:]
        pieces.append(b"\r\n")
        return b"".join(pieces)

    def give_up_late(self, now: float) -> None:
        """Answer LATE to what waits and has passed its deadline."""
        late = [bundle for bundle in self.waiting if bundle.deadline and now > bundle.deadline]
        for bundle in late:
            self.waiting.remove(bundle)
            self.waiting_requests -= len(bundle.kinds)
            self.queued_bytes -= bundle.cost
            _fail(bundle, "LATE", "the deadline passed before the request could be sent")

    # -- replies

    def receive(self, data: bytes | memoryview, now: float) -> None:
        """Take bytes from the node and hand the replies in them to their owners. Nothing of `data` is kept.

        Raises NodeProtocolError when they cannot be replies, or are replies to nothing; the connection is then to be
        dropped and `lost` called.
        """
        reader = self._reader
        reader.feed(data)  # type: ignore[arg-type]  # it takes any buffer
        self._received += len(data)
        try:
            replies = [*iter(reader.gets, NOT_ENOUGH)]
        except hiredis.ProtocolError as error:
            raise NodeProtocolError(f"node {self.name} sent what is no reply") from error
        if not replies:
            if self._received > self.max_reply:
                raise NodeProtocolError(f"node {self.name} sent a reply that is longer than any value")
            return
        size_of_one = self._received // len(replies)
        self._received = 0
        self._hand_out(replies, size_of_one, now)

    def _hand_out(self, replies: list[object], size_of_one: int, now: float) -> None:
        position, end = 0, len(replies)
        while position < end:
            if not self.in_flight:
                raise NodeProtocolError(f"node {self.name} answered what nobody asked")
            bundle = self.in_flight[0]
            first = bundle.answered
            wanted = len(bundle.kinds) - first
            taken = replies[position : position + wanted]
            count = len(taken)
            position += count
            bundle.answered += count
            self.in_flight_requests -= count
            if count == wanted:
                self.in_flight.popleft()
                self.queued_bytes -= bundle.cost
                self.round_trip += ((now - bundle.sent_at) - self.round_trip) / 8
            try:
                bundle.owner.deliver(bundle, first, taken, size_of_one * count, now)
            except Exception as error:
                bundle.owner.give_up(error)

    # -- faults

    def change(self, event: NodeEvent) -> None:
        """Follow the table of states."""
        self.state = next_state(self.state, event)

    def is_overdue(self, before: float) -> bool:
        """Whether a bundle that was sent before this moment is still without an answer."""
        return bool(self.in_flight) and self.in_flight[0].sent_at < before

    def lost(self, sent_before: float = 0.0) -> None:
        """The connection is gone: what waits fails with DOWN, what was sent with LOST.

        What was sent before the given moment fails with TIMEOUT: the connection was dropped because of it.
        """
        self.change(NodeEvent.LOST)
        sent, waiting = self.in_flight, self.waiting
        self.in_flight, self.waiting = deque(), deque()
        self.in_flight_requests = self.waiting_requests = self.queued_bytes = 0
        self.stopped = False
        self._reader = _new_reader()
        self._received = 0
        for bundle in sent:
            if bundle.sent_at < sent_before:
                _fail(bundle, "TIMEOUT", f"node {self.name} did not answer in time")
            else:
                _fail(bundle, "LOST", f"the connection to node {self.name} broke")
        for bundle in waiting:
            _fail(bundle, "DOWN", f"node {self.name} cannot be reached")


def _fail(bundle: Bundle, code: str, text: str, retry_ms: int | None = None) -> None:
    try:
        bundle.owner.fail(bundle, code, text, retry_ms)
    except Exception as error:
        bundle.owner.give_up(error)


def _new_reader() -> hiredis.Reader:
    return hiredis.Reader(notEnoughData=NOT_ENOUGH)
