"""From requests to bundles: which node gets what, in the order sent.

requests ──> ring: who owns the key ──> commands: as Redis says it ──> one bundle per node ──> NodePipeline.submit
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from mmh3 import mmh3_32_uintdigest

from wireproto.core.admission import Admission
from wireproto.core.answers import Answers
from wireproto.core.bundle import EMPTY_REPLY, PLACES_OF_A_REPLY, Bundle, ValueSealer
from wireproto.core.commands import (
    BULK_HEADS,
    DELETE,
    EX_HEAD,
    INCR,
    MAX_BULK_HEAD,
    PX_HEAD,
    READ,
    WRITE,
    PlainVerb,
    bulk_head,
    milliseconds,
    namespace_commands,
    needs_script,
)
from wireproto.core.lease_reads import LeaseReads
from wireproto.core.node_pipeline import NodePipeline
from wireproto.core.replica_reads import ReplicaReads
from wireproto.core.request_wire import Frame, is_tag
from wireproto.core.ring import BRACE, SHIFT
from wireproto.core.session_context import SessionContext
from wireproto.core.shard_lane import ShardLane
from wireproto.core.stored_values import MARKER, to_stored
from wireproto.core.verbs import MAX_LEASE_MS, Verb
from wireproto.core.wire import MAX_TAG

if TYPE_CHECKING:
    from mypy_extensions import i64

_LF: Final = 10
_SPACE: Final = 32
_HASH: Final = 35
_ZERO: Final = 48
_NINE: Final = 57
_COLON: Final = 58
_NO_LENGTH: Final = 1 << 40
"""Above every limit."""
_LONGEST_EXPIRY: Final = 9
"""Digits of a time to live that is taken here; the full parser knows the true limit."""
_LONGEST_INCR_OPTIONS: Final = 40
"""Bytes of them, if they are plain."""
_READ_WORD: Final = b"READ "
_NO_WORD: Final = b""
_WRITING: Final = frozenset({Verb.WRITE, Verb.DELETE, Verb.TOUCH, Verb.INCR})
_STORING: Final = frozenset({Verb.WRITE, Verb.DELETE, Verb.INCR})
"""What replicas can be waited for with, and what ends a lease. A new time to live is neither."""


class Dispatch:
    """The bundles of one client. `lanes` are the ways to the shards in the order of the ring's names."""

    __slots__ = (
        "_answers",
        "_bundles",
        "_commands",
        "_lanes",
        "_leases",
        "_limits",
        "_owners",
        "_permissions",
        "_pipelines",
        "_plain",
        "_plain_read",
        "_policy",
        "_prefixes",
        "_replica_bundles",
        "_replica_reads",
        "_ring",
        "_sealer",
        "_sync",
        "_world",
    )

    def __init__(self, context: SessionContext, lanes: list[ShardLane], answers: Answers) -> None:
        self._ring = context.ring
        self._lanes = lanes
        self._pipelines = [lane.master for lane in lanes]
        self._limits = context.limits
        self._policy = context.policy
        self._world = context.surroundings
        self._answers = answers
        self._bundles: list[Bundle | None] = [None] * len(lanes)
        self._owners: list[int] = []
        """Where in `_bundles` there is one."""
        self._replica_bundles: dict[NodePipeline, Bundle] = {}
        self._replica_reads = ReplicaReads(context.policy)
        self._commands = namespace_commands("-")
        self._leases = answers.leases = LeaseReads(self._pipelines, self._commands, context.surroundings)
        self._sync = 0
        self._permissions: frozenset[str] = frozenset()
        self._prefixes: tuple[bytes, ...] = ()
        self._sealer: ValueSealer | None = None
        self._plain: dict[bytes, PlainVerb] = {}
        self._plain_read: bytes = _NO_WORD

    def use_namespace(self, namespace: str, admission: Admission, sealer: ValueSealer | None) -> None:
        """Make requests for the keys of this namespace from now on, in the hot loop only those that are admitted.

        `sealer` is the namespace's.
        """
        self._commands = self._leases.commands = namespace_commands(namespace)
        self._permissions = admission.permissions
        self._prefixes = admission.prefixes
        self._sealer = sealer
        self._sync = self._policy.sync_of(namespace)
        self._choose_plain_verbs()

    def _choose_plain_verbs(self) -> None:
        """Leave to the hot loop what needs nothing but to be sent to the master."""
        commands, permissions = self._commands, self._permissions
        writes = not self._sync and not self._replica_reads.follows_keys
        plain_kinds = {
            READ: "read" in permissions and not self._policy.reads_replicas,
            WRITE: "write" in permissions and writes,
            DELETE: "delete" in permissions and writes,
            INCR: "write" in permissions and writes,
        }
        self._plain = {word: verb for word, verb in commands.plain.items() if plain_kinds[verb.kind]}
        self._plain_read = _READ_WORD if plain_kinds[READ] else _NO_WORD

    def take_plain(self, data: bytes, position: int, room: int, now: float) -> int:
        """The hot loop: at most `room` plain requests from `position` on, into bundles. The position behind them.

        Plain is a READ, DELETE, WRITE or INCR in capitals with `length:bytes` arguments and no options but one `ex` or
        `px`, `lease`, or `by` (which may have one of the first two behind it). Whatever else is met, or is not whole
        yet, is left where it is: the full parser reads and judges it. It takes ten times as long, so this loop is one
        function, a cursor that looks at each byte of a head once.
        """
        commands, answers, bundles = self._commands, self._answers, self._bundles
        plain_read, plain = self._plain_read, self._plain
        read_heads, bulk_heads = commands.read_heads, BULK_HEADS
        digest: Callable[[bytes, int], int] = mmh3_32_uintdigest
        ring, seed, table = self._ring, self._ring.seed, self._ring.narrow_table
        batch = answers.batch
        prefixes = self._prefixes
        sealer = self._sealer
        opens = sealer is not None and sealer.opens
        seals = sealer is not None and sealer.seals
        max_key: i64 = self._limits.max_key
        max_value: i64 = self._limits.max_value
        cursor: i64
        length: i64
        digit: i64
        start: i64
        size: i64
        ending: i64
        owner: i64
        left: i64 = room
        place: i64 = len(batch.replies)
        first_place: i64 = place
        lease: i64
        max_lease: i64 = MAX_LEASE_MS
        leases = self._leases
        incr_tails: dict[bytes, bytes] = {}
        """Of the options that were met in this read."""
        may_lease = "write" in self._permissions
        byte_room: i64 = self._limits.max_in_flight_bytes - answers.in_flight_bytes
        first_byte_room: i64 = byte_room
        begin: i64 = position
        end: i64 = len(data)
        try:
            while begin < end and left > 0 and byte_room > 0:
                cursor = begin
                tag = b""
                if data[cursor] == _HASH:
                    cursor = data.find(b" ", begin, begin + MAX_TAG + 2)
                    if cursor < 0 or not is_tag(data[begin + 1 : cursor]):
                        break
                    cursor += 1
                    if cursor == end:
                        break
                    tag = data[begin:cursor]
                # -- the verb
                if data[cursor : cursor + 5] == plain_read:
                    kind, heads = READ, read_heads
                    cursor += 5
                else:
                    verb = plain.get(data[cursor : cursor + 4])
                    if verb is None or data[cursor : cursor + len(verb.word)] != verb.word:
                        break
                    kind, heads = verb.kind, verb.heads
                    cursor += len(verb.word)
                # -- the key
                length = data[cursor] - _ZERO
                if not 0 < length < 10:
                    break
                cursor += 1
                digit = data[cursor]
                while digit != _COLON:
                    if length > max_key or not _ZERO <= digit <= _NINE:
                        length = _NO_LENGTH
                        break
                    length = length * 10 + digit - _ZERO
                    cursor += 1
                    digit = data[cursor]
                if length > max_key:
                    break
                start = cursor + 1
                cursor = start + length
                ending = data[cursor]
                key = data[start:cursor]
                if prefixes and not key.startswith(prefixes):
                    break
                owner = ring.index(key) if BRACE in key or not table else table[digest(key, seed) >> SHIFT]
                if kind != WRITE:
                    lease = 0
                    tail = b""
                    if kind == INCR:
                        start = cursor
                        cursor = data.find(b"\n", start, start + _LONGEST_INCR_OPTIONS + 1)
                        if cursor < 0:
                            break
                        option = data[start:cursor]
                        if option not in incr_tails:
                            incr_tails[option] = commands.incr_tail(option, milliseconds(self._world))
                        tail = incr_tails[option]
                        if not tail:
                            break
                    elif ending != _LF:
                        # -- a lease
                        if kind != READ or not may_lease or data[cursor : cursor + 7] != b" lease=":
                            break
                        cursor += 7
                        digit = data[cursor]
                        while digit != _LF:
                            lease = lease * 10 + digit - _ZERO
                            if not _ZERO <= digit <= _NINE or not 0 < lease <= max_lease:
                                lease = 0
                                break
                            cursor += 1
                            digit = data[cursor]
                        if not lease:
                            break
                    bundle = bundles[owner] or self._bundle(owner, now)
                    if lease:
                        # As `leases.sent` does it.
                        leases.in_flight += 1
                        if bundle.leases is None:
                            bundle.leases = []
                        bundle.leases.append((len(bundle.kinds), key, owner, lease, leases.writes))
                    elif kind != READ and leases.in_flight:
                        leases.wrote(key)
                    words = bundle.commands
                    words.append(heads[length])
                    words.append(key)
                    if tail:
                        words.append(tail)
                else:
                    # -- the value
                    if ending != _SPACE:
                        break
                    size = data[cursor + 1] - _ZERO
                    if not 0 <= size < 10:
                        break
                    cursor += 2
                    digit = data[cursor]
                    while digit != _COLON:
                        if size > max_value or size == 0 or not _ZERO <= digit <= _NINE:
                            size = _NO_LENGTH
                            break
                        size = size * 10 + digit - _ZERO
                        cursor += 1
                        digit = data[cursor]
                    if size > max_value:
                        break
                    start = cursor + 1
                    cursor = start + size
                    ending = data[cursor]
                    value = data[start:cursor]
                    option = time = b""
                    if ending != _LF:
                        # -- a time to live
                        option = data[cursor : cursor + 4]
                        start = cursor + 4
                        cursor = data.find(b"\n", start, start + _LONGEST_EXPIRY + 1)
                        if cursor <= start or (option != b" ex=" and option != b" px="):
                            break
                        time = data[start:cursor]
                        if not time.isdigit() or time[0] == _ZERO:
                            break
                    if seals:
                        assert sealer is not None
                        value = sealer.seal(key, value)
                        size = len(value)
                    elif size and value[0] == MARKER:
                        break
                    bundle = bundles[owner] or self._bundle(owner, now)
                    if leases.in_flight:
                        leases.wrote(key)
                    words = bundle.commands
                    words.append(commands.expiring_write_heads[length] if time else heads[length])
                    words.append(key)
                    words.append(bulk_heads[size] if size < MAX_BULK_HEAD else bulk_head(size))
                    words.append(value)
                    if time:
                        words.append(EX_HEAD if option == b" ex=" else PX_HEAD)
                        words.append(bulk_heads[len(time)])
                        words.append(time)
                    bundle.cost += size
                    byte_room -= size
                if opens:
                    bundle.keys.append(key)
                bundle.kinds.append(kind)
                if tag:
                    bundle.slots.append(tag)
                else:
                    bundle.slots.append(place)
                    place += PLACES_OF_A_REPLY
                left -= 1
                begin = cursor + 1
        except IndexError:
            pass  # the rest of this request is not there yet
        if place != first_place:
            untagged: i64 = (place - first_place) // PLACES_OF_A_REPLY
            places = EMPTY_REPLY * untagged
            if batch.replies:
                batch.replies += places
            else:
                batch.replies = places
            batch.missing += untagged
        taken: i64 = room - left
        if taken:
            answers.in_flight += taken
            answers.in_flight_bytes += first_byte_room - byte_room
            answers.note_written((first_byte_room - byte_room) // taken)
        return begin

    def _bundle(self, owner: int, now: float) -> Bundle:
        """The bundle of this read for a node."""
        bundle = self._bundles[owner]
        if bundle is None:
            bundle = self._bundles[owner] = self._new_bundle(now)
            self._owners.append(owner)
        return bundle

    def _new_bundle(self, now: float) -> Bundle:
        bundle = Bundle(self._answers, self._answers.batch, now)
        if self._sealer is not None and self._sealer.opens:
            bundle.opener = self._sealer
            bundle.keys = []
        return bundle

    def add(self, frame: Frame, verb: Verb, now: float) -> None:
        """Any request that goes to a node."""
        options = frame.options
        key = frame.arguments[0]
        stored = [self._to_stored(key, value) for value in frame.arguments[1:]]
        kind, command = self._commands.command(verb, [key, *stored], options, frame.tokens, self._world)
        owner = self._ring.index(key)
        replica = self._replica_for(verb, owner, frame, now)
        deadline = options.get("deadline")
        if deadline:
            # A deadline is a bundle's, so this request travels alone, behind what came before it.
            self._submit_one(owner, replica)
        bundle = self._bundle(owner, now) if replica is None else self._replica_bundle(replica, now)
        self._mark(bundle, verb, owner, options)
        if kind == READ and "lease" in options:
            self._leases.sent(bundle, key, owner, options["lease"])
        elif verb in _STORING and self._leases.in_flight and not (verb == Verb.DELETE and "lease" in options):
            # What gives a lease back ends no other.
            self._leases.wrote(key)
        cost = sum(map(len, stored))
        bundle.commands.append(command)
        bundle.kinds.append(kind)
        if bundle.opener is not None:
            bundle.keys.append(key)
        bundle.slots.append(b"#%b " % frame.tag if frame.tag else self._answers.reserve())
        bundle.cost += cost
        self._answers.in_flight += 1
        self._answers.in_flight_bytes += cost
        self._answers.note_written(cost)
        if deadline:
            bundle.deadline = now + deadline / 1000
            self._submit_one(owner, replica)

    def _to_stored(self, key: bytes, value: bytes) -> bytes:
        if self._sealer is not None and self._sealer.seals:
            return self._sealer.seal(key, value)
        return to_stored(value)

    def _mark(self, bundle: Bundle, verb: Verb, owner: int, options: Mapping[str, int]) -> None:
        """Note in a bundle what is to be done about the reply to the request that joins it next."""
        index = len(bundle.kinds)
        if "trace" in options:
            bundle.traced = bundle.traced or set()
            bundle.traced.add(index)
        needed = options.get("sync", self._sync) if verb in _STORING else 0
        if needed:
            bundle.synced = bundle.synced or {}
            bundle.synced[index] = needed
            bundle.confirmations = self._lanes[owner].confirmations

    # -- replicas

    def _replica_for(self, verb: Verb, owner: int, frame: Frame, now: float) -> NodePipeline | None:
        """The replica to ask, None for the master."""
        reads, lane, name = self._replica_reads, self._lanes[owner], self._commands.prefix + frame.arguments[0]
        if verb in _WRITING:
            reads.wrote(lane, name, now)
            return None
        options = frame.options
        if not (self._policy.reads_replicas or "replica" in options):
            return None
        if "ver" in options or ("lease" in options and needs_script(options)):
            return None  # the script may have to write
        if not reads.follows_keys:
            # What came in the same read before is still in the bundles, so that counts as written now.
            reads.follow_keys(now if self._owners else 0.0)
            self._choose_plain_verbs()
        return reads.replica_for(lane, name, now)

    def _replica_bundle(self, replica: NodePipeline, now: float) -> Bundle:
        """The bundle of this read for a replica."""
        bundle = self._replica_bundles.get(replica)
        if bundle is None:
            bundle = self._replica_bundles[replica] = self._new_bundle(now)
        return bundle

    # -- to the nodes

    def submit(self) -> None:
        """Hand the bundles of this read to their nodes."""
        owners, self._owners = self._owners, []
        for owner in owners:
            self._submit_one(owner, None)
        if self._replica_bundles:
            bundles, self._replica_bundles = self._replica_bundles, {}
            for replica, bundle in bundles.items():
                replica.submit(bundle)

    def _submit_one(self, owner: int, replica: NodePipeline | None) -> None:
        if replica is not None:
            bundle = self._replica_bundles.pop(replica, None)
            if bundle is not None:
                replica.submit(bundle)
            return
        bundle = self._bundles[owner]
        if bundle is not None:
            self._bundles[owner] = None
            if self._lanes[owner].replicas:
                self._replica_reads.sent(self._lanes[owner], bundle)
            self._pipelines[owner].submit(bundle)
