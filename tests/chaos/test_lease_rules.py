"""What must not happen to a lease, with and without a failover in between."""

from __future__ import annotations

import pytest

from bench.chaos.lease_rules import lease_faults
from tests.chaos.test_conditions import KEY, history

GOOD = {
    "used": "0..1 take - MISS l\n2..3 fill l>a OK\n4..5 fill l>b CONFLICT",
    "ended by a write": "0..1 take - MISS l\n2..3 write a OK\n4..5 fill l>b CONFLICT",
    "ended by a write beside": "0..1 take - MISS l\n2..5 write a OK\n4..6 fill l>b OK",
    "ended by a write of unknown outcome": "0..1 take - MISS l\n2 write a ?\n4..5 fill l>b OK",
    "used by one who does not know": "0..1 take - MISS l\n2 fill l>a ?\n4..5 fill l>b OK",
    "given again": "0..1 take - MISS l\n2..3 give_back l OK\n4..5 take - MISS m\n6..7 fill m>a OK",
    "a condition that did not hold": "0..1 take - MISS l\n2..3 create a CONFLICT\n4..5 fill l>b OK",
}
BAD = {
    "given twice": "0..1 take - MISS l\n2..3 take - MISS l",
    "used twice": "0..1 take - MISS l\n2..3 fill l>a OK\n4..5 fill l>b OK",
    "used twice at once": "0..1 take - MISS l\n2..3 fill l>a OK\n2..3 fill l>b OK",
    "of nobody": "2..3 fill l>a OK",
    "after a write": "0..1 take - MISS l\n2..3 write a OK\n4..5 fill l>b OK",
    "after a delete that found nothing": "0..1 take - MISS l\n2..3 delete - MISS\n4..5 fill l>b OK",
    "after it was given back": "0..1 take - MISS l\n2..3 give_back l OK\n4..5 fill l>b OK",
    "when another has one": "0..1 take - MISS l\n2..3 take - MISS m\n4..5 fill l>b OK",
}
BY_A_FAILOVER = (
    "after a write",
    "after a delete that found nothing",
    "after it was given back",
    "when another has one",
)
"""What is wrong unless the master was replaced, and the new one does not know what ended the lease."""


@pytest.mark.parametrize("name", GOOD)
def test_good_histories(name: str) -> None:
    assert lease_faults(history(GOOD[name])) == []


@pytest.mark.parametrize("name", BAD)
def test_bad_histories(name: str) -> None:
    (found,) = lease_faults(history(BAD[name]))
    assert found.key == KEY
    assert found.exchanges
    assert (lease_faults(history(BAD[name]), [(2, 4)]) == []) is (name in BY_A_FAILOVER)
    assert lease_faults(history(BAD[name]), [(8, 9)]) == [found]
