"""READs that want a lease if they miss: the second question, which only a miss costs.

    READ k lease=<ms>  ──> GET ──> a hit: answered like any other
                            └────> a miss ──> READ_SCRIPT: the lease, or who has it ──> answered

The script runs after other requests that this client sent behind the READ. That does no harm, but for one thing: a
write of the same key that came behind the READ would have ended the lease, had the READ been one step. So writes are
noted while such READs are in flight, and a READ that was overtaken gets a lease that does not hold.
"""

from __future__ import annotations

from typing import Final, Protocol

from wireproto.core.bundle import Batch, Bundle, LeaseRead
from wireproto.core.commands import READ_SCRIPTED, TELL_LEASE, Moment, NamespaceCommands
from wireproto.core.envelope import is_enveloped, is_vacancy, read_envelope, vacant_until
from wireproto.core.node_pipeline import NodePipeline
from wireproto.core.node_replies import hit
from wireproto.core.stored_values import MARKER
from wireproto.core.verbs import MAX_LEASE_MS

SECOND_QUESTION: Final = READ_SCRIPTED + TELL_LEASE
"""The kind of reply to it."""
MOST_WRITES: Final = 4096
"""Keys that are noted. Past it, all READs that are in flight count as overtaken."""


class LeaseAsker(Protocol):
    """Who wants to know what came of a READ (`answers`)."""

    def answer_read(
        self, origin: Bundle, read: LeaseRead, question: Bundle, reply: object, size: int, now: float
    ) -> None:
        """The master's reply to the second question, in so many bytes; `question` is the bundle in which that went."""

    def fail_read(self, origin: Bundle, read: LeaseRead, code: str, text: str, retry_ms: int | None) -> None:
        """There will be none."""

    def give_up(self, error: Exception) -> None:
        """One of the above has failed, which is a bug."""


class LeaseReads:
    """One client's READs with a lease. `pipelines` lead to the masters, in the order of the ring's names."""

    __slots__ = ("_overtaken_before", "_pipelines", "_world", "_written", "commands", "in_flight", "writes")

    def __init__(self, pipelines: list[NodePipeline], commands: NamespaceCommands, world: Moment) -> None:
        self.commands = commands
        self.in_flight = 0
        """READs that may still ask for a lease."""
        self.writes = 0
        """How many writes were noted, since there is this client."""
        self._pipelines = pipelines
        self._world = world
        self._written: dict[bytes, int] = {}
        self._overtaken_before = 0

    def sent(self, bundle: Bundle, key: bytes, owner: int, milliseconds: int) -> None:
        """The next entry of a bundle is such a READ."""
        self.in_flight += 1
        if bundle.leases is None:
            bundle.leases = []
        bundle.leases.append((len(bundle.kinds), key, owner, milliseconds, self.writes))

    def wrote(self, key: bytes) -> None:
        """A request that changes a key is sent while such READs are in flight."""
        self.writes += 1
        self._written[key] = self.writes
        if len(self._written) > MOST_WRITES:
            self._written.clear()
            self._overtaken_before = self.writes

    def judge(self, bundle: Bundle, first: int, replies: list[object], asked_at: int) -> dict[int, LeaseRead | bytes]:
        """What is to become of those entries of a bundle that cannot be answered like a plain READ.

        That is, by their place: a line that can be told at once, or the READ itself if the node is to be asked. The
        replies are those to the entries from `first` on; they were sent at `asked_at`, in milliseconds since 1970.
        """
        assert bundle.leases is not None
        end = first + len(replies)
        special: dict[int, LeaseRead | bytes] = {}
        taken = 0
        for read in bundle.leases:
            entry = read[0]
            if entry >= end:
                break
            taken += 1
            reply = replies[entry - first]
            if reply is None:
                special[entry] = self._miss(read)
            elif isinstance(reply, bytes) and reply and reply[0] == MARKER:
                verdict = self._look(read, reply, asked_at)
                if verdict is not None:
                    special[entry] = verdict
        bundle.leases = bundle.leases[taken:]
        self.in_flight -= taken
        self._forget_writes()
        return special

    def failed(self, bundle: Bundle) -> None:
        """The rest of a bundle will not be answered."""
        if bundle.leases:
            self.in_flight -= len(bundle.leases)
            bundle.leases = []
            self._forget_writes()

    def _forget_writes(self) -> None:
        if not self.in_flight and self._written:
            self._written.clear()

    def _miss(self, read: LeaseRead) -> LeaseRead | bytes:
        return b"MISS lease=%b\n" % self._world.stamp() if self._is_overtaken(read) else read

    def _is_overtaken(self, read: LeaseRead) -> bool:
        _entry, key, _owner, _milliseconds, writes = read
        return self._written.get(key, self._overtaken_before) > writes

    def _look(self, read: LeaseRead, stored: bytes, now: int) -> LeaseRead | bytes | None:
        """The same for what is not a plain value; None if it is to be answered like one."""
        if is_vacancy(stored):
            return b"MISS held=%d\n" % min(max(1, vacant_until(stored) - now), MAX_LEASE_MS)
        envelope = read_envelope(stored) if is_enveloped(stored) else None
        if envelope is None or envelope.is_fresh(now):
            return None
        held = min(envelope.lease_until - now, MAX_LEASE_MS)
        if not envelope.may_be_served(now):
            return b"MISS held=%d\n" % held if held > 0 else self._miss(read)
        if held > 0:
            return hit(envelope.value, b" stale held=%d" % held)[1]
        if self._is_overtaken(read):
            return hit(envelope.value, b" stale lease=%b" % self._world.stamp())[1]
        return read

    def ask(self, asker: LeaseAsker, origin: Bundle, reads: list[LeaseRead], now: float) -> None:
        """Ask the masters for the leases of these READs of a bundle."""
        by_owner: dict[int, list[LeaseRead]] = {}
        for read in reads:
            by_owner.setdefault(read[2], []).append(read)
        for owner, some in by_owner.items():
            bundle = Bundle(_Questions(asker, origin, some), Batch(), now)
            bundle.deadline = origin.deadline
            for place, (_entry, key, _owner, lease_ms, _writes) in enumerate(some):
                kind, command = self.commands.scripted_read(key, {"lease": lease_ms}, self._world)
                bundle.kinds.append(kind)
                bundle.commands.append(command)
                bundle.slots.append(place)
            self._pipelines[owner].submit(bundle)


class _Questions:
    """Owns a bundle of second questions."""

    def __init__(self, asker: LeaseAsker, origin: Bundle, reads: list[LeaseRead]) -> None:
        self._asker = asker
        self._origin = origin
        self._reads = reads

    def deliver(self, bundle: Bundle, first: int, replies: list[object], size: int, now: float) -> None:
        for entry, reply in enumerate(replies, first):
            self._asker.answer_read(self._origin, self._reads[entry], bundle, reply, size // len(replies), now)

    def fail(self, bundle: Bundle, code: str, text: str, retry_ms: int | None = None) -> None:
        for read in self._reads[bundle.answered :]:
            self._asker.fail_read(self._origin, read, code, text, retry_ms)

    def give_up(self, error: Exception) -> None:
        self._asker.give_up(error)
