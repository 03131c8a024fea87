"""Who guesses waits, for a while; who does not is not touched; and what is remembered of all of them is bounded."""

from __future__ import annotations

import pytest

from wireproto.server.address_guard import (
    HALF_LIFE,
    LONGEST_WAIT,
    MOST_WAITING,
    MOST_WAITING_FOR_EACH,
    TOLERATED,
    WAIT_FOR_EACH,
    AddressGuard,
    group_of,
)

GUESSER = "192.0.2.1"
OTHER = "192.0.2.2"


def guess(guard: AddressGuard, count: int, now: float, address: str = GUESSER) -> None:
    for _ in range(count):
        guard.note_wrong(address, now)


def test_a_few_wrong_credentials_cost_nothing() -> None:
    guard = AddressGuard()
    assert guard.wait(GUESSER, 0.0) == 0
    guess(guard, TOLERATED, 0.0)
    assert guard.wait(GUESSER, 0.0) == 0


def test_more_cost_time_up_to_a_bound_and_only_their_address() -> None:
    guard = AddressGuard()
    waits = []
    for _ in range(1000):
        guess(guard, 1, 0.0)
        waits.append(guard.wait(GUESSER, 0.0))
    assert waits == sorted(waits)
    assert waits[TOLERATED] == pytest.approx(WAIT_FOR_EACH)
    assert waits[-1] == LONGEST_WAIT
    assert guard.wait(OTHER, 0.0) == 0


def test_they_fade() -> None:
    guard = AddressGuard()
    guess(guard, 4 * TOLERATED, 0.0)
    assert guard.wait(GUESSER, 0.0) > guard.wait(GUESSER, HALF_LIFE) > 0
    assert guard.wait(GUESSER, 2.3 * HALF_LIFE) == 0
    guess(guard, 1, 2.3 * HALF_LIFE)
    assert guard.wait(GUESSER, 2.3 * HALF_LIFE) == 0
    guess(guard, 1, 2.3 * HALF_LIFE)
    assert guard.wait(GUESSER, 2.3 * HALF_LIFE) > 0


def test_the_table_is_bounded_and_forgets_first_who_has_been_good_for_longest() -> None:
    guard = AddressGuard(most_addresses=3)
    for number in range(4):
        guess(guard, 2 * TOLERATED, 0.0, f"192.0.2.{number}")
        guess(guard, 1, 0.0, "192.0.2.0")
    waits = [guard.wait(f"192.0.2.{number}", 0.0) for number in range(4)]
    assert waits[1] == 0
    assert min(waits[0], *waits[2:]) > 0


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("::1", "::"),
    ],
)
def test_what_counts_as_one_address(address: str, group: str) -> None:
    assert group_of(address) == group


def test_a_customer_with_many_addresses_is_one() -> None:
    guard = AddressGuard()
    for number in range(2 * TOLERATED):
        guard.note_wrong(f"2001:db8::{number:x}", 0.0)
    assert guard.wait("2001:db8::ffff", 0.0) > 0
    assert guard.wait("2001:db8:0:1::1", 0.0) == 0


def test_who_waits_is_bounded_for_each_address_and_for_all() -> None:
    guard = AddressGuard()
    assert [guard.begin_wait(GUESSER) for _ in range(MOST_WAITING_FOR_EACH + 1)] == [
        *[True] * MOST_WAITING_FOR_EACH,
        False,
    ]
    guard.end_wait(GUESSER)
    assert guard.begin_wait(GUESSER)
    number, admitted = 0, MOST_WAITING_FOR_EACH
    while guard.begin_wait(f"198.51.{number // 256}.{number % 256}"):
        number, admitted = number + 1, admitted + 1
    assert admitted == MOST_WAITING
    for _ in range(MOST_WAITING_FOR_EACH):
        guard.end_wait(GUESSER)
    assert guard.begin_wait(OTHER)
