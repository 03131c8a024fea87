"""The states of a node's connection."""

from __future__ import annotations

import itertools
import re

import pytest

from wireproto.core import node_health
from wireproto.core.node_health import TRANSITIONS, NodeEvent, NodeState, next_state


@pytest.mark.parametrize(("state", "event"), list(itertools.product(NodeState, NodeEvent)))
def test_what_is_not_in_the_table_is_an_error(state: NodeState, event: NodeEvent) -> None:
    if (state, event) in TRANSITIONS:
        assert next_state(state, event) in NodeState
    else:
        with pytest.raises(ValueError, match=event.value):
            next_state(state, event)


def test_every_state_can_be_reached_and_left() -> None:
    assert set(TRANSITIONS.values()) == set(NodeState)
    assert {state for state, _ in TRANSITIONS} == set(NodeState)


def test_the_diagram_names_every_state_and_every_event() -> None:
    assert node_health.__doc__ is not None
    words = re.findall(r"[A-Za-z]{2,}", node_health.__doc__.partition("\n\n")[2])
    assert sorted({word for word in words if word.isupper()}) == sorted(state.name for state in NodeState)
    assert sorted({word for word in words if word.islower()}) == sorted(event.value for event in NodeEvent)
    assert {event for _, event in TRANSITIONS} == set(NodeEvent)
