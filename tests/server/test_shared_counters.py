"""The workers' shared memory: slots, records that are whole or the one before, and who is ahead."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator

import pytest

from wireproto.server.shared_counters import Phase, SharedCounters, WorkerSlot


@pytest.fixture
def counters() -> Iterator[SharedCounters]:
    made = SharedCounters.create(slots=3, capacity=1000)
    yield made
    os.close(made.descriptor)


def test_a_new_slot_is_empty(counters: SharedCounters) -> None:
    for slot in range(3):
        worker = WorkerSlot(counters, slot)
        assert worker.predecessor() is None
        assert worker.others() == []
        assert worker.all_connections() == 0
        assert not worker.is_alone
    assert counters.phases.tolist() == [Phase.ABSENT] * 3


def test_a_record_is_seen_by_the_others_and_by_the_successor(counters: SharedCounters) -> None:
    one, two = WorkerSlot(counters, 0), WorkerSlot(counters, 1)
    one.publish(b"first")
    one.publish(b"second")
    one.enter(Phase.SERVING)
    assert two.others() == [(0, Phase.SERVING, b"second")]
    counters.retire(0)
    assert two.others() == [(0, Phase.ABSENT, b"second")]
    assert WorkerSlot(counters, 0).predecessor() == b"second"
    assert one.others() == []


def test_slots_and_records_do_not_touch_each_other(counters: SharedCounters) -> None:
    """Whatever is written in whatever order, every slot has what was written there last."""
    dice = random.Random(1)
    last: dict[int, bytes] = {}
    for _ in range(500):
        slot = dice.randrange(3)
        last[slot] = dice.randbytes(dice.choice([0, 1, 999, 1000]))
        counters.write(slot, last[slot])
        counters.connections[slot] = dice.randrange(2**32)
        assert {slot: counters.read(slot) for slot in last} == last


def test_a_record_that_is_too_long_is_refused_and_the_one_before_stays(counters: SharedCounters) -> None:
    counters.write(1, b"before")
    with pytest.raises(ValueError, match="does not fit"):
        counters.write(1, bytes(1001))
    assert counters.read(1) == b"before"


def test_a_writer_that_is_killed_in_the_middle_leaves_the_record_before(counters: SharedCounters) -> None:
    counters.write(0, b"one")
    counters.write(0, b"two")
    counters.sequence[0] -= 1  # what a reader sees until the last store
    assert counters.read(0) == b"one"


def test_a_record_that_was_overwritten_while_it_was_read_is_not_taken(counters: SharedCounters) -> None:
    counters.write(0, b"whole")
    place = counters._place(0, counters.sequence[0])
    place[8] ^= 1
    assert counters.read(0) is None
    place[8] ^= 1
    assert counters.read(0) == b"whole"


def test_the_number_of_a_record_goes_round(counters: SharedCounters) -> None:
    counters.sequence[0] = 2**32 - 2
    for record in (b"a", b"b", b"c"):
        counters.write(0, record)
        assert counters.read(0) == record


def test_connections_are_added_over_all_workers(counters: SharedCounters) -> None:
    workers = [WorkerSlot(counters, slot) for slot in range(3)]
    for worker, count in zip(workers, (5, 0, 7), strict=True):
        worker.count_connections(count)
    assert [worker.all_connections() for worker in workers] == [12, 12, 12]
    assert workers[0].connections_of(2) == 7
    counters.retire(2)
    assert workers[0].all_connections() == 5


@pytest.mark.parametrize(
    ("mine", "others", "ahead"),
    [
        (0, [(0, Phase.SERVING)], False),
        (1, [(0, Phase.SERVING)], False),
        (2, [(0, Phase.SERVING)], True),
        (2, [(1, Phase.SERVING), (5, Phase.SERVING)], False),
        (6, [(4, Phase.SERVING), (9, Phase.SERVING)], True),
        (10, [(8, Phase.SERVING)], False),
        (11, [(8, Phase.SERVING)], True),
        (901, [(800, Phase.SERVING)], False),
        (902, [(800, Phase.SERVING)], True),
        (5, [(0, Phase.ABSENT)], False),
        (5, [(0, Phase.DRAINING)], False),
        (5, [(0, Phase.DRAINING), (0, Phase.SERVING)], True),
        (5, [], False),
    ],
)
def test_who_is_ahead_of_another_that_serves(mine: int, others: list[tuple[int, Phase]], ahead: bool) -> None:
    counters = SharedCounters.create(slots=1 + len(others), capacity=0)
    worker = WorkerSlot(counters, 0)
    worker.enter(Phase.SERVING)
    worker.count_connections(mine)
    for slot, (count, phase) in enumerate(others, 1):
        WorkerSlot(counters, slot).count_connections(count)
        WorkerSlot(counters, slot).enter(phase)
    assert worker.is_ahead() is ahead
    assert worker.is_alone is (not others)
    os.close(counters.descriptor)


WRITER = """
import sys
from wireproto.server.shared_counters import SharedCounters
counters = SharedCounters(int(sys.argv[1]), slots=3, capacity=1000)
print(counters.read(2).decode(), flush=True)
number = 0
while True:
    number += 1
    text = str(number % 10).encode()
    counters.write(1, text * (number % 1000 + 1))
    counters.connections[1] = number % 2 * (2**32 - 1)
"""


def test_another_process_sees_the_same_and_no_reader_sees_half_a_record(counters: SharedCounters) -> None:
    counters.write(2, b"from here")
    command = [sys.executable, "-c", WRITER, str(counters.descriptor)]
    with subprocess.Popen(command, pass_fds=[counters.descriptor], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "from here\n"
        seen: set[bytes] = set()
        while len(seen) < 500:
            record = counters.read(1)
            if record is not None:
                assert len(set(record)) == 1, "of two records"
                seen.add(record)
            assert counters.connections[1] in (0, 2**32 - 1), "half of a number"
        process.kill()
        process.wait()
        assert counters.read(1) is not None, "it leaves a whole record"


def test_who_has_strangers_can_make_room_for_others(counters: SharedCounters) -> None:
    one, two = WorkerSlot(counters, 0), WorkerSlot(counters, 1)
    assert one.workers == 3
    two.count_strangers(5)
    assert not one.others_can_make_room()  # that worker does not serve yet
    two.enter(Phase.SERVING)
    assert one.others_can_make_room()
    assert not two.others_can_make_room()
    one.count_strangers(1)
    assert not one.others_can_make_room()
    one.count_strangers(0)
    counters.retire(1)
    assert not one.others_can_make_room()
