"""One client's answers: from nodes' replies to lines, untagged ones in the order of their requests.

What one read of a client brought in is one batch. An untagged request has a place in its batch, and batches leave in
order; a tagged reply leaves as soon as it is there. A refusal takes its place like any other answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from wireproto.core.bundle import EMPTY_REPLY, PLACES_OF_A_REPLY, Batch, Bundle, LeaseRead
from wireproto.core.commands import READ, READ_SCRIPTED, VERB_NAMES, WRITE, milliseconds
from wireproto.core.lease_reads import SECOND_QUESTION, LeaseReads
from wireproto.core.limits import Limits
from wireproto.core.metrics import Metrics
from wireproto.core.node_replies import is_refused_by_replica, lacks_scripts, render, was_executed
from wireproto.core.opening import opened
from wireproto.core.reply_lines import MISS, OK, error_line
from wireproto.core.session_context import Surroundings
from wireproto.core.stored_values import MARKER
from wireproto.core.verbs import MAX_LEASE_MS

BUSY_RETRY_MS: Final = 50
SMALLEST_WINDOW: Final = 2
"""Requests that may be in flight however large their replies are: one for a slow node shall not hold up the next.
With 4, ten clients that never read values of 1 MiB cost 36 to 70 MiB; with 2, 15 to 29."""
FADING_OF_A_GUESS: Final = 1
FADING: Final = 3
"""How fast the expected size of a reply sinks: by 1/2 with each delivery as long as it was only guessed, by 1/8 once it
was measured, for where one large value is there are often more."""
LET_GO_FACTOR: Final = 4
"""Reading stops when `max_unread_bytes` are unread. What was in flight then and turns out to be longer than could be
expected is kept up to this many times as much."""
TOO_MUCH_UNREAD: Final = "too many replies are unread"
LONGEST_HELD: Final = len(b" held=%d\n" % MAX_LEASE_MS)
"""Bytes of the end of a line that tells that another has the lease."""
SHORT: Final = 4096
HIT_HEADS: Final[list[bytes]] = [b"OK %d:" % length for length in range(SHORT)]
"""`HIT_HEADS[n]` begins the answer of a READ that found n bytes. A look-up costs 20 ns, formatting 90."""


def do_nothing() -> None:
    """What becomes of output that nobody will take. (The shell is let go of: who refers to each other in a circle stays
    until the collector comes, which with 1,000 connections a second was 30 MiB.)"""


class Answers:
    """Collects the answers that one client is owed, and gives out those that may leave.

    `on_output` is called when there may be something to take.
    """

    __slots__ = (
        "_age",
        "_expected_size",
        "_fading",
        "_let_go_at",
        "_limits",
        "_metrics",
        "_on_output",
        "_outcomes",
        "_ready",
        "_world",
        "abandoned",
        "batch",
        "batches",
        "in_flight",
        "in_flight_bytes",
        "leases",
        "unsent",
        "window",
    )

    def __init__(
        self,
        limits: Limits,
        metrics: Metrics,
        on_output: Callable[[], None],
        world: Surroundings,
    ) -> None:
        self.in_flight = 0
        """Requests that nodes have not answered yet."""
        self.in_flight_bytes = 0
        """Bytes of their values."""
        self.unsent = 0
        """About how many bytes of replies are held here."""
        self.window = SMALLEST_WINDOW
        """How many requests may be in flight: fewer, the larger the replies that this client has been getting."""
        self._expected_size = 0
        self._fading = FADING_OF_A_GUESS
        self.abandoned = False
        self.batch = Batch()
        """The batch of the present read; it joins `batches` at its end."""
        self.batches: deque[Batch] = deque()
        self._age = 0.0
        """How many seconds ago the requests were sent whose replies are looked at."""
        self._ready: list[bytes | None] = []
        self._limits = limits
        self._let_go_at = LET_GO_FACTOR * limits.max_unread_bytes
        # As long as nothing is known, replies are expected to be large.
        self._expect(limits.max_in_flight_bytes // 4)
        self._metrics = metrics
        self._outcomes = metrics.outcomes
        self._on_output = on_output
        self._world = world
        self.leases: LeaseReads | None = None
        """The READs that want a lease if they miss. There are none before there is a namespace."""

    # -- requests

    def answer(self, tag: bytes, line: bytes) -> None:
        """Answer a request of the present read."""
        self.unsent += len(line)
        self._on_output()
        if tag:
            self._ready.append(b"#%b %b" % (tag, line))
        else:
            self.batch.replies.append(line)

    def reserve(self) -> int:
        """The place for an answer that a node will give."""
        batch = self.batch
        batch.replies += EMPTY_REPLY
        batch.missing += 1
        return len(batch.replies) - PLACES_OF_A_REPLY

    def end_of_read(self) -> None:
        """The present read is over; what comes next is a new batch."""
        if self.batch.replies:
            self.batches.append(self.batch)
            self.batch = Batch()

    def note_written(self, size: int) -> None:
        """This client writes values of this size, so it may read such values too."""
        if size > self._expected_size:
            self._expect(size)

    # -- replies of nodes

    def deliver(self, bundle: Bundle, first: int, replies: list[object], size: int, now: float) -> None:
        """Take replies from a node: those to the bundle's requests from `first` on, in `size` bytes."""
        if self.abandoned:
            return
        count = len(replies)
        kinds, slots = bundle.kinds, bundle.slots
        if count != len(kinds):
            kinds, slots = kinds[first : first + count], slots[first : first + count]
        if bundle.opener is not None:
            keys = bundle.keys if count == len(bundle.keys) else bundle.keys[first : first + count]
            replies = [opened(bundle.opener, key, reply) for key, reply in zip(keys, replies, strict=True)]
        self._age = now - bundle.received_at
        special: dict[int, LeaseRead | bytes] | None = None
        if bundle.leases:
            assert self.leases is not None
            special = self.leases.judge(bundle, first, replies, self._asked_at())
        self.unsent += size
        expected = self._expected_size - (self._expected_size >> self._fading)
        if size // count >= expected:
            expected = size // count
            self._fading = FADING
        if expected != self._expected_size:
            self._expect(expected)
        if bundle.traced or bundle.synced or special or self.unsent > self._let_go_at:
            self._deliver_each(bundle, first, replies, special or {}, size // count, now)
            return
        answers, ready = bundle.batch.replies, self._ready
        hit_heads, hits, misses, stored, untagged = HIT_HEADS, 0, 0, 0, 0
        for kind, slot, reply in zip(kinds, slots, replies):  # noqa: B905 - `strict` costs 150 ns
            if kind == READ and isinstance(reply, bytes) and not (reply and reply[0] == MARKER):
                hits += 1
                length = len(reply)
                head = hit_heads[length] if length < SHORT else b"OK %d:" % length
                if isinstance(slot, int):
                    answers[slot] = head
                    answers[slot + 1] = reply
                    untagged += 1
                else:
                    ready.append(slot)
                    ready.append(head)
                    ready.append(reply)
                    ready.append(b"\n")
                continue
            if kind == READ and reply is None:
                misses += 1
                line = MISS
            elif kind == WRITE and reply == b"OK":
                stored += 1
                line = OK
            else:
                line = self._render(kind, reply, bundle)
            if isinstance(slot, int):
                answers[slot] = line
                answers[slot + 2] = b""
                untagged += 1
            else:
                ready.append(slot)
                ready.append(line)
        metrics = self._metrics
        metrics.hits += hits
        metrics.misses += misses
        metrics.stored += stored
        self._settle(bundle, count, untagged)

    def _expect(self, size: int) -> None:
        """Reckon with replies of this size.

        A quarter of what may be in flight is for replies, so that ten clients which ask for 200 values of 1 MiB each,
        and never read them, cost less than 64 MiB.
        """
        self._expected_size = size
        by_size = self._limits.max_in_flight_bytes // 4 // max(1, size)
        self.window = min(self._limits.max_in_flight, max(SMALLEST_WINDOW, by_size))

    def _deliver_each(
        self,
        bundle: Bundle,
        first: int,
        replies: list[object],
        special: dict[int, LeaseRead | bytes],
        size_of_one: int,
        now: float,
    ) -> None:
        """The same where something is to be done about single replies, each of so many bytes.

        Some tell their way; some are answered only when replicas have what was written; some need a second question
        (`special`, as `LeaseReads.judge` gives it); and for a client that has too much unread a value is let go, to be
        asked for again.
        """
        traced, synced = bundle.traced or (), bundle.synced or {}
        untagged = 0
        to_confirm: list[tuple[int, bytes]] = []
        to_ask: list[LeaseRead] = []
        for index, reply in enumerate(replies, first):
            kind = bundle.kinds[index]
            verdict = special.get(index)
            if VERB_NAMES[kind] == "READ" and self.unsent > self._let_go_at:
                self._outcomes["READ", "BUSY"] += 1
                line = error_line("BUSY", TOO_MUCH_UNREAD, BUSY_RETRY_MS)
                self.unsent += len(line) - size_of_one
            elif isinstance(verdict, tuple):
                to_ask.append(verdict)
                self.unsent -= size_of_one
                continue
            elif verdict is not None:
                self._count_special(verdict)
                line = verdict
            elif index in synced and was_executed(kind, reply):
                to_confirm.append((index, render(kind, reply, self._asked_at)[1]))
                continue
            else:
                line = self._render(kind, reply, bundle)
            untagged += self._put(bundle, index, with_trace(line, bundle, now) if index in traced else line)
        self._settle(bundle, len(replies) - len(to_confirm) - len(to_ask), untagged)
        for index, line in to_confirm:
            assert bundle.confirmations is not None
            bundle.confirmations.ask(self, bundle, index, line, synced[index], now)
        if to_ask:
            assert self.leases is not None
            self.leases.ask(self, bundle, to_ask, now)

    def answer_read(
        self, origin: Bundle, read: LeaseRead, question: Bundle, reply: object, size: int, now: float
    ) -> None:
        """Answer a READ whose second question was answered: `reply` is the node's, in so many bytes."""
        if self.abandoned:
            return
        if self.unsent > self._let_go_at:
            # The first question may have found nothing, and the second a large value.
            self.fail_read(origin, read, "BUSY", TOO_MUCH_UNREAD, BUSY_RETRY_MS)
            return
        if origin.opener is not None:
            reply = opened(origin.opener, read[1], reply)
        self.unsent += size
        self._finish(origin, read[0], self._render(SECOND_QUESTION, reply, question), now)

    def fail_read(self, origin: Bundle, read: LeaseRead, code: str, text: str, retry_ms: int | None) -> None:
        """Answer a READ whose second question will not be answered with an error."""
        if self.abandoned:
            return
        self._outcomes["READ", code] += 1
        line = error_line(code, text, retry_ms)
        self.unsent += len(line)
        self._finish(origin, read[0], line, None)

    def _finish(self, bundle: Bundle, index: int, line: bytes, now: float | None) -> None:
        """Give the answer to an entry that was held back when the others of its bundle were answered."""
        traced = bundle.traced or ()
        bundle.batch.missing -= self._put(bundle, index, with_trace(line, bundle, now) if index in traced else line)
        self.in_flight -= 1
        self._on_output()

    def _asked_at(self) -> int:
        """When the request was sent whose reply is looked at, in milliseconds since 1970.

        A script judges a value by that moment. Were others to judge it by a later one, a value could be over and then
        fresh again for one client.
        """
        return milliseconds(self._world) - int(self._age * 1000)

    def _count_special(self, line: bytes) -> None:
        """Count a READ that `LeaseReads.judge` has answered."""
        word = line.partition(b" ")[0]
        outcome = "CORRUPT" if word == b"ERR" else word.decode("ascii")
        self._outcomes["READ", outcome] += 1
        self._metrics.stale_served += outcome == "OK"
        self._metrics.leases_held += b" held=" in line[-LONGEST_HELD:]

    def _count_scripted(self, reply: list[object]) -> None:
        """Count what a READ by script has said of leases."""
        if len(reply) == 5:
            stored, _left, lease, held, stale = reply
            self._metrics.leases_granted += lease is not None
            # Who asks early, and finds that another has the lease, is not told: the value is there.
            self._metrics.leases_held += held != 0 and (stored is None or stale == 1)
            self._metrics.stale_served += stale == 1

    def confirm(self, bundle: Bundle, index: int, line: bytes, problem: str, now: float) -> None:
        """Answer a request that replicas were to have: with `line`, or with NOSYNC if there is a problem."""
        if self.abandoned:
            return
        outcome = line[:-1].partition(b" ")[0].decode("ascii")
        if problem:
            outcome, line = "NOSYNC", error_line("NOSYNC", problem)
        self._outcomes[VERB_NAMES[bundle.kinds[index]], outcome] += 1
        self.unsent += len(line)
        self._finish(bundle, index, line, now)

    def fail(self, bundle: Bundle, code: str, text: str, retry_ms: int | None = None) -> None:
        """Answer what is left of a bundle with an error."""
        if self.abandoned:
            return
        line = error_line(code, text, retry_ms)
        traced = bundle.traced or ()
        first, end = bundle.answered, len(bundle.kinds)
        untagged = 0
        for index in range(first, end):
            self._outcomes[VERB_NAMES[bundle.kinds[index]], code] += 1
            untagged += self._put(bundle, index, with_trace(line, bundle, None) if index in traced else line)
        self.unsent += len(line) * (end - first)
        bundle.answered = end
        if self.leases is not None:
            self.leases.failed(bundle)
        self._settle(bundle, end - first, untagged)

    def give_up(self, error: Exception) -> None:
        """End the conversation because of a bug: the order of its replies can no longer be relied on."""
        on_output = self._on_output
        self._world.report_bug(error)
        self.abandon()
        on_output()

    def abandon(self) -> None:
        """The client is gone: what nodes still owe is read and dropped."""
        self.abandoned = True
        self._on_output = do_nothing
        self._ready.clear()
        self.batches.clear()

    def _put(self, bundle: Bundle, index: int, line: bytes) -> int:
        """Put a reply where it belongs; how many places of the batch that fills."""
        slot = bundle.slots[index]
        if isinstance(slot, int):
            bundle.batch.replies[slot] = line
            bundle.batch.replies[slot + 2] = b""  # the line has its own end
            return 1
        self._ready.append(slot + line)
        return 0

    def _render(self, kind: int, reply: object, bundle: Bundle) -> bytes:
        outcome, line = render(kind, reply, self._asked_at)
        self._outcomes[VERB_NAMES[kind], outcome] += 1
        if kind >= READ_SCRIPTED and isinstance(reply, list):
            self._count_scripted(reply)
        if outcome == "DOWN" and bundle.pipeline is not None and lacks_scripts(reply):
            bundle.pipeline.load_scripts()
        if outcome == "DOWN" and bundle.pipeline is not None and is_refused_by_replica(reply):
            bundle.pipeline.no_master()
        if outcome == "INTERNAL":
            problem = self._world.report_bug(line[:-1].decode("ascii"))
            line = b"%b, logged as %b\n" % (line[:-1], problem.encode("ascii"))
        return line

    def _settle(self, bundle: Bundle, count: int, untagged: int) -> None:
        bundle.batch.missing -= untagged
        self.in_flight -= count
        if bundle.answered == len(bundle.kinds):
            self.in_flight_bytes -= bundle.cost
        self._on_output()

    # -- to the client

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in flight and everything that was answered has been taken."""
        return not self.in_flight and not self.batches and not self._ready

    def take(self, *, partial: bool = False) -> bytes:
        """The replies that may leave now.

        A batch leaves whole, in one write, unless `partial` asks for the front of the first one too.
        """
        pieces: list[bytes | None] = self._ready
        batches = self.batches
        if pieces:
            self._ready = []
        elif batches and not batches[0].missing and not batches[0].sent:
            pieces = batches.popleft().replies  # most often the only one
        else:
            pieces = []
        while batches and not batches[0].missing:
            batch = batches.popleft()
            pieces += batch.replies[batch.sent :] if batch.sent else batch.replies
        if partial and batches:
            batch = batches[0]
            stop = batch.replies.index(None, batch.sent)
            pieces += batch.replies[batch.sent : stop]
            batch.sent = stop
        data = b"".join(pieces)  # type: ignore[arg-type]  # no None among them
        self.unsent = max(0, self.unsent - len(data)) if batches else 0
        return data


def with_trace(line: bytes, bundle: Bundle, answered_at: float | None) -> bytes:
    """A reply line that also tells its way: the node, the time until it was sent, and the node's own time."""
    pipeline = bundle.pipeline
    assert pipeline is not None
    options = b" node=%b role=%b" % (pipeline.name.encode("ascii"), pipeline.role.encode("ascii"))
    if bundle.sent_at:
        options += b" queue_us=%d" % max(0, round((bundle.sent_at - bundle.received_at) * 1e6))
        if answered_at is not None:
            options += b" node_us=%d" % max(0, round((answered_at - bundle.sent_at) * 1e6))
    if line.startswith(b"ERR "):
        head, colon, text = line.partition(b" :")
        return head + options + colon + text
    return line[:-1] + options + b"\n"
