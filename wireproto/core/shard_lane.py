"""One way to a shard, as a client has it: the master, the replicas beside it, and who asks for confirmations."""

from __future__ import annotations

from array import array
from typing import Final

from mmh3 import mmh3_32_uintdigest

from wireproto.core.bundle import Confirmations
from wireproto.core.node_health import NodeState
from wireproto.core.node_pipeline import NodePipeline

_UP: Final = NodeState.UP
NEVER: Final = float("-inf")
_SLOTS: Final = 1024


class Replica:
    """A replica, as one lane reaches it.

    `caught_up_to` is the latest moment whose every change it is known to have, in seconds of the monotonic clock; NEVER
    for one that is not to be read. `seed` tells replicas apart, the same in every process. `usable_from` is the least
    `caught_up_to` with which it may be read at all: what was written before it was known here, nobody has noted.
    """

    __slots__ = ("caught_up_to", "pipeline", "seed", "usable_from")

    def __init__(self, pipeline: NodePipeline, seed: int, usable_from: float = NEVER) -> None:
        self.pipeline = pipeline
        self.seed = seed
        self.usable_from = usable_from
        self.caught_up_to = NEVER

    def has_everything(self, since: float) -> bool:
        """Whether it is known to have every change until `since`, as the process that the connection leads to."""
        caught_up_to = self.caught_up_to
        # A replica that was started again is empty at first; what was known of it, was known of another process.
        return caught_up_to >= since and caught_up_to >= self.usable_from and caught_up_to >= self.pipeline.greeted_at


class ShardLane:
    """The master's pipeline, and what stands beside it. `replicas` changes when the shard does."""

    __slots__ = ("confirmations", "master", "replicas")

    def __init__(self, master: NodePipeline, confirmations: Confirmations | None = None) -> None:
        self.master = master
        self.confirmations = confirmations
        self.replicas: list[Replica] = []

    def replica_for(self, key: bytes, since: float) -> NodePipeline | None:
        """The replica to read a key from, among those that have every change until `since`; None if there is none.

        Each key has an order of preference over the replicas (rendezvous hashing, Thaler and Ravishankar 1996), so its
        reads stay with one of them, and only the keys of a replica that goes or comes move: what the ring of shards
        gives, without a table to draw, for the few members that a shard has.
        """
        best: NodePipeline | None = None
        highest = -1
        for replica in self.replicas:
            if replica.pipeline.state is _UP and replica.has_everything(since):
                score = mmh3_32_uintdigest(key, replica.seed)
                if score > highest:
                    highest, best = score, replica.pipeline
        return best


class RecentWrites:
    """When a client wrote a key last, in a fixed space: keys that share a slot count as one.

    So a key may be taken for written more recently than it was, and never for less.
    """

    __slots__ = ("_slots",)

    def __init__(self, now: float) -> None:
        self._slots = array("d", [now]) * _SLOTS

    def note(self, key: bytes, now: float) -> None:
        """The key is written now."""
        self._slots[mmh3_32_uintdigest(key, 0) % _SLOTS] = now

    def last(self, key: bytes) -> float:
        """The moment of the last write, or a later one."""
        return self._slots[mmh3_32_uintdigest(key, 0) % _SLOTS]
