"""One client's conversation, server side: parse, admit, answer in order, hold to the limits.

    receive ──> plain requests (hot loop) ──┐
           └──> any frame ──> _handle ──────┴─> bundles, one per node ──> NodePipeline.submit
                                  │                                             │
    data_to_send <── replies in order <──── answers at once       deliver, fail <┘

What one read brought in is one batch. Untagged requests have a place in their batch, and batches leave in order; a
tagged reply leaves as soon as it is there. A refusal is an answer: it takes its place like any other.

States: FRESH until AUTH, then READY; DRAINING once the server takes nothing new; CLOSED after QUIT, a broken stream or
the client's end, when no more is read, and what was taken is still answered.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from mmh3 import mmh3_32_uintdigest

from wireproto.core import commands
from wireproto.core.commands import CONFLICT, DELETE, MISS, OK, READ, VERB_NAMES, WRITE, error_line, render
from wireproto.core.limits import Limits
from wireproto.core.metrics import Metrics
from wireproto.core.node_pipeline import Batch, Bundle, NodePipeline
from wireproto.core.request_wire import Frame, RequestParser
from wireproto.core.ring import PLACE_SHIFT, HashRing
from wireproto.core.stored_values import MARKER
from wireproto.core.tokens import Identity, TokenAuthority
from wireproto.core.verbs import Verb, help_text
from wireproto.core.wire import LENGTHS, encode_argument
from wireproto.errors import AuthError, ExpiredError

MAX_WRONG_CREDENTIALS: Final = 3
BUSY_RETRY_MS: Final = 50
_OPENING_BRACE: Final = ord("{")

_PLAIN: Final = re.compile(
    rb"(?:#([A-Za-z0-9_-]{1,16}) )?(READ|GET|WRITE|SET|DELETE|DEL) ([1-9][0-9]{0,3}):([^ \n]*)(?:\n| (0|[1-9][0-9]{0,8}):)"
)
"""A whole READ or DELETE, or a WRITE up to its value, without options.

It finds where the key ends by the next space or LF instead of by its length; when the two disagree (a key that contains
one) the frame goes to the full parser. One match costs 390 ns; the full parser takes 3,000.
"""


class SessionState(Enum):
    """Where a conversation stands."""

    FRESH = "fresh"
    READY = "ready"
    DRAINING = "draining"
    CLOSED = "closed"


class Surroundings(Protocol):
    """What a session asks of the world; the shell provides it."""

    def wall_clock(self) -> float:
        """Seconds since 1970, for tokens only."""

    def new_id(self) -> str:
        """A fresh random identifier."""

    def describe_node(self, index: int) -> Mapping[str, str]:
        """Role, state and the like of the node that serves a shard, as option values."""

    def stats(self) -> bytes:
        """The answer to STATS, as JSON."""

    def audit(self, event: str, details: Mapping[str, object]) -> None:
        """Write down who came in and who was refused."""

    def report_bug(self, error: Exception) -> str:
        """Log an unexpected error; the id that it is logged under."""


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What all sessions of a process share."""

    limits: Limits
    ring: HashRing
    authority: TokenAuthority
    metrics: Metrics
    surroundings: Surroundings


