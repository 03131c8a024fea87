"""The states of a connection to a node, as a table. What is not in the table is an error.

DOWN ──try──> PROBING ──greeted──> UP
  ^            │    │             │ │ ^
  │            │    │doubted      │ │ │answered
  │            │    v      refused│ │ │
  │            │   SUSPECT <──────┘ │ │
  │            │    │   └───────────┼─┘
  └────lost────┴────┴───────────────┘
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class NodeState(Enum):
    """What requests for the node meet: in DOWN and PROBING they are refused at once.

    SUSPECT is a node that can be reached and is not trusted. Either it did not answer before it was reached again: then
    it gets what was held for it, and one bundle at a time, until it answers. Or it has refused a write as a replica
    does: then it gets nothing.
    """

    DOWN = "down"
    PROBING = "probing"
    SUSPECT = "suspect"
    UP = "up"


class NodeEvent(Enum):
    """What may happen to a connection to a node."""

    TRY = "try"
    GREETED = "greeted"
    DOUBTED = "doubted"
    """Greeted, by a node that did not answer requests before."""
    REFUSED = "refused"
    """It has refused a write, as a replica does: it is not the master that it was taken for."""
    ANSWERED = "answered"
    LOST = "lost"


TRANSITIONS: Final[Mapping[tuple[NodeState, NodeEvent], NodeState]] = {
    (NodeState.DOWN, NodeEvent.TRY): NodeState.PROBING,
    (NodeState.PROBING, NodeEvent.GREETED): NodeState.UP,
    (NodeState.PROBING, NodeEvent.DOUBTED): NodeState.SUSPECT,
    (NodeState.PROBING, NodeEvent.LOST): NodeState.DOWN,
    (NodeState.UP, NodeEvent.REFUSED): NodeState.SUSPECT,
    (NodeState.UP, NodeEvent.LOST): NodeState.DOWN,
    (NodeState.SUSPECT, NodeEvent.ANSWERED): NodeState.UP,
    (NodeState.SUSPECT, NodeEvent.LOST): NodeState.DOWN,
}

WORST_FIRST: Final = (NodeState.DOWN, NodeState.PROBING, NodeState.SUSPECT, NodeState.UP)


def next_state(state: NodeState, event: NodeEvent) -> NodeState:
    """The state after an event. Raises ValueError for an event that cannot happen in this state."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ValueError(f"{event.value} cannot happen to a node that is {state.value}") from None
