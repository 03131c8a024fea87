"""One node's conversation: commands in order, replies matched to requests by counting.

                 submit              data_to_send             receive
    sessions ──> waiting ──────────> in flight ─────────────> sessions
                    └── LATE, DOWN      └── TIMEOUT, LOST

Requests travel in bundles (`bundle`). A client that goes away leaves its bundles here; their replies are read and
dropped, so that the count stays right.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import hiredis

from wireproto.core.bundle import Batch, Bundle, BundleOwner
from wireproto.core.commands import ASK_FOR_HISTORY, LOAD_SCRIPTS, history_of
from wireproto.core.node_health import NodeEvent, NodeState, next_state
from wireproto.core.queue_bound import QueueBound

_UP: Final = NodeState.UP
_SUSPECT: Final = NodeState.SUSPECT
NOT_ENOUGH: Final = object()
BUSY_RETRY_MS: Final = 50
"""At the least."""
LONGEST_REPLY: Final = 16 * 1024 * 1024
"""Bytes of an unfinished reply after which a node is taken to be talking nonsense. It is far more than the largest
value, for a longer one may have been stored by other hands, and to drop the connection fails everybody's requests."""

NO_REPLY: Final = (hiredis.ProtocolError, MemoryError, TypeError)
"""What hiredis raises for bytes that are no reply. It believes an array's length before there are as many items, and
makes dictionaries of maps, whose keys may be lists."""


class NodeProtocolError(Exception):
    """What the node sent cannot be an answer; its stream is not to be trusted any more."""