class ServerSession:
    """One client's conversation. Times are seconds of a monotonic clock; `on_output` is called when replies are ready."""

    def __init__(
        self, context: SessionContext, pipelines: list[NodePipeline], on_output: Callable[[], None], peer: str
    ) -> None:
        self.state = SessionState.FRESH
        self.in_flight = 0
        self.identity: Identity | None = None
        self.writing_stopped = False
        """Set by the shell while the client does not read what was sent."""
        self.incomplete_since = 0.0
        """When the frame that is only partly there began to arrive; 0 when there is none."""
        self._context = context
        self._limits = context.limits
        self._ring = context.ring
        self._pipelines = pipelines
        self._on_output = on_output
        self._peer = peer
        self._parser = RequestParser(context.limits)
        self._commands: commands.NamespaceCommands | None = None
        self._wrong_credentials = 0
        self._expired = False
        self._chunks: list[bytes] = []
        self._held = 0
        self._need = 0
        self._blocked = False
        self._batches: deque[Batch] = deque()
        self._batch = Batch()
        self._bundles: list[Bundle | None] = [None] * len(pipelines)
        self._ready: list[bytes] = []
        self._unread = 0
        self._in_flight_bytes = 0
        # Four of the largest values fit before anything is known of what this client reads.
        self._expected_reply = 2 * context.limits.max_value
        self._now = 0.0

    # -- what the shell asks

    @property
    def wants_input(self) -> bool:
        """Whether to read from the client: not while too much is in flight or unread."""
        return not self._blocked and self.state is not SessionState.CLOSED

    @property
    def is_finished(self) -> bool:
        """Whether the connection is to be closed, everything having been handed out."""
        return self.state is SessionState.CLOSED and not self.in_flight and not self._batches and not self._ready

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in flight and nothing waits to leave."""
        return not self.in_flight and not self._batches and not self._ready and not self._held

    # -- requests

    def receive(self, chunk: bytes, now: float) -> None:
        """Take bytes from the client. Never raises; what is wrong becomes a reply, or the end of the conversation."""
        if self.state is SessionState.CLOSED:
            return
        self._now = now
        if self._held:
            # A value's length is known: join its pieces once, when all are there (16 MiB in 1,400 B pieces: 7 ms
            # instead of 2.9 s).
            self._chunks.append(chunk)
            self._held += len(chunk)
            if self._held < self._need:
                return
            chunk = b"".join(self._chunks)
            self._chunks.clear()
        self._read_requests(chunk)

    def resume(self, now: float) -> None:
        """Go on with what was received and not yet parsed, once there is room again."""
        if self._blocked and not self.writing_stopped and self.in_flight <= self._window() // 2:
            self._now = now
            chunk = b"".join(self._chunks)
            self._chunks.clear()
            self._read_requests(chunk)

    def end_of_input(self) -> None:
        """The client has sent all it will; what it sent is still answered."""
        if not self._blocked:
            self.state = SessionState.CLOSED
        else:
            self._close_after_rest = True

    _close_after_rest = False

    def drain(self) -> None:
        """Answer CLOSING to everything new."""
        if self.state is not SessionState.CLOSED:
            self.state = SessionState.DRAINING

    def close(self) -> None:
        """Read no more."""
        self.state = SessionState.CLOSED
        self._chunks.clear()
        self._held = self._need = 0
        self._blocked = False

    def _window(self) -> int:
        """How many requests may be in flight: fewer, the larger the replies that this client has been getting."""
        return min(self._limits.max_in_flight, max(4, self._limits.max_in_flight_bytes // self._expected_reply))

    def _is_full(self) -> bool:
        return (
            self.writing_stopped
            or self.in_flight >= self._window()
            or self._in_flight_bytes >= self._limits.max_in_flight_bytes
        )

    def _read_requests(self, data: bytes) -> None:
        self._batch = Batch()
        position, end = 0, len(data)
        self._check_expiry()
        self._blocked = False
        parser = self._parser
        while position < end and self.state is not SessionState.CLOSED:
            if self._is_full():
                self._blocked = True
                break
            if self.state is SessionState.READY and not parser.in_frame:
                before = position
                position = self._take_plain(data, position)
                if position == end or (position > before and self._is_full()):
                    continue
            frame, position = parser.read(data, position)
            if frame is None:
                break
            self._answer(frame)
        self._keep(data, position)
        self._dispatch()

    def _keep(self, data: bytes, position: int) -> None:
        """Hold what was not parsed: the tail of an incomplete frame, or everything behind a limit."""
        rest = data[position:] if position else data
        self._held = len(rest)
        self._need = 0 if self._blocked else self._parser.need
        if self.state is SessionState.CLOSED:
            self.close()
        elif rest:
            self._chunks.append(rest)
        if rest or self._parser.in_frame:
            self.incomplete_since = self.incomplete_since or self._now
        else:
            self.incomplete_since = 0.0
        if self._close_after_rest and not self._blocked:
            self.close()

    def _take_plain(self, data: bytes, position: int) -> int:
        """The hot loop: plain requests from `position` on, into bundles. The position of the first other frame."""
        assert self._commands is not None
        plain, match = self._commands.plain, _PLAIN.match
        ring, table, seed = self._ring, self._ring.table, self._ring.seed
        bundles, batch, now = self._bundles, self._batch, self._now
        max_key, max_value = self._limits.max_key, self._limits.max_value
        place = first_place = len(batch.replies)
        room = self._window() - self.in_flight
        byte_room = self._limits.max_in_flight_bytes - self._in_flight_bytes
        while room > 0 and byte_room > 0:
            found = match(data, position)
            if found is None:
                break
            tag, verb, length_text, key, value_length = found.groups()
            length = len(key)
            if length > max_key or LENGTHS[length] != length_text:
                break
            kind, heads = plain[verb]
            if value_length is None:
                if kind == WRITE:
                    break
                command = heads[length] + key
                next_position = found.end()
                cost = 0
            else:
                if kind != WRITE:
                    break
                start = found.end()
                cost = int(value_length)
                stop = start + cost
                if cost > max_value or data[stop : stop + 1] != b"\n" or data[start] == MARKER:
                    break
                command = b"%b%b\r\n$%d\r\n%b" % (heads[length], key, cost, data[start:stop])
                next_position = stop + 1
                byte_room -= cost
            owner = ring.index(key) if _OPENING_BRACE in key else table[mmh3_32_uintdigest(key, seed) >> PLACE_SHIFT]
            bundle = bundles[owner]
            if bundle is None:
                bundle = bundles[owner] = Bundle(self, batch, now)
            bundle.commands.append(command)
            bundle.cost += cost
            if tag is None:
                bundle.entries.append((kind, place, b""))
                place += 1
            else:
                bundle.entries.append((kind, -1, tag))
            room -= 1
            position = next_position
        untagged = place - first_place
        batch.replies += [None] * untagged
        batch.missing += untagged
        self.in_flight = self._window() - room
        self._in_flight_bytes = self._limits.max_in_flight_bytes - byte_room
        return position

    def _dispatch(self) -> None:
        """Hand the bundles of this read to their nodes."""
        batch = self._batch
        if batch.replies:
            self._batches.append(batch)
            if not batch.missing:
                self._on_output()
        bundles = self._bundles
        for index, bundle in enumerate(bundles):
            if bundle is not None:
                bundles[index] = None
                self._pipelines[index].submit(bundle)

    # -- any frame

    def _answer(self, frame: Frame) -> None:
        """Answer a frame, or send it on its way to a node."""
        try:
            line = self._handle(frame)
        except Exception as error:
            line = error_line("INTERNAL", f"a bug, logged as {self._context.surroundings.report_bug(error)}")
        if line is None:
            return
        verb = frame.spec.verb.name if frame.spec else "-"
        outcome = line.split(None, 2)[1].decode("ascii") if line.startswith(b"ERR ") else line.split(None, 1)[0].decode()
        self._context.metrics.outcomes[verb, outcome] += 1
        if frame.tag:
            self._ready.append(b"#%b %b" % (frame.tag, line))
            self._on_output()
        else:
            self._batch.replies.append(line)

    def _handle(self, frame: Frame) -> bytes | None:
        """The reply to a frame, or None when a node will give it."""
        if frame.error:
            if frame.error == "PROTO":
                self.state = SessionState.CLOSED
            return error_line(frame.error, frame.text)
        spec = frame.spec
        assert spec is not None
        verb = spec.verb
        if verb is Verb.QUIT:
            self.state = SessionState.CLOSED
            return OK
        if self.state is SessionState.DRAINING:
            return error_line("CLOSING", "the server is shutting down")
        if not spec.before_auth and self.state is not SessionState.READY:
            return self._not_authenticated()
        if verb is Verb.AUTH:
            return self._authenticate(frame.arguments[0])
        if verb is Verb.PING:
            return b"OK %b\n" % encode_argument(frame.arguments[0]) if frame.arguments else OK
        if verb is Verb.HELP:
            return b"OK %b\n" % encode_argument(help_text().encode())
        if verb is Verb.STATS:
            return b"OK %b\n" % encode_argument(self._context.surroundings.stats())
        if verb is Verb.WHERE:
            return self._where(frame.arguments[0])
        self._send_to_node(frame, verb)
        return None

    def _send_to_node(self, frame: Frame, verb: Verb) -> None:
        assert self._commands is not None
        kind, command = self._commands.command(verb, frame.arguments, frame.options)
        owner = self._ring.index(frame.arguments[0])
        if "deadline" in frame.options and self._bundles[owner] is not None:
            self._submit(owner)
        bundle = self._bundles[owner]
        if bundle is None:
            bundle = self._bundles[owner] = Bundle(self, self._batch, self._now)
        if frame.tag:
            place = -1
        else:
            place = len(self._batch.replies)
            self._batch.replies.append(None)
            self._batch.missing += 1
        if "trace" in frame.options:
            bundle.traced.add(len(bundle.entries))
        bundle.commands.append(command)
        bundle.entries.append((kind, place, frame.tag))
        cost = len(frame.arguments[1]) if len(frame.arguments) > 1 else 0
        bundle.cost += cost
        self.in_flight += 1
        self._in_flight_bytes += cost
        if "deadline" in frame.options:
            # A deadline is a bundle's; this one travels alone, behind what came before it.
            bundle.deadline = self._now + frame.options["deadline"] / 1000
            self._submit(owner)

    def _submit(self, owner: int) -> None:
        bundle = self._bundles[owner]
        self._bundles[owner] = None
        if bundle is not None:
            self._pipelines[owner].submit(bundle)

    def _where(self, key: bytes) -> bytes:
        index = self._ring.index(key)
        details = self._context.surroundings.describe_node(index)
        options = "".join(f" {name}={value}" for name, value in details.items())
        return b"OK %b%b place=%d\n" % (
            encode_argument(self._ring.names[index].encode()),
            options.encode("ascii"),
            self._ring.place(key),
        )

    # -- who it is

    def _check_expiry(self) -> None:
        if self.state is SessionState.READY:
            assert self.identity is not None
            if self._context.surroundings.wall_clock() >= self.identity.expires_at:
                self.state = SessionState.FRESH
                self._expired = True

    def _not_authenticated(self) -> bytes:
        if self._expired:
            return error_line("EXPIRED", "the token of this connection has run out; AUTH again")
        return error_line("AUTH", 'log in first: AUTH "your-api-key"')

    def _authenticate(self, credential: bytes) -> bytes:
        context = self._context
        now = context.surroundings.wall_clock()
        token = ""
        try:
            if b"." in credential:
                identity = context.authority.verify(credential, now)
            else:
                token, identity = context.authority.login(credential, now, context.surroundings.new_id())
            known = self.identity
            if known is not None and (known.client, known.namespace) != (identity.client, identity.namespace):
                raise AuthError("a connection stays with the client that it was authenticated for")
        except (AuthError, ExpiredError) as error:
            return self._refuse_credential(error)
        self.identity = identity
        self.state = SessionState.READY
        self._expired = False
        self._parser.trusted = True
        self._commands = commands.namespace_commands(identity.namespace)
        context.surroundings.audit(
            "authenticated", {"client": identity.client, "namespace": identity.namespace, "peer": self._peer}
        )
        ttl = max(0, int(identity.expires_at - now))
        if token:
            return b"OK %b ttl=%d\n" % (encode_argument(token.encode("ascii")), ttl)
        return b"OK ttl=%d\n" % ttl

    def _refuse_credential(self, error: AuthError | ExpiredError) -> bytes:
        self._wrong_credentials += 1
        reason = getattr(error, "reason", None) or error.code
        self._context.surroundings.audit("refused", {"reason": str(reason), "peer": self._peer})
        if self._wrong_credentials >= MAX_WRONG_CREDENTIALS:
            self._context.metrics.closed_by_limit["credentials"] += 1
            self.state = SessionState.CLOSED
        return error_line(error.code, str(error))

    # -- replies

    def deliver(self, bundle: Bundle, first: int, replies: list[object], size: int, now: float) -> None:
        """Take replies from a node: the requests of the bundle from `first` on, in `size` bytes."""
        count = len(replies)
        entries = bundle.entries if first == 0 and count == len(bundle.entries) else bundle.entries[first : first + count]
        self._expected_reply = max(size // count, self._expected_reply >> 1, 1)
        self._unread += size
        if bundle.traced or self._unread > self._limits.max_unread_bytes:
            self._deliver_each(bundle, entries, first, replies, now)
            return
        answers, ready = bundle.batch.replies, self._ready
        hits = untagged = 0
        for (kind, place, tag), reply in zip(entries, replies, strict=True):
            if kind == READ and type(reply) is bytes and not (reply and reply[0] == MARKER):
                line = b"OK %d:%b\n" % (len(reply), reply)
                hits += 1
            else:
                line = self._render(kind, reply)
            if tag:
                ready.append(b"#%b %b" % (tag, line))
            else:
                answers[place] = line
                untagged += 1
        self._context.metrics.outcomes["READ", "OK"] += hits
        self._answered(bundle, count, untagged)

    def _deliver_each(
        self, bundle: Bundle, entries: list[tuple[int, int, bytes]], first: int, replies: list[object], now: float
    ) -> None:
        """The same with a trace, or for a client that has too much unread: then a value is let go and asked for again."""
        untagged = 0
        for index, ((kind, place, tag), reply) in enumerate(zip(entries, replies, strict=True), first):
            if self._unread > self._limits.max_unread_bytes and VERB_NAMES[kind] == "READ" and reply is not None:
                self._context.metrics.outcomes["READ", "BUSY"] += 1
                line = error_line("BUSY", "too many replies are unread", BUSY_RETRY_MS)
            else:
                line = self._render(kind, reply)
            if index in bundle.traced:
                line = self._with_trace(line, bundle, now)
            if tag:
                self._ready.append(b"#%b %b" % (tag, line))
            else:
                bundle.batch.replies[place] = line
                untagged += 1
        self._answered(bundle, len(entries), untagged)

    def _with_trace(self, line: bytes, bundle: Bundle, now: float) -> bytes:
        if line.startswith(b"ERR "):
            return line
        owner = next(index for index, pipeline in enumerate(self._pipelines) if pipeline.name == bundle.node)
        return b"%b node=%b queue_us=%d node_us=%d\n" % (
            line[:-1],
            self._ring.names[owner].encode(),
            max(0, round((bundle.sent_at - bundle.received_at) * 1e6)),
            max(0, round((now - bundle.sent_at) * 1e6)),
        )

    def _render(self, kind: int, reply: object) -> bytes:
        if kind == WRITE and reply == b"OK":
            outcome, line = "OK", OK
        else:
            outcome, line = render(kind, reply)
        self._context.metrics.outcomes[VERB_NAMES[kind], outcome] += 1
        return line

    def fail(self, bundle: Bundle, code: str, text: str, retry_ms: int | None = None) -> None:
        """Answer what is left of a bundle with an error."""
        line = error_line(code, text, retry_ms)
        entries = bundle.entries[bundle.answered :]
        untagged = 0
        for kind, place, tag in entries:
            self._context.metrics.outcomes[VERB_NAMES[kind], code] += 1
            if tag:
                self._ready.append(b"#%b %b" % (tag, line))
            else:
                bundle.batch.replies[place] = line
                untagged += 1
        bundle.answered = len(bundle.entries)
        self._answered(bundle, len(entries), untagged)

    def _answered(self, bundle: Bundle, count: int, untagged: int) -> None:
        bundle.batch.missing -= untagged
        self.in_flight -= count
        if bundle.answered == len(bundle.entries):
            self._in_flight_bytes -= bundle.cost
        self._on_output()

    def data_to_send(self, *, partial: bool = False) -> bytes:
        """The replies that may leave now. `partial`: also the answered front of a batch whose rest is still missing."""
        pieces = self._ready
        self._ready = []
        batches = self._batches
        while batches and not batches[0].missing:
            batch = batches.popleft()
            pieces += batch.replies[batch.sent :]  # type: ignore[arg-type]  # nothing is missing: no place is None
        if partial and batches:
            batch = batches[0]
            try:
                stop = batch.replies.index(None, batch.sent)
            except ValueError:
                stop = len(batch.replies)
            pieces += batch.replies[batch.sent : stop]  # type: ignore[arg-type]  # up to the first None
            batch.sent = stop
        data = b"".join(pieces)
        self._unread = max(0, self._unread - len(data)) if batches else 0
        return data

    @property
    def has_partial_batch(self) -> bool:
        """Whether replies wait behind one that is missing."""
        return bool(self._batches)


_ = (CONFLICT, DELETE, MISS)
