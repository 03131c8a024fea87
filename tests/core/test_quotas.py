"""Quotas: no more passes than they say, whichever worker lets it pass and when, and no less."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wireproto.core.access import NO_QUOTA, Quota
from wireproto.core.api_keys import ApiKeyRecord
from wireproto.core.quota_table import CONNECTIONS, PlacedQuota, QuotaPlaces, QuotaTable, table_size
from wireproto.core.quotas import Bucket, Meter, Quotas, quotas_of
from wireproto.errors import ConfigurationError

PLACES: Final = 4
NOW: Final = 5_000.0
ROUNDING: Final = 1e-6


def tables(workers: int) -> list[QuotaTable]:
    """What each worker sees of the same memory."""
    memory = memoryview(bytearray(table_size(workers, PLACES)))
    return [QuotaTable(memory, workers, PLACES, worker) for worker in range(workers)]


def buckets(workers: int, rate: int) -> list[Bucket]:
    return [Bucket(table, 1, 0, rate) for table in tables(workers)]


# -- the bucket


def test_a_bucket_begins_full_and_fills_in_a_second() -> None:
    (bucket,) = buckets(1, rate=10)
    assert bucket.level(NOW) == 10
    bucket.take(10)
    assert bucket.level(NOW) == 0
    assert bucket.level(NOW + 0.5) == pytest.approx(5)
    assert bucket.level(NOW + 1.0) == pytest.approx(10)
    assert bucket.level(NOW + 100.0) == 10


def test_what_is_taken_beyond_the_level_is_paid_back() -> None:
    (bucket,) = buckets(1, rate=10)
    bucket.level(NOW)
    bucket.take(35)
    assert bucket.level(NOW) == -25
    assert bucket.level(NOW + 2.5) == pytest.approx(0)
    assert bucket.level(NOW + 3.5) == pytest.approx(10)


def test_what_was_spilled_is_not_had_later_by_a_worker_that_looks_seldom() -> None:
    busy, idle = buckets(2, rate=10)
    idle.level(NOW)
    busy.level(NOW + 100)
    busy.take(10)
    assert idle.level(NOW + 100) == 0


def test_a_worker_that_looks_seldom_does_not_miss_what_flowed_in() -> None:
    busy, idle = buckets(2, rate=10)
    idle.level(NOW)
    for second in range(1, 101):
        busy.level(NOW + second)
        busy.take(10)
    assert idle.level(NOW + 101) == pytest.approx(10)


steps = st.lists(
    st.tuples(st.integers(0, 2), st.floats(0, 3), st.integers(0, 40), st.booleans()), min_size=1, max_size=60
)


@given(workers=st.integers(1, 3), rate=st.integers(1, 30), steps=steps)
def test_no_window_sees_more_than_the_rate_and_a_full_bucket(
    workers: int, rate: int, steps: list[tuple[int, float, int, bool]]
) -> None:
    """And one alone would have been given as much: the workers together are one bucket."""
    shared = buckets(workers, rate)
    (alone,) = buckets(1, rate)
    now = NOW
    taken: list[tuple[float, int]] = []
    for worker, pause, wanted, looks_only in steps:
        now += pause
        bucket = shared[worker % workers]
        level = bucket.level(now)
        assert level == pytest.approx(alone.level(now), abs=ROUNDING)
        if not looks_only:
            count = min(wanted, max(0, int(level)))
            bucket.take(count)
            alone.take(count)
            taken.append((now, count))
    for first, (begin, _) in enumerate(taken):
        total = 0
        for moment, count in taken[first:]:
            total += count
            assert total <= rate * (moment - begin) + rate + ROUNDING


@given(
    rate=st.integers(1, 30),
    turns=st.lists(st.tuples(st.integers(0, 2), st.floats(0, 1), st.booleans()), min_size=1, max_size=100),
)
def test_workers_that_look_in_the_same_moment_owe_what_they_took_too_much(
    rate: int, turns: list[tuple[int, float, bool]]
) -> None:
    """Each turn is half of what a worker does: it looks, or it takes all that it saw, however long ago."""
    shared = buckets(3, rate)
    seen: dict[int, int] = {}
    now = NOW
    taken: list[tuple[float, int]] = []
    for worker, pause, takes in turns:
        now += pause
        if worker in seen and takes:
            count = seen.pop(worker)
            shared[worker].take(count)
            taken.append((now, count))
        elif worker not in seen:
            seen[worker] = max(0, int(shared[worker].level(now)))
    held = sum(seen.values())
    total = 0
    for moment, count in taken:
        total += count
        assert total <= rate * (moment - NOW) + 3 * rate + ROUNDING
    # Whatever they took, in the long run it is the rate.
    settled = max(bucket.level(now + 1000) for bucket in shared)
    assert settled == rate
    assert held <= 3 * rate


def test_refusals_are_told_to_come_one_after_the_other() -> None:
    (bucket,) = buckets(1, rate=100)
    bucket.level(NOW)
    bucket.take(100)
    level = bucket.level(NOW)
    assert [bucket.retry_ms(level, NOW) for _ in range(4)] == pytest.approx([10.5, 20.5, 30.5, 40.5], abs=0.5)
    assert max(bucket.retry_ms(level, NOW) for _ in range(1000)) in (1010, 1011), "no more than a full bucket later"
    bucket.level(NOW + 5.0)
    bucket.take(100)
    assert bucket.retry_ms(bucket.level(NOW + 5.0), NOW + 5.0) in (10, 11), "that queue is long over"


def test_who_waits_as_long_as_was_told_is_let_in() -> None:
    for rate in (1, 3, 7, 200, 999):
        (bucket,) = buckets(1, rate)
        bucket.level(NOW)
        bucket.take(rate)
        wait = bucket.retry_ms(bucket.level(NOW), NOW) / 1000
        assert wait <= 1 / rate + 0.001
        assert bucket.level(NOW + wait) >= 1


def test_a_successor_goes_on_where_the_worker_ended() -> None:
    first, second = tables(2)
    bucket = Bucket(first, 1, 0, 10)
    bucket.level(NOW)
    bucket.take(10)
    successor = Bucket(QuotaTable(first.counts.cast("B"), 2, PLACES, 0), 1, 0, 10)
    assert successor.level(NOW) == 0
    successor.level(NOW + 0.5)
    successor.take(5)
    assert Bucket(second, 1, 0, 10).level(NOW + 0.5) == pytest.approx(0)


def test_kinds_and_clients_have_buckets_of_their_own() -> None:
    (table,) = tables(1)
    made = [Bucket(table, place, kind, 10) for place in range(PLACES) for kind in (0, 1)]
    made[3].level(NOW)
    made[3].take(4)
    assert [bucket.level(NOW) for bucket in made] == [10, 10, 10, 6, 10, 10, 10, 10]


# -- connections


def test_connections_are_counted_over_all_workers() -> None:
    views = tables(2)
    one, other = (Meter(table, PlacedQuota(2, Quota(connections=3))) for table in views)
    for meter in (one, other, one):
        meter.count_in()
        assert not meter.has_too_many
    other.count_in()
    assert one.has_too_many
    assert other.has_too_many
    other.count_out()
    assert not one.has_too_many
    assert not Meter(views[0], PlacedQuota(1, Quota(requests=1))).has_too_many, "it has no such quota"


def test_the_connections_of_a_worker_that_ends_are_taken_away() -> None:
    views = tables(2)
    places = QuotaPlaces(views[0])
    placed = places.assign({"a": Quota(connections=1)})["a"]
    one, other = Meter(views[0], placed), Meter(views[1], placed)
    other.count_in()
    one.count_in()
    assert one.has_too_many
    places.retire(1)
    assert not one.has_too_many
    assert sum(views[0].counts[start + CONNECTIONS] for start in views[0].all_words_of(placed.place)) == 1


def test_only_one_worker_reports_within_a_second() -> None:
    one, other = (Meter(table, PlacedQuota(2, Quota(requests=3))) for table in tables(2))
    assert one.may_report(NOW)
    assert not other.may_report(NOW + 0.9)
    assert other.may_report(NOW + 1.0)
    assert not one.may_report(NOW + 1.5)


# -- whose quota


def record(
    number: int, client: str, quota: Quota, revoked: int | None = None, expires: int | None = None
) -> ApiKeyRecord:
    return ApiKeyRecord(
        f"id-{number}", f"{number:064x}", client, "ns", 0, quota=quota, revoked=revoked, expires=expires
    )


def test_a_quota_is_the_clients_and_the_smallest_of_its_keys_counts() -> None:
    records = [
        record(1, "a", Quota(requests=100, bytes=1000)),
        record(2, "a", Quota(requests=200, connections=5)),
        record(3, "a", NO_QUOTA),
        record(4, "a", Quota(requests=1), revoked=5),
        record(5, "a", Quota(bytes=1), expires=1000),
        record(6, "b", NO_QUOTA),
        record(7, "c", Quota(connections=2), expires=1001),
    ]
    expected = {"a": Quota(requests=100, bytes=1000, connections=5), "c": Quota(connections=2)}
    assert quotas_of(records, 1000.0) == expected


# -- places


def test_places_are_kept_while_keys_change() -> None:
    (table,) = tables(1)
    places = QuotaPlaces(table)
    quota = Quota(requests=5)
    first = places.assign({"a": quota, "b": quota})
    second = places.assign({"c": quota, "b": quota})
    third = places.assign({"c": quota, "b": Quota(requests=6)})
    assert len({placed.place for placed in first.values()}) == 2
    assert second["b"] == first["b"]
    assert second["c"].place not in {placed.place for placed in first.values()}
    assert third["c"] == second["c"]
    assert third["b"].place not in {placed.place for placed in (*first.values(), *second.values())}


def test_a_place_that_is_given_again_is_as_new() -> None:
    (table,) = tables(1)
    places = QuotaPlaces(table)
    for number in range(20):
        (placed,) = places.assign({f"client-{number}": Quota(requests=5)}).values()
        bucket = Bucket(table, placed.place, 0, 5)
        assert bucket.level(NOW) == 5, number
        bucket.take(100)


def test_too_many_clients_with_a_quota_are_an_error_and_the_places_stay() -> None:
    (table,) = tables(1)
    places = QuotaPlaces(table)
    before = places.assign({f"client-{number}": Quota(requests=5) for number in range(PLACES)})
    with pytest.raises(ConfigurationError, match="5 clients have a quota, and at most 4 may"):
        places.assign({f"client-{number}": Quota(requests=5) for number in range(PLACES + 1)})
    assert places.assign({client: placed.quota for client, placed in before.items()}) == before


def test_a_place_travels_as_json() -> None:
    for placed in (PlacedQuota(3, Quota(1, 2, 3)), PlacedQuota(0, Quota(bytes=10**12))):
        assert PlacedQuota.from_json(placed.to_json()) == placed


def test_quotas_follow_the_keys() -> None:
    (table,) = tables(1)
    quotas = Quotas(table)
    quotas.update({"a": PlacedQuota(0, Quota(requests=5)), "b": PlacedQuota(1, Quota(connections=1))})
    a, b = quotas.meter_of("a"), quotas.meter_of("b")
    assert a is not None
    assert b is not None
    assert quotas.meter_of("c") is None
    b.count_in()
    quotas.update({"b": PlacedQuota(2, Quota(connections=2)), "c": PlacedQuota(3, Quota(bytes=1))})
    assert quotas.meter_of("a") is None
    assert quotas.meter_of("b") is b
    assert b.most_connections == 2
    counted = [table.counts[table.words_of(place, 0) + CONNECTIONS] for place in range(PLACES)]
    assert counted == [0, 0, 1, 0], "its connections go with it"
    a.count_in()
    assert table.counts[table.words_of(0, 0) + CONNECTIONS] == 0, "the place may be another's by now"
