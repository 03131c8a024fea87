"""Which of a client's reads a replica may answer: none of a key that the client wrote a moment ago."""

from __future__ import annotations

from wireproto.core.bundle import Bundle
from wireproto.core.commands import READ
from wireproto.core.node_pipeline import NodePipeline
from wireproto.core.replication_policy import ReplicationPolicy
from wireproto.core.shard_lane import RecentWrites, ShardLane


class ReplicaReads:
    """What one client has written, as far as it matters for its reads. Times are seconds of the monotonic clock.

    Until the client reads from replicas, only the moment of its last write is noted, so that the hot loop need not look
    at keys; from then on (`follows_keys`) every write must be told by `wrote`.
    """

    __slots__ = ("_policy", "_recent_writes", "_written_at")

    def __init__(self, policy: ReplicationPolicy) -> None:
        self._policy = policy
        self._written_at = 0.0
        """When this client last wrote to a shard that has replicas."""
        self._recent_writes: RecentWrites | None = None

    @property
    def follows_keys(self) -> bool:
        """Whether writes are noted key by key."""
        return self._recent_writes is not None

    def follow_keys(self, written_at: float) -> None:
        """From now on note writes key by key; those before count as of this moment, or of the last that was noted."""
        self._recent_writes = RecentWrites(max(written_at, self._written_at))

    def wrote(self, lane: ShardLane, name: bytes, now: float) -> None:
        """A key is written."""
        if self._recent_writes is not None:
            self._recent_writes.note(name, now)
        elif lane.replicas:
            self._written_at = now

    def sent(self, lane: ShardLane, bundle: Bundle) -> None:
        """A bundle leaves for a shard's master, perhaps with writes of the hot loop in it."""
        if self._recent_writes is None and lane.replicas and not all(kind == READ for kind in bundle.kinds):
            self._written_at = bundle.received_at

    def replica_for(self, lane: ShardLane, name: bytes, now: float) -> NodePipeline | None:
        """The replica to read a key from, None for the master. To be asked once keys are followed."""
        assert self._recent_writes is not None
        policy = self._policy
        # A write that had to wait was sent later than it was noted.
        written_at = max(self._recent_writes.last(name), lane.master.delayed_at)
        return lane.replica_for(name, max(now - policy.max_lag, written_at + policy.longest_answer))