class NodePipeline:
    """One ordered connection to a node, without the connection.

    `wake` is called when there is something to send. `max_requests` and `max_bytes` bound what may wait and be in
    flight, and so does `max_delay`, the time for which a request may wait for those before it; 0 for as long as it
    takes. Times are seconds of a monotonic clock.
    """

    __slots__ = (
        "_asked_for_history",
        "_bound",
        "_has_deadlines",
        "_loads_scripts",
        "_reader",
        "_received",
        "_wake",
        "delayed_at",
        "greeted_at",
        "held_until",
        "history",
        "in_flight",
        "in_flight_requests",
        "max_bytes",
        "max_reply",
        "max_requests",
        "name",
        "queued_bytes",
        "refused_as_replica",
        "role",
        "round_trip",
        "state",
        "stopped",
        "waiting",
        "waiting_requests",
    )

    def __init__(
        self,
        name: str,
        wake: Callable[[], None],
        *,
        max_requests: int,
        max_bytes: int,
        max_value: int,
        max_delay: float = 0.0,
    ) -> None:
        self.name = name
        self._wake = wake
        self.max_requests = max_requests
        self.max_bytes = max_bytes
        self.max_reply = max(LONGEST_REPLY, 2 * max_value)
        self.state = NodeState.DOWN
        self.role = "unknown"
        """What the node said that it is when it was greeted."""
        self.history = b""
        """The id of the node's data set, which is another after each failover; empty if it did not say."""
        self.delayed_at = 0.0
        """When last something was sent that had had to wait for the node."""
        self.greeted_at = 0.0
        """When the connection last came to stand."""
        self.refused_as_replica = False
        """The node has refused a write because it is no master any more."""
        self.held_until = 0.0
        """Until this moment requests wait for a node that has been lost instead of being refused; 0 if they do not."""
        self.stopped = False
        """The connection takes no more for the moment: bundles wait."""
        self.waiting: deque[Bundle] = deque()
        self.in_flight: deque[Bundle] = deque()
        self.waiting_requests = 0
        self.in_flight_requests = 0
        self.queued_bytes = 0
        self.round_trip = 0.0
        """Smoothed time from sent to answered, in seconds."""
        self._bound = QueueBound(max_delay)
        self._has_deadlines = False
        self._asked_for_history = False
        self._loads_scripts = False
        self._reader = _new_reader()
        self._received = 0

    # -- requests

    def submit(self, bundle: Bundle) -> None:
        """Take a bundle, or refuse it at once: DOWN if the node cannot be reached, BUSY if too much is queued."""
        bundle.pipeline = self
        count = len(bundle.kinds)
        before = self.waiting_requests + self.in_flight_requests
        if self.state is not _UP and not self._may_wait(bundle):
            _fail(bundle, "DOWN", self._why_not())
        elif before + count > self.max_requests or self.queued_bytes + bundle.cost > self.max_bytes:
            _fail(bundle, "BUSY", f"too much is queued for node {self.name}", BUSY_RETRY_MS)
        elif before + count > self._bound.requests and before:
            # What is queued now will be done by then.
            retry_ms = max(BUSY_RETRY_MS, round(self._bound.delay * 1000))
            _fail(bundle, "BUSY", f"node {self.name} has more to do than it can", retry_ms)
        else:
            self._queue(bundle, count)

    def _queue(self, bundle: Bundle, count: int) -> None:
        if not self.waiting:
            self._wake()
        self.waiting.append(bundle)
        self.waiting_requests += count
        if bundle.deadline:
            self._has_deadlines = True
        self.queued_bytes += bundle.cost

    def _may_wait(self, bundle: Bundle) -> bool:
        """Whether a node that is not up takes a bundle: to try a suspect one, or while requests are held."""
        if self.state is _SUSPECT and not self.refused_as_replica and not self.in_flight and not self.waiting:
            return True
        return bundle.received_at < self.held_until

    def _why_not(self) -> str:
        if self.refused_as_replica:
            return f"node {self.name} is not a master any more"
        if self.state is _SUSPECT:
            return f"node {self.name} does not answer"
        return f"node {self.name} cannot be reached"

    def data_to_send(self, now: float) -> bytes:
        """The commands of everything that waits; empty while `stopped`, and while the node cannot be reached."""
        pieces: list[bytes] = []
        if self.state is not _UP and (self.state is not _SUSPECT or self.refused_as_replica):
            return b""
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
        except NO_REPLY as error:
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
        bound, sent_at = self._bound, 0.0
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
                sent_at = bundle.sent_at
                took = now - sent_at
                self.round_trip += (took - self.round_trip) / 8
                if took < bound.least:
                    bound.least = took
            try:
                bundle.owner.deliver(bundle, first, taken, size_of_one * count, now)
            except Exception as error:
                bundle.owner.give_up(error)
        bound.answered += end
        if now >= bound.period_ends and sent_at:
            bound.end_period(now, sent_at)
        if bound.is_standing and not self.in_flight:
            bound.lift()
        if self.state is _SUSPECT and not self.refused_as_replica:
            self.change(NodeEvent.ANSWERED)

    # -- faults

    def change(self, event: NodeEvent) -> None:
        """Follow the table of states."""
        self.state = next_state(self.state, event)

    def greeted(self, role: str, history: bytes, now: float, *, trusted: bool) -> None:
        """The connection stands; not `trusted` if the node has failed to answer since it last did."""
        self.role, self.history, self.greeted_at = role, history, now
        if self.waiting:
            self.delayed_at = now
        self.refused_as_replica = False
        self.held_until = 0.0
        self._bound.forget()
        self.change(NodeEvent.GREETED if trusted else NodeEvent.DOUBTED)

    def takes_more(self, now: float) -> None:
        """The connection was `stopped`, and is not any more."""
        self.stopped = False
        self.delayed_at = now

    def ask_for_history(self) -> None:
        """Find out anew what `history` is: in the stream, so that it holds for what is answered behind it."""
        if self.state is _UP and not self._asked_for_history:
            self._asked_for_history = True
            self._queue(_own_bundle(_HistoryQuestion(self), [ASK_FOR_HISTORY]), 1)

    def heard_history(self, history: bytes | None) -> None:
        """The answer; None if there will be none."""
        self._asked_for_history = False
        if history is not None:
            self.history = history

    def load_scripts(self) -> None:
        """Tell the node the scripts: it has said that it does not know them (any more)."""
        if self.state is _UP and not self._loads_scripts:
            self._loads_scripts = True
            bundle = _own_bundle(_ScriptLoading(self), LOAD_SCRIPTS)
            self._queue(bundle, len(bundle.kinds))

    def scripts_are_loaded(self) -> None:
        """The node has answered that, or will not."""
        self._loads_scripts = False

    def no_master(self) -> None:
        """The node has refused a write because it is a replica, or another is the master: it is to get no more."""
        self.refused_as_replica = True
        if self.state is _UP:
            self.change(NodeEvent.REFUSED)

    def is_overdue(self, before: float) -> bool:
        """Whether a bundle that was sent before this moment is still without an answer."""
        return bool(self.in_flight) and self.in_flight[0].sent_at < before

    def lost(self, sent_before: float = 0.0, hold_until: float = 0.0) -> None:
        """The connection is gone: what was sent fails with LOST, and what waits with DOWN.

        What was sent before the given moment fails with TIMEOUT: the connection was dropped because of it. If there is
        a moment until which requests are held, what waits goes on waiting; see `give_up_held`.
        """
        self.change(NodeEvent.LOST)
        self.held_until = max(self.held_until, hold_until)
        sent, self.in_flight = self.in_flight, deque()
        self.in_flight_requests = 0
        self.queued_bytes = sum(bundle.cost for bundle in self.waiting)
        self._bound.lift()
        self.stopped = False
        self._reader = _new_reader()
        self._received = 0
        for bundle in sent:
            if bundle.sent_at < sent_before:
                _fail(bundle, "TIMEOUT", f"node {self.name} did not answer in time")
            else:
                _fail(bundle, "LOST", f"the connection to node {self.name} broke")
        if not self.held_until:
            self._give_up_waiting()

    def give_up_held(self, now: float) -> None:
        """Answer DOWN to what has waited for the node to return, when its time is over."""
        if self.held_until and now >= self.held_until and self.state is not _UP:
            self.held_until = 0.0
            self._give_up_waiting()

    def _give_up_waiting(self) -> None:
        waiting, self.waiting = self.waiting, deque()
        for bundle in waiting:
            self.waiting_requests -= len(bundle.kinds)
            self.queued_bytes -= bundle.cost
            _fail(bundle, "DOWN", self._why_not())


