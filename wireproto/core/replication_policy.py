"""What the operator has decided about replicas: who may read from them, and which writes wait for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ReplicationPolicy:
    """Times are seconds."""

    reads_replicas: bool = False
    """Whether a READ may be answered by a replica though it does not say so."""
    max_lag: float = 1.0
    """How old what a replica answers may be."""
    longest_answer: float = 1.0
    """How long a node may take to execute what it was sent; after that the outcome is unknown."""
    sync: int = 0
    """How many replicas must have a write before it is answered, where the request does not say."""
    namespace_sync: Mapping[str, int] = field(default_factory=dict)
    """The same for single namespaces."""

    def sync_of(self, namespace: str) -> int:
        """How many replicas must have the writes of this namespace."""
        return self.namespace_sync.get(namespace, self.sync)
