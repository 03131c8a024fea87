"""One client's conversation, server side: read, admit, answer in order, hold to the limits.

    receive ──> plain requests ─────────────┐
           └──> any other frame ──> _handle ┴─> Dispatch: one bundle per node ──> NodePipeline.submit
                                       │                                              │
          data_to_send <── Answers <───┴── answers at once           deliver, fail <──┘

States: FRESH until AUTH, then READY; FRESH again when the token runs out; DRAINING once the server takes nothing new;
CLOSED after QUIT, a broken stream or the client's end, when no more is read, and what was taken is still answered.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

from wireproto.core.answers import Answers, do_nothing
from wireproto.core.dispatch import Dispatch
from wireproto.core.login import Login
from wireproto.core.quota_gate import QuotaGate
from wireproto.core.reply_lines import OK, error_line
from wireproto.core.request_wire import EMPTY_LINE, Frame, RequestParser
from wireproto.core.ring import place
from wireproto.core.session_context import SessionContext
from wireproto.core.shard_lane import ShardLane
from wireproto.core.tokens import Identity
from wireproto.core.verbs import Verb, help_text
from wireproto.core.wire import encode_argument
from wireproto.errors import AuthError, ExpiredError

MOST_OF_A_TURN: Final = 1024
"""Requests for nodes that are taken from one client before the others have their turn."""
WEIGHT_OF_A_TURN: Final = 512
"""How much one client may ask of this process before the others have their turn: about 2 ms."""
UNSENT_OF_A_TURN: Final = 256 * 1024
"""How many bytes of replies one client may heap up before they are written."""
WEIGHT_OF_A_REFUSAL: Final = 3
"""Added to that of a request which a quota refuses: it is read by the full parser."""
COST_OF_A_PIECE: Final = 64
"""Bytes that a piece of a value takes beside what is in it."""
_TO_NODES: Final = frozenset({Verb.READ, Verb.WRITE, Verb.DELETE, Verb.TOUCH, Verb.INCR})


class SessionState(Enum):
    """Where a conversation stands."""

    FRESH = "fresh"
    READY = "ready"
    DRAINING = "draining"
    CLOSED = "closed"


# Python 3.11 looks up `SessionState.READY` in 100 ns, and this in 15.
_READY: Final = SessionState.READY
_CLOSED: Final = SessionState.CLOSED


class ServerSession:
    """One client's conversation. Times are seconds of a monotonic clock.

    `lanes` are the ways to the shards in the order of the ring's names. `on_output` is called when there may be
    something to send, and when reading is to stop or to go on.
    """

    def __init__(
        self, context: SessionContext, lanes: list[ShardLane], on_output: Callable[[], None], peer: str
    ) -> None:
        self.state = SessionState.FRESH
        self.writing_stopped = False
        """Set by the shell while the client does not read what was sent."""
        self.last_request_at = 0.0
        """When the last whole request was read; bytes that make no request do not count."""
        self.login = Login(context, peer)
        self.gate: QuotaGate | None = None
        """Of a client that has a quota."""
        self.frame_began_at = 0.0
        """When the first byte came of a frame that is not whole. 0.0: there is none, or it is not read any further now,
        for which the client is not to blame."""
        self._context = context
        self._limits = context.limits
        self._parser = RequestParser(context.limits)
        self._answers = Answers(context.limits, context.metrics, on_output, context.surroundings)
        self._on_output = on_output
        self._dispatch = Dispatch(context, lanes, self._answers)
        self._chunks: list[bytes] = []
        self._held = 0
        self._need = 0
        self._blocked = False
        self._input_ended = False
        self._weight = 0
        self._ceiling = 0
        """How many requests may be in flight at the end of this turn."""
        self._now = 0.0
        self._not_let_in = b""
        """Why a client that has shown its certificate was not let in."""

    # -- what the shell asks

    @property
    def wants_input(self) -> bool:
        """Whether to read from the client: not while too much is in flight or unread."""
        return not self._blocked

    @property
    def can_resume(self) -> bool:
        """Whether `resume` would get on."""
        return (
            self._blocked
            and not self.writing_stopped
            and self._answers.in_flight <= self._answers.window // 2
            and self._answers.in_flight_bytes <= self._limits.max_in_flight_bytes // 2
            and self._answers.unsent < UNSENT_OF_A_TURN
        )

    @property
    def memory(self) -> int:
        """About how many bytes this client makes the server hold: what was not parsed, sent to nodes, or handed out."""
        answers, parser = self._answers, self._parser
        unparsed = self._held + len(self._chunks) * COST_OF_A_PIECE + (parser.held if parser.in_frame else 0)
        return unparsed + answers.in_flight_bytes + answers.unsent

    @property
    def owes_nothing(self) -> bool:
        """Whether every request that was received whole has its answer, and the answers have been handed out."""
        return self._answers.is_empty and not self._blocked

    @property
    def is_finished(self) -> bool:
        """Whether the connection is to be closed: all is said, or a bug has ended it."""
        return self._answers.abandoned or (self.state is _CLOSED and self._answers.is_empty)

    @property
    def is_broken(self) -> bool:
        """Whether nothing more can be sent."""
        return self._answers.abandoned

    @property
    def has_held_replies(self) -> bool:
        """Whether replies may be waiting behind one that is missing."""
        return bool(self._answers.batches)

    def data_to_send(self, *, partial: bool = False) -> bytes:
        """The replies that may leave now; see `Answers.take`."""
        return self._answers.take(partial=partial)

    # -- requests

    def receive(self, chunk: bytes, now: float) -> None:
        """Take bytes from the client. What is wrong with them becomes a reply, or the end of the conversation."""
        if self.state is _CLOSED:
            return
        self._now = now
        if self._held:
            # A value's length is known: its pieces are joined once, when all are there (16 MiB in 1,400 B pieces:
            # 7 ms instead of 2.9 s).
            self._chunks.append(chunk)
            self._held += len(chunk)
            if self._blocked or self._held < self._need:
                return
            chunk = self._take_held()
        self._read_requests(chunk)

    def hold(self, chunk: bytes) -> None:
        """Take bytes from the client and leave them for `resume`: others are to have their turn first."""
        if self.state is _CLOSED:
            return
        self._chunks.append(chunk)
        self._held += len(chunk)
        if self._held >= self._need:
            self._blocked = True
            self.frame_began_at = 0.0
            self._on_output()

    def resume(self, now: float) -> None:
        """Go on with what was received and not yet parsed, if there is room again."""
        if self.can_resume:
            self._now = now
            self._read_requests(self._take_held())

    def end_of_input(self) -> None:
        """The client has sent all it will; what it sent is still answered."""
        self._input_ended = True
        if not self._blocked:
            self.stop_reading()

    def drain(self) -> None:
        """Answer CLOSING to everything new."""
        if self.state is not _CLOSED:
            self.state = SessionState.DRAINING

    def stop_reading(self) -> None:
        """Drop what comes from now on; what was taken is still answered."""
        self.state = SessionState.CLOSED
        self._take_held()
        self._parser.forget()
        self._blocked = False
        self.frame_began_at = 0.0

    def abandon(self) -> None:
        """The client is gone: what nodes still owe is read and dropped."""
        self.stop_reading()
        if self.gate is not None:
            self.gate.leave()
        self._on_output = do_nothing
        self._answers.abandon()

    def _take_held(self) -> bytes:
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._held = self._need = 0
        return data

    def _room(self) -> int:
        """How many more requests may be taken now; 0 or less for none."""
        answers = self._answers
        if (
            self.writing_stopped
            or answers.in_flight_bytes >= self._limits.max_in_flight_bytes
            or answers.unsent >= UNSENT_OF_A_TURN
            or self._weight >= WEIGHT_OF_A_TURN
        ):
            return 0
        return min(answers.window, self._ceiling) - answers.in_flight

    def _read_requests(self, data: bytes) -> None:
        """Parse what may be parsed, send it on its way, and keep the rest."""
        position, end = 0, len(data)
        self._weight = 0
        self._ceiling = self._answers.in_flight + MOST_OF_A_TURN
        self._blocked = False
        if self.state is _READY and not self.login.holds(self._now):
            self.state = SessionState.FRESH
        if self.gate is not None:
            self.gate.begin(self._now)
        parser = self._parser
        while position < end and self.state is not _CLOSED:
            room = self._room()
            if room <= 0:
                self._blocked = True
                break
            if self.state is _READY and not parser.in_frame:
                if self.gate is None:
                    taken_to = self._dispatch.take_plain(data, position, room, self._now)
                else:
                    taken_to = self.gate.take_plain(self._dispatch, data, position, room)
                    self._weight += self.gate.refused
                if taken_to > position:
                    self.last_request_at = self._now
                    self.frame_began_at = 0.0
                    position = taken_to
                if position == end or self._room() <= 0:
                    continue
            begin = position
            frame, position = parser.read(data, position)
            if frame is None:
                break
            self.frame_began_at = 0.0
            if frame is EMPTY_LINE:
                self._weight += 1
            else:
                self._answer(frame, position - begin)
        if position < end:
            self._keep(data[position:])
        if self.gate is not None:
            self.gate.end(position)
        if self._blocked or (position == end and not parser.in_frame):
            self.frame_began_at = 0.0
        elif self.frame_began_at == 0.0:
            self.frame_began_at = self._now
        if self.state is _CLOSED or (self._input_ended and not self._blocked):
            self.stop_reading()
        self._answers.end_of_read()
        self._dispatch.submit()
        if self._blocked:
            self._on_output()

    def _keep(self, rest: bytes) -> None:
        """Hold what was not parsed: the tail of an incomplete frame, or everything behind a limit."""
        self._chunks.append(rest)
        self._held = len(rest)
        self._need = 0 if self._blocked else self._parser.need

    # -- any frame

    def _answer(self, frame: Frame, size: int) -> None:
        """Answer a frame of so many bytes, or send it on its way to a node."""
        self.last_request_at = self._now
        self._weight += frame.spec.weight if frame.spec else 1
        if self.gate is not None and self.state is _READY and self.gate.refuses(frame, size):
            self._weight += WEIGHT_OF_A_REFUSAL
            return
        line = self._handle(frame)
        if line is None:
            return
        words = line.split(None, 2)
        outcome = words[1] if words[0] == b"ERR" else words[0]
        self._context.metrics.outcomes[frame.spec.verb.name if frame.spec else "-", outcome.decode("ascii")] += 1
        self._answers.answer(frame.tag, line)

    def _handle(self, frame: Frame) -> bytes | None:
        """The reply to a frame, or None when a node will give it."""
        spec = frame.spec
        if frame.error:
            if frame.error == "PROTO":
                self.state = SessionState.CLOSED
            return error_line(frame.error, frame.text)
        assert spec is not None
        if spec.verb is Verb.QUIT:
            self.state = SessionState.CLOSED
            return OK
        if self.state is SessionState.DRAINING:
            return error_line("CLOSING", "the server is shutting down")
        if not spec.before_auth and self.state is not _READY:
            return self._not_authenticated()
        if spec.verb is Verb.AUTH:
            return self._authenticate(frame.arguments[0])
        if denial := self.login.denial(spec, frame.arguments, frame.options):
            return denial
        if spec.verb in _TO_NODES:
            self._dispatch.add(frame, spec.verb, self._now)
            return None
        return self._answer_here(spec.verb, frame.arguments)

    def _answer_here(self, verb: Verb, arguments: list[bytes]) -> bytes:
        """The reply to a verb that no node has to be asked for."""
        if verb is Verb.WHERE:
            return self._where(arguments[0])
        if verb is Verb.STATS:
            text = self._context.surroundings.stats()
        elif verb is Verb.HELP:
            text = help_text().encode()
        elif arguments:
            text = arguments[0]
        else:
            return OK
        return b"OK %b\n" % encode_argument(text)

    def _where(self, key: bytes) -> bytes:
        ring = self._context.ring
        index = ring.index(key)
        nodes, details = self._context.surroundings.describe_shard(index)
        options = "".join(f" {name}={value}" for name, value in details.items())
        arguments = b" ".join(encode_argument(text.encode()) for text in (ring.names[index], *nodes))
        return b"OK %b%b place=%d\n" % (arguments, options.encode("ascii"), place(key, ring.seed))

    # -- who it is

    def follow_quota(self) -> None:
        """Quotas have changed. A connection that is open stays so, and counts."""
        gate = self._gate_of(self.login.identity)
        if self.gate is not None:
            self.gate.leave()
        if gate is not None:
            gate.join()
        self.gate = gate

    def _gate_of(self, identity: Identity | None) -> QuotaGate | None:
        quotas = self._context.quotas
        meter = None if quotas is None or identity is None else quotas.meter_of(identity.client)
        if identity is None or meter is None:
            return None
        return QuotaGate(self._context, self._answers, identity.client, meter)

    def _not_authenticated(self) -> bytes:
        if self.login.identity is not None:
            return error_line("EXPIRED", "the token of this connection is not valid any more; AUTH again")
        if self._not_let_in:
            return self._not_let_in
        return error_line("AUTH", 'log in first: auth "your-api-key"')

    def _authenticate(self, credential: bytes) -> bytes:
        known = self.login.identity
        try:
            line = self.login.authenticate(credential, self._now)
        except (AuthError, ExpiredError) as error:
            if self.login.is_barred:
                self._context.metrics.closed_by_limit["credentials"] += 1
                self.state = SessionState.CLOSED
            return error_line(error.code, str(error))
        return self._begin(known) or line

    def log_in_by_certificate(self, names: list[str], expires_at: int, now: float) -> None:
        """Let in a client that has shown a verified certificate with these names, valid until `expires_at` (Unix time).

        Before its first request. If the certificate is for nobody here, the client has to AUTH like any other.
        """
        self._now = now
        if self.login.by_certificate(names, expires_at, now):
            # Nothing was asked yet, so a refusal is told in the answer to the first request.
            self._not_let_in = self._begin(None)

    def _begin(self, known: Identity | None) -> bytes:
        """Take requests of whoever has logged in and was `known` before; the refusal of one connection too many."""
        identity, sealers = self.login.identity, self._context.sealers
        assert identity is not None
        if known is None:
            gate = self._gate_of(identity)
            if gate is not None and (refusal := gate.enter(self._now)):
                self.login.identity = None
                return refusal
            self.gate = gate
        self.state = SessionState.READY
        self._parser.trusted = True
        sealer = None if sealers is None else sealers.for_namespace(identity.namespace)
        self._dispatch.use_namespace(identity.namespace, self.login.admission, sealer)
        return b""
