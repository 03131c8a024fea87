"""The states of a connection to a node, as a table. What is not in the table is an error.

DOWN ──try──> PROBING ──greeted──> UP
  ^              │                  │
  └────lost──────┴───────lost───────┘
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class NodeState(Enum):
    """What requests for the node meet: in DOWN and PROBING they are refused at once."""

    DOWN = "down"
    PROBING = "probing"
    UP = "up"


class NodeEvent(Enum):
    """What may happen to a connection to a node."""

    TRY = "try"
    GREETED = "greeted"
    LOST = "lost"


TRANSITIONS: Final[Mapping[tuple[NodeState, NodeEvent], NodeState]] = {
    (NodeState.DOWN, NodeEvent.TRY): NodeState.PROBING,
    (NodeState.PROBING, NodeEvent.GREETED): NodeState.UP,
    (NodeState.PROBING, NodeEvent.LOST): NodeState.DOWN,
    (NodeState.UP, NodeEvent.LOST): NodeState.DOWN,
}


def next_state(state: NodeState, event: NodeEvent) -> NodeState:
    """The state after an event. Raises ValueError for an event that cannot happen in this state."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ValueError(f"{event.value} cannot happen to a node that is {state.value}") from None