class _HistoryQuestion:
    """Owns the bundle of a question for a pipeline's history."""

    def __init__(self, pipeline: NodePipeline) -> None:
        self._pipeline = pipeline

    def deliver(self, bundle: Bundle, first: int, replies: list[object], size: int, now: float) -> None:
        self._pipeline.heard_history(history_of(replies[0]))

    def fail(self, bundle: Bundle, code: str, text: str, retry_ms: int | None = None) -> None:
        self._pipeline.heard_history(None)

    def give_up(self, error: Exception) -> None:
        """Nothing in here can fail."""


class _ScriptLoading:
    """Owns the bundle that tells a node the scripts."""

    def __init__(self, pipeline: NodePipeline) -> None:
        self._pipeline = pipeline

    def deliver(self, bundle: Bundle, first: int, replies: list[object], size: int, now: float) -> None:
        if bundle.answered == len(bundle.kinds):
            self._pipeline.scripts_are_loaded()

    def fail(self, bundle: Bundle, code: str, text: str, retry_ms: int | None = None) -> None:
        self._pipeline.scripts_are_loaded()

    def give_up(self, error: Exception) -> None:
        """Nothing in here can fail."""


def _own_bundle(owner: BundleOwner, commands: list[bytes]) -> Bundle:
    """A bundle of commands that no client has asked for."""
    bundle = Bundle(owner, Batch(), 0.0)
    count = len(commands)
    bundle.commands, bundle.kinds, bundle.slots = commands.copy(), [0] * count, list(range(count))
    return bundle


def _fail(bundle: Bundle, code: str, text: str, retry_ms: int | None = None) -> None:
    try:
        bundle.owner.fail(bundle, code, text, retry_ms)
    except Exception as error:
        bundle.owner.give_up(error)


def _new_reader() -> hiredis.Reader:
    return hiredis.Reader(notEnoughData=NOT_ENOUGH)
