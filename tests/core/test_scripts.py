"""The scripts on real nodes: what they answer, what is stored then, and when the node forgets it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import hiredis
import pytest

from tests.core.scripted_node import KEY, L1, L2, NOW, SLACK, V1, V2, ScriptedNode, envelope, node, vacancy
from tests.live.running import wait_until
from wireproto.core.commands import DELETE_IF, INCR, READ_SCRIPTED, TOUCH, WRITE
from wireproto.core.envelope import HEAD_LENGTH, read_envelope
from wireproto.core.node_replies import is_refused_by_replica, render
from wireproto.core.scripts import SCRIPTS

__all__ = ["node"]

PX = 100_000
"""A time to live on the node."""
MISS = [None, -1, None, 0, 0]
BYTES = bytes(range(256))
SEALED = b"\xff\x01\x03new" + BYTES
INNER = [b"", b"v", b"\n", BYTES, b"\xff\x00\xff", SEALED, b"\xffE", b"\xffV", b"42", b"-", b" " * 80]
"""What a value can look like to a script, which does not look into it."""

FRESH = envelope(b"v", version=V1, fresh=NOW + 50_000, stale=20_000)
FRESH_LEASED = envelope(b"v", version=V1, fresh=NOW + 50_000, stale=20_000, lease=L1, until=NOW + 1)
FRESH_LEASE_OVER = envelope(b"v", version=V1, fresh=NOW + 50_000, stale=20_000, lease=L1, until=NOW)
STALE = envelope(b"v", version=V1, fresh=NOW, stale=20_000)
STALE_LEASED = envelope(b"v", version=V1, fresh=NOW, stale=20_000, lease=L1, until=NOW + 30_000)
STALE_LEASE_OVER = envelope(b"v", version=V1, fresh=NOW, stale=20_000, lease=L1, until=NOW)
OVER = envelope(b"v", version=V1, fresh=NOW - 20_000, stale=20_000)
OVER_LEASED = envelope(b"v", version=V1, fresh=NOW - 20_000, stale=20_000, lease=L1, until=NOW + 30_000)
VACANT = vacancy(L1, NOW + 30_000)
VERSIONED = envelope(b"v", version=V1)
DAMAGED = FRESH[:20] + b"x" + FRESH[21:]

STATES: dict[str, bytes | None] = {
    "absent": None,
    "plain": b"v",
    "vacant": VACANT,
    "versioned": VERSIONED,
    "fresh": FRESH,
    "fresh, leased": FRESH_LEASED,
    "fresh, its lease over": FRESH_LEASE_OVER,
    "stale": STALE,
    "stale, leased": STALE_LEASED,
    "stale, its lease over": STALE_LEASE_OVER,
    "over": OVER,
    "over, leased": OVER_LEASED,
    "damaged": DAMAGED,
    "cut": FRESH[: HEAD_LENGTH - 1],
    "no vacancy": VACANT + b"x",
}
PRESENT = {"plain", "versioned", "fresh", "fresh, leased", "fresh, its lease over", "damaged", "cut", "no vacancy"}
HAVE_VERSION = {"versioned", "fresh", "fresh, leased", "fresh, its lease over"}
HAVE_LEASE = {"vacant", "fresh, leased", "stale, leased", "over, leased"}

every_state = pytest.mark.parametrize("state", STATES)


def stays(node: ScriptedNode, state: str) -> None:
    """Nothing was changed of what `PX` was given to."""
    assert node.stored == STATES[state]
    assert STATES[state] is None or node.expires_in(PX)


# -- READ


@every_state
def test_a_read_that_wants_nothing_changes_nothing(node: ScriptedNode, state: str) -> None:
    node.put(STATES[state], PX)
    reply = node.read()
    assert isinstance(reply, list)
    if state in PRESENT:
        left = reply.pop(1)
        assert left == 50_000 if state.startswith("fresh") else PX - SLACK < left <= PX
        assert reply == [STATES[state], None, 0, 0]
    else:
        assert reply == MISS
    stays(node, state)


@pytest.mark.parametrize("px", [None, PX])
@pytest.mark.parametrize("value", INNER)
def test_a_value_without_a_version_gets_one_and_keeps_its_time(
    node: ScriptedNode, value: bytes, px: int | None
) -> None:
    node.put(value, px)
    reply = node.read(version=V1)
    expected = envelope(value, version=V1)
    assert isinstance(reply, list)
    assert reply[0] == node.stored == expected
    assert node.expires_in(px)
    assert node.read(version=V2) == [expected, reply[1] if px is None else pytest.approx(px, abs=SLACK), None, 0, 0]
    assert node.stored == expected, "it has one"


def test_a_value_that_may_be_stale_gets_a_version_while_it_is_fresh(node: ScriptedNode) -> None:
    node.put(envelope(SEALED, fresh=NOW + 50_000, stale=20_000), 70_000)
    expected = envelope(SEALED, version=V1, fresh=NOW + 50_000, stale=20_000)
    assert node.read(version=V1) == [expected, 50_000, None, 0, 0]
    assert node.stored == expected
    assert node.expires_in(70_000)
    node.put(STALE.replace(V1, b" " * 16), PX)
    assert node.read(version=V1) == MISS
    assert node.read(version=V2, lease=L1, lease_ms=5)[4] == 1  # type: ignore[index]
    assert V2 not in (node.stored or b""), "a stale value has no version"


LEASED = {"lease": L2, "lease_ms": 40_000}


@pytest.mark.parametrize(
    ("state", "reply", "after", "px"),
    [
        ("absent", [None, -1, L2, 0, 0], vacancy(L2, NOW + 40_000), 40_000),
        ("plain", [b"v", -1, None, 0, 0], b"v", None),
        ("versioned", [VERSIONED, -1, None, 0, 0], VERSIONED, None),
        ("fresh", [FRESH, 50_000, None, 0, 0], FRESH, None),
        ("fresh, leased", [FRESH_LEASED, 50_000, None, 0, 0], FRESH_LEASED, None),
        ("stale, leased", [STALE_LEASED, 0, None, 30_000, 1], STALE_LEASED, None),
        ("over", [None, -1, L2, 0, 0], vacancy(L2, NOW + 40_000), 40_000),
        ("over, leased", [None, -1, None, 30_000, 0], OVER_LEASED, None),
        ("damaged", [DAMAGED, -1, None, 0, 0], DAMAGED, None),
    ],
)
def test_a_lease_is_given_for_what_is_missing(
    node: ScriptedNode, state: str, reply: list[object], after: bytes, px: int | None
) -> None:
    node.put(STATES[state])
    assert node.read(lease=L2, lease_ms=40_000) == reply
    assert node.stored == after
    assert node.expires_in(px)


@pytest.mark.parametrize("state", ["stale", "stale, its lease over"])
@pytest.mark.parametrize(("lease_ms", "px"), [(15_000, 20_000), (40_000, 40_000)])
def test_a_lease_is_given_for_what_is_stale(node: ScriptedNode, state: str, lease_ms: int, px: int) -> None:
    node.put(STATES[state], PX)
    after = envelope(b"v", version=V1, fresh=NOW, stale=20_000, lease=L2, until=NOW + lease_ms)
    assert node.read(lease=L2, lease_ms=lease_ms) == [after, 0, L2, 0, 1]
    assert node.stored == after
    assert node.expires_in(px), "not before the lease is over"
    node.now += 12_000
    assert node.read(lease=L1, lease_ms=1) == [after, -12_000, None, lease_ms - 12_000, 1]


def test_a_vacancy_is_held_for_as_long_as_the_node_has_it(node: ScriptedNode) -> None:
    node.put(None)
    assert node.read(lease=L1, lease_ms=PX) == [None, -1, L1, 0, 0]
    node.now += 10 * PX  # the clock of another server
    reply = node.read(lease=L2, lease_ms=PX)
    assert isinstance(reply, list)
    assert PX - SLACK < reply.pop(3) <= PX
    assert reply == [None, -1, None, 0]
    assert node.stored == vacancy(L1, NOW + PX)


def test_a_lease_ends_with_its_time_on_the_node(node: ScriptedNode) -> None:
    node.put(None)
    assert node.read(lease=L1, lease_ms=30) == [None, -1, L1, 0, 0]
    wait_until(lambda: not node.client.exists(KEY))
    assert node.write(b"v", "lease", L1) is None
    assert node.read(lease=L2, lease_ms=PX) == [None, -1, L2, 0, 0]


@pytest.mark.parametrize(("early", "is_early"), [(PX + 1, True), (PX - SLACK, False), (0, False)])
@pytest.mark.parametrize("version", [b"", V2])
def test_a_value_that_ends_soon_is_leased_early(
    node: ScriptedNode, early: int, version: bytes, *, is_early: bool
) -> None:
    node.put(b"v", PX)
    reply = node.read(version=version, lease=L1, lease_ms=40_000, early=early)
    assert isinstance(reply, list)
    assert reply[0] == node.stored
    left = reply[1]
    assert PX - SLACK < left <= PX
    assert reply[2:] == [L1 if is_early else None, 0, 0]
    expected = envelope(b"v", version=version or b" " * 16)
    if is_early:
        expected = envelope(b"v", version=version or b" " * 16, fresh=NOW + left, stale=0, lease=L1, until=NOW + 40_000)
    assert node.stored == (expected if is_early or version else b"v")
    assert node.expires_in(PX)


@pytest.mark.parametrize(("early", "is_early"), [(50_001, True), (50_000, False)])
@pytest.mark.parametrize(("lease_ms", "px"), [(1000, 70_000), (90_000, 90_000)])
def test_early_goes_by_the_time_of_the_envelope(
    node: ScriptedNode, early: int, lease_ms: int, px: int, *, is_early: bool
) -> None:
    node.put(FRESH, 70_000)
    reply = node.read(lease=L1, lease_ms=lease_ms, early=early)
    if not is_early:
        assert reply == [FRESH, 50_000, None, 0, 0]
        return
    after = envelope(b"v", version=V1, fresh=NOW + 50_000, stale=20_000, lease=L1, until=NOW + lease_ms)
    assert reply == [after, 50_000, L1, 0, 0]
    assert node.stored == after
    assert node.expires_in(px)
    assert node.read(lease=L2, lease_ms=9, early=early) == [after, 50_000, None, lease_ms, 0]


def test_nothing_is_early_that_does_not_end(node: ScriptedNode) -> None:
    node.put(b"v")
    assert node.read(lease=L1, lease_ms=9, early=86_400_000) == [b"v", -1, None, 0, 0]
    assert node.stored == b"v"


def test_a_lease_that_was_given_early_outlives_the_value(node: ScriptedNode) -> None:
    node.put(b"v", 20_000)
    reply = node.read(lease=L1, lease_ms=60_000, early=86_400_000)
    assert isinstance(reply, list)
    assert node.expires_in(60_000)
    node.now += reply[1] - 1
    assert node.read()[0] == node.stored  # type: ignore[index]
    node.now += 1
    assert node.read() == MISS
    held = 60_000 - reply[1]
    assert node.read(lease=L2, lease_ms=1) == [None, -1, None, held, 0]
    assert node.write(b"w", "lease", L1) == b"OK"
    assert node.stored == b"w"


# -- WRITE

CONDITIONS: list[tuple[str, bytes, Callable[[str], bool]]] = [
    ("", b"", lambda state: True),
    ("nx", b"", lambda state: state not in PRESENT),
    ("xx", b"", lambda state: state in PRESENT),
    ("ver", V1, lambda state: state in HAVE_VERSION),
    ("ver", V2, lambda state: False),
    ("ver", b" " * 16, lambda state: False),
    ("lease", L1, lambda state: state in HAVE_LEASE),
    ("lease", L2, lambda state: False),
    ("lease", b" " * 16, lambda state: False),
]


LIFETIMES: list[tuple[dict[str, int], bytes, int | None]] = [
    ({}, b"new", None),
    ({"expiry": PX // 2}, b"new", PX // 2),
    ({"expiry": 2 * PX, "fresh": NOW + PX, "stale": PX}, envelope(b"new", fresh=NOW + PX, stale=PX), 2 * PX),
]


@every_state
@pytest.mark.parametrize(("condition", "operand", "holds"), CONDITIONS)
@pytest.mark.parametrize(("lifetime", "after", "px"), LIFETIMES, ids=["for ever", "for a time", "and stale"])
def test_conditions(
    node: ScriptedNode,
    state: str,
    condition: str,
    operand: bytes,
    holds: Callable[[str], bool],
    lifetime: dict[str, int],
    after: bytes,
    px: int | None,
) -> None:
    node.put(STATES[state], PX)
    reply = node.write(b"new", condition, operand, **lifetime)
    if holds(state):
        assert reply == b"OK"
        assert node.stored == after
        assert node.expires_in(px)
    else:
        assert reply is None
        stays(node, state)


@pytest.mark.parametrize("value", INNER)
def test_a_value_is_written_as_it_is(node: ScriptedNode, value: bytes) -> None:
    node.put(VERSIONED)
    assert node.write(value, "xx", expiry=PX) == b"OK"
    assert node.stored == value
    assert node.expires_in(PX)
    node.put(VERSIONED)
    assert node.write(value, "ver", V1, version=V2) == V2
    assert node.stored == envelope(value, version=V2)
    assert node.expires_in(None)
    assert node.write(value, "ver", V2, version=V1, expiry=50_000, fresh=NOW + 30_000, stale=20_000) == V1
    assert node.stored == envelope(value, version=V1, fresh=NOW + 30_000, stale=20_000)
    assert node.expires_in(50_000)
    assert node.write(value, "xx", expiry=50_000, fresh=NOW + 30_000, stale=20_000) == b"OK"
    assert node.stored == envelope(value, fresh=NOW + 30_000, stale=20_000)


@every_state
@pytest.mark.parametrize("condition", ["", "xx", "nx", "ver", "lease"])
def test_the_time_of_a_value_is_kept(node: ScriptedNode, state: str, condition: str) -> None:
    node.put(STATES[state], PX)
    operand, holds = next((operand, holds) for name, operand, holds in CONDITIONS if name == condition)
    version = V2 if condition == "ver" else b" " * 16
    reply = node.write(b"w", condition, operand, expiry="keepttl", version=version)
    if not holds(state):
        assert reply is None
        stays(node, state)
        return
    assert reply == (V2 if condition == "ver" else b"OK")
    if state.startswith("fresh"):
        assert node.stored == envelope(b"w", version=version, fresh=NOW + 50_000, stale=20_000)
        assert node.expires_in(70_000)
    else:
        assert node.stored == (envelope(b"w", version=V2) if condition == "ver" else b"w")
        assert node.expires_in(PX if state in PRESENT else None), "what is absent has no time that could be kept"


@pytest.mark.parametrize("value", [b"v", VERSIONED])
@pytest.mark.parametrize("condition", ["", "xx"])
def test_to_keep_no_time_is_to_have_none(node: ScriptedNode, value: bytes, condition: str) -> None:
    node.put(value)
    assert node.write(b"w", condition, expiry="keepttl") == b"OK"
    assert node.stored == b"w"
    assert node.expires_in(None)


# -- DELETE


@every_state
@pytest.mark.parametrize("version", [V1, V2, b" " * 16])
def test_what_has_a_version_is_deleted_by_it(node: ScriptedNode, state: str, version: bytes) -> None:
    node.put(STATES[state], PX)
    reply = node.delete("ver", version)
    if state not in PRESENT:
        assert reply == 0
        stays(node, state)
    elif state in HAVE_VERSION and version == V1:
        assert reply == 1
        assert node.stored is None
    elif version != b" " * 16:  # no client can send that
        assert reply == -1
        stays(node, state)


@every_state
@pytest.mark.parametrize("lease", [L1, L2, b" " * 16])
def test_a_lease_is_given_back(node: ScriptedNode, state: str, lease: bytes) -> None:
    node.put(STATES[state], PX)
    reply = node.delete("lease", lease)
    if state not in HAVE_LEASE or lease != L1:
        assert reply == -1
        stays(node, state)
        return
    assert reply == 1
    after = {"fresh, leased": (FRESH, 70_000), "stale, leased": (STALE, 20_000)}.get(state)
    assert node.stored == (after and after[0])
    assert after is None or node.expires_in(after[1])
    again = node.read(lease=L2, lease_ms=5000, early=86_400_000)
    assert again[2] == L2, "the next one gets it"  # type: ignore[index]


# -- TOUCH


@every_state
def test_a_new_time_to_live(node: ScriptedNode, state: str) -> None:
    node.put(STATES[state], PX)
    reply = node.touch(30_000)
    if state not in PRESENT:
        assert reply == 0
        stays(node, state)
        return
    assert reply == 1
    stored = STATES[state]
    assert stored is not None
    if state.startswith("fresh"):
        found = read_envelope(stored)
        assert found is not None
        assert node.stored == stored.replace(b"%014d" % found.fresh_until, b"%014d" % (NOW + 30_000))
        assert node.expires_in(50_000), "with the same time to be stale behind it"
    else:
        assert node.stored == stored
        assert node.expires_in(30_000)


def test_the_longest_times(node: ScriptedNode) -> None:
    longest = 10_000_000_000_000
    node.put(None)
    assert node.write(b"v", expiry=2 * longest, fresh=NOW + longest, stale=longest) == b"OK"
    assert node.touch(longest) == 1
    assert node.read(version=V1, lease=L1, lease_ms=3_600_000) == [node.stored, longest, None, 0, 0]
    assert node.stored == envelope(b"v", version=V1, fresh=NOW + longest, stale=longest)
    assert node.expires_in(2 * longest)
    node.now += longest
    reply = node.read(lease=L1, lease_ms=3_600_000)
    assert reply[2:] == [L1, 0, 1]  # type: ignore[index]
    assert node.expires_in(longest)


# -- INCR


@pytest.mark.parametrize("state", [state for state in STATES if state not in PRESENT])
@pytest.mark.parametrize(("by", "px"), [(1, ""), (-5, PX), (0, ""), (2**63 - 1, PX), (-(2**63), "")])
def test_what_is_absent_counts_from_0(node: ScriptedNode, state: str, by: int, px: int | str) -> None:
    node.put(STATES[state], 2 * PX)
    assert node.incr(by, px) == b"%d" % by
    assert node.stored == b"%d" % by
    assert node.expires_in(px if isinstance(px, int) else None)


COUNTS = [
    (0, 1),
    (-1, 1),
    (9, -10),
    (2**53, 1),
    (2**53 + 1, 2),
    (-(2**53) - 1, -2),
    (2**63 - 2, 1),
    (-(2**63), 0),
    (2**63 - 1, -(2**63)),
    (-(2**63), 2**63 - 1),
]


@pytest.mark.parametrize(("before", "by"), COUNTS)
@pytest.mark.parametrize("px", [None, PX])
def test_a_counter_goes_on(node: ScriptedNode, before: int, by: int, px: int | None) -> None:
    text, after = b"%d" % before, b"%d" % (before + by)
    for stored in (text, envelope(text, version=V1)):
        node.put(stored, px)
        assert node.incr(by, 7_000_000) == after
        assert node.stored == after, "with another version than before"
        assert node.expires_in(px), "only what was absent gets a time"
    node.put(envelope(text, version=V1, fresh=NOW + 50_000, stale=20_000, lease=L1, until=NOW + 60_000), px)
    assert node.incr(by, 7_000_000) == after
    assert node.stored == after
    assert node.expires_in(50_000), "and is not served stale"


def forms(value: bytes) -> Iterator[bytes]:
    yield value
    yield envelope(value, version=V1)
    yield envelope(value, fresh=NOW + 50_000, stale=20_000, lease=L1, until=NOW + 30_000)


@pytest.mark.parametrize(
    ("before", "by"),
    [(2**63 - 1, 1), (-(2**63), -1), (1, 2**63 - 1), (-1, -(2**63)), (2**63, 1), (2**63, -1), (-(10**19) + 1, 1)],
)
@pytest.mark.parametrize("px", [None, PX])
def test_what_64_bits_do_not_hold_changes_nothing(node: ScriptedNode, before: int, by: int, px: int | None) -> None:
    for stored in forms(b"%d" % before):
        node.put(stored, px)
        reply = node.incr(by)
        assert render(INCR, reply, lambda: NOW)[1] == b"ERR TYPE :the counter would pass what 64 bits hold\n"
        assert node.stored == stored
        assert node.expires_in(px)


NO_COUNTERS = [
    b"",
    b"-",
    b"v",
    b"-0",
    b"00",
    b"01",
    b"+1",
    b" 1",
    b"1 ",
    b"1\n",
    b"1\0",
    b"1.0",
    b"1e3",
    b"0x1",
    b"--1",
]
NO_COUNTERS += [b"1" * 21, SEALED, b"\xff\x00\xff", BYTES]


@pytest.mark.parametrize("value", NO_COUNTERS)
def test_what_is_no_counter_stays_as_it_is(node: ScriptedNode, value: bytes) -> None:
    for stored in (*forms(value), DAMAGED):
        node.put(stored, PX)
        reply = node.incr(1)
        assert render(INCR, reply, lambda: NOW)[1] == b"ERR TYPE :the value is no counter\n"
        assert node.stored == stored
        assert node.expires_in(PX)


def test_a_counter_that_cannot_go_on_at_its_very_end_keeps_what_it_was(node: ScriptedNode) -> None:
    """Its last millisecond, in which the node says that 0 are left, is hit now and then."""
    stored = envelope(b"%d" % (2**63 - 1), version=V1)
    for _ in range(300):
        node.put(stored, 1)
        reply = node.incr(1)
        assert reply == b"1" or str(reply) == "TYPE overflow", "or it was over already"
        assert node.stored in (stored, b"1", None)


# -- what is no value of ours, and nodes that refuse

EVERY_SCRIPT: dict[str, tuple[int, Callable[[ScriptedNode], object]]] = {
    "READ": (READ_SCRIPTED, lambda node: node.read(version=V1)),
    "WRITE": (WRITE, lambda node: node.write(b"w", "xx")),
    "DELETE": (DELETE_IF, lambda node: node.delete("ver", V1)),
    "TOUCH": (TOUCH, lambda node: node.touch(5000)),
    "INCR": (INCR, lambda node: node.incr(1)),
}
every_script = pytest.mark.parametrize("name", EVERY_SCRIPT)


@pytest.mark.parametrize("name", ["READ", "DELETE", "INCR"])
def test_a_key_of_another_type_is_left_alone(node: ScriptedNode, name: str) -> None:
    node.put(None)
    node.client.rpush(KEY, b"a")
    kind, run = EVERY_SCRIPT[name]
    assert render(kind, run(node), lambda: NOW)[0] == "CORRUPT"
    assert node.client.lrange(KEY, 0, -1) == [b"a"]


def test_a_key_of_another_type_can_be_touched_and_written_over(node: ScriptedNode) -> None:
    node.put(None)
    node.client.rpush(KEY, b"a")
    assert node.touch(5000) == 1
    assert 0 < node.client.pttl(KEY) <= 5000
    assert node.write(b"w", "nx") is None
    assert node.write(b"w", "xx") == b"OK"
    assert node.stored == b"w"


@pytest.mark.parametrize("place", [*range(18, 46), *range(62, HEAD_LENGTH)])
@pytest.mark.parametrize("byte", [b"x", b" ", b"\0", b"-", b"."])
def test_no_script_makes_a_damaged_envelope_whole(node: ScriptedNode, place: int, byte: bytes) -> None:
    damaged = FRESH_LEASED[:place] + byte + FRESH_LEASED[place + 1 :]
    node.put(damaged, PX)
    reply = node.read(version=V2, lease=L2, lease_ms=5000, early=86_400_000)
    assert render(READ_SCRIPTED, reply, lambda: NOW)[0] == "CORRUPT"
    assert (node.stored or b"").endswith(damaged), "whoever looks for what it was finds it"
    node.put(damaged, PX)
    assert (node.write(b"w", "ver", V1), node.write(b"w", "lease", L1)) == (None, None)
    assert (node.delete("ver", V1), node.delete("lease", L1)) == (-1, -1)
    assert node.touch(PX) == 1
    assert node.stored == damaged


@pytest.fixture(params=["OOM", "NOREPLICAS", "READONLY"])
def refusal(node: ScriptedNode, request: pytest.FixtureRequest) -> Iterator[str]:
    """The node refuses to write; the code for that. What it holds can be put there before."""
    settings = {"OOM": ("maxmemory", 1), "NOREPLICAS": ("min-replicas-to-write", 1)}
    node.put(b"1")
    node.read(version=V1)
    if request.param == "READONLY":
        node.client.replicaof("127.0.0.1", "1")
    else:
        node.client.config_set(*settings[request.param])
    yield "BUSY" if request.param == "OOM" else "DOWN"
    node.client.replicaof("NO", "ONE")
    for name, _ in settings.values():
        node.client.config_set(name, 0)


def test_a_node_that_refuses_to_write_is_understood(node: ScriptedNode, refusal: str) -> None:
    """Whatever in a script was refused. A READ that has nothing to write is no matter."""
    stored = node.stored
    assert render(READ_SCRIPTED, node.read(version=V2, lease=L1, lease_ms=5, early=5), lambda: NOW)[0] == "OK"
    kinds = {"WRITE": (WRITE, node.write(b"w", "xx")), "INCR": (INCR, node.incr(1))}
    for name, (kind, reply) in kinds.items():
        assert isinstance(reply, hiredis.ReplyError), name
        assert render(kind, reply, lambda: NOW)[0] == refusal, name
        assert is_refused_by_replica(reply) == ("READONLY" in str(reply)), name
    assert node.stored == stored


@pytest.mark.parametrize(("stored", "stale"), [(FRESH, 0), (STALE, 1), (STALE_LEASE_OVER, 1)])
def test_a_node_without_memory_gives_a_value_without_a_lease(node: ScriptedNode, stored: bytes, stale: int) -> None:
    node.put(stored, PX)
    try:
        node.client.config_set("maxmemory", 1)
        reply = node.read(lease=L2, lease_ms=5000, early=86_400_000)
        with_version = node.read(version=V2, lease=L2, lease_ms=5000, early=86_400_000)
    finally:
        node.client.config_set("maxmemory", 0)
    assert isinstance(reply, list)
    assert (reply[0], reply[2:]) == (stored, [None, 0, stale])
    assert render(READ_SCRIPTED, with_version, lambda: NOW)[0] == "BUSY"
    assert node.stored == stored


@pytest.mark.parametrize("px", [None, PX])
def test_a_counter_without_envelope_that_a_node_refuses_to_change(node: ScriptedNode, px: int | None) -> None:
    node.put(b"1", px)
    try:
        node.client.config_set("maxmemory", 1)
        reply = node.incr(1)
    finally:
        node.client.config_set("maxmemory", 0)
    assert render(INCR, reply, lambda: NOW)[0] == "BUSY"
    assert node.stored == b"1"
    assert node.expires_in(px)


@every_script
def test_a_user_who_may_not_run_what_is_in_a_script(node: ScriptedNode, name: str) -> None:
    node.put(VERSIONED if name != "INCR" else b"1", PX)
    kind, run = EVERY_SCRIPT[name]
    node.ask("ACL", "SETUSER", "default", "-set", "-unlink", "-incrby", "-pexpire")
    try:
        reply = node.read(lease=L1, lease_ms=5, early=86_400_000) if name == "READ" else run(node)
    finally:
        node.ask("ACL", "SETUSER", "default", "+@all")
    assert render(kind, reply, lambda: NOW)[1] == b"ERR DOWN :the node does not permit this to its user\n"
    assert node.expires_in(PX)


def test_the_scripts_name_their_keys_and_draw_no_chance() -> None:
    """So they can run wherever the key is, and on a replica."""
    for script in SCRIPTS:
        assert re.findall(rb"KEYS\[(\d)\]", script.text) == [b"1"]
        assert not re.search(rb"math\.random|'TIME'|'RANDOMKEY'", script.text)
