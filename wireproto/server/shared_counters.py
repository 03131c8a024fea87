"""Memory that the workers of a server share: how many connections each has, and what each has counted.

Every worker has a slot, which it alone writes while it lives, and hands on to the worker that takes its place. A record
is written beside the one before and then takes its place by one store of a number, so that a worker which is killed in
the middle of it leaves the one before. A checksum finds what was overwritten while it was read.
"""

from __future__ import annotations

import zlib
from enum import IntEnum
from typing import Final

from wireproto.server.shared_memory import mapped, nameless_file

READ_ATTEMPTS: Final = 100
"""A record is written ten times a second and read in microseconds: the second attempt finds it whole."""
_WORD: Final = 4
_WORDS: Final = 4
"""Words of a slot beside its records: its worker's phase, its connections, how many of them are strangers, and the
number of its last record."""
_HEAD: Final = 2
"""Words before a record: its length and its checksum."""


class Phase(IntEnum):
    """Where the worker of a slot is in its life."""

    ABSENT = 0
    """Not ready yet, or ended."""
    SERVING = 1
    DRAINING = 2


class SharedCounters:
    """The slots of all workers, each with room for records of `capacity` bytes, in the file `descriptor`.

    The file can be inherited: whoever knows the three numbers sees the same slots. Raises OSError.
    """

    def __init__(self, descriptor: int, slots: int, capacity: int) -> None:
        self.descriptor = descriptor
        self.slots = slots
        self.capacity = capacity
        # Words are written through views of whole words: one store each, so that nobody sees half of a number.
        words = -(-capacity // _WORD)
        self._record = (_HEAD + words) * _WORD
        size = slots * (_WORDS * _WORD + 2 * self._record)
        self._memory = mapped(descriptor, size)
        numbers = self._memory[: slots * _WORDS * _WORD].cast("I")
        self.phases, self.connections, self.strangers, self.sequence = (
            numbers[start : start + slots] for start in range(0, slots * _WORDS, slots)
        )
        self._records = self._memory[slots * _WORDS * _WORD :]

    @classmethod
    def create(cls, slots: int, capacity: int) -> SharedCounters:
        """Empty slots in a file of their own."""
        return cls(nameless_file("counters"), slots, capacity)

    def write(self, slot: int, record: bytes) -> None:
        """Put a record in the place of the slot's last. Raises ValueError if it is too long."""
        if len(record) > self.capacity:
            raise ValueError(f"a record of {len(record)} bytes does not fit into {self.capacity}")
        number = (self.sequence[slot] + 1) & 0xFFFFFFFF or 2  # 0 means that there is none
        place = self._place(slot, number)
        head = place[: _HEAD * _WORD].cast("I")
        head[0], head[1] = len(record), zlib.crc32(record)
        place[_HEAD * _WORD : _HEAD * _WORD + len(record)] = record
        self.sequence[slot] = number

    def read(self, slot: int) -> bytes | None:
        """The slot's last record; None if there is none."""
        for _ in range(READ_ATTEMPTS):
            number = self.sequence[slot]
            if number == 0:
                return None
            place = self._place(slot, number)
            length, checksum = place[: _HEAD * _WORD].cast("I")
            record = bytes(place[_HEAD * _WORD : _HEAD * _WORD + length])
            if zlib.crc32(record) == checksum:
                return record
        return None

    def retire(self, slot: int) -> None:
        """Say that the slot's worker has ended, and with it its connections."""
        self.phases[slot] = Phase.ABSENT
        self.connections[slot] = 0
        self.strangers[slot] = 0

    def _place(self, slot: int, number: int) -> memoryview:
        """Where the record of this number goes: there are two places, taken in turn."""
        start = (2 * slot + number % 2) * self._record
        return self._records[start : start + self._record]


class WorkerSlot:
    """What one worker does with the shared memory. A server without workers has a single one of its own."""

    def __init__(self, counters: SharedCounters, index: int) -> None:
        self.index = index
        self._counters = counters
        self._others = [slot for slot in range(counters.slots) if slot != index]

    @property
    def is_alone(self) -> bool:
        """Whether there is nobody to share with."""
        return not self._others

    @property
    def workers(self) -> int:
        """How many share with each other, this one with them."""
        return self._counters.slots

    # -- connections

    def enter(self, phase: Phase) -> None:
        """Say where this worker is in its life."""
        self._counters.phases[self.index] = phase

    def count_connections(self, count: int) -> None:
        """Say how many connections this worker has, which hold or take a place."""
        self._counters.connections[self.index] = count

    def count_strangers(self, count: int) -> None:
        """Say how many of them have not authenticated, so that they can give way to others."""
        self._counters.strangers[self.index] = count

    def others_can_make_room(self) -> bool:
        """Whether another worker has connections that would give way, and this one has none."""
        counters = self._counters
        return not counters.strangers[self.index] and any(
            counters.strangers[slot] and counters.phases[slot] == Phase.SERVING for slot in self._others
        )

    def all_connections(self) -> int:
        """The connections of all workers."""
        return sum(self._counters.connections)

    def is_ahead(self) -> bool:
        """Whether another worker has fewer connections by enough to be given the next one.

        Two, and an eighth where there are many: to wait for others has its price while connections come and go.
        """
        connections, phases = self._counters.connections, self._counters.phases
        others = [connections[slot] for slot in self._others if phases[slot] == Phase.SERVING]
        if not others:
            return False
        fewest = min(others)
        return connections[self.index] >= fewest + 2 + fewest // 8

    def connections_of(self, slot: int) -> int:
        """The connections of one worker."""
        return self._counters.connections[slot]

    # -- records

    def publish(self, record: bytes) -> None:
        """Show the others what this worker has counted."""
        self._counters.write(self.index, record)

    def predecessor(self) -> bytes | None:
        """The last record of the worker whose place this one takes."""
        return self._counters.read(self.index)

    def others(self) -> list[tuple[int, Phase, bytes]]:
        """The other workers: slot, phase and record of each that has one, also of those that have ended."""
        records = ((slot, Phase(self._counters.phases[slot]), self._counters.read(slot)) for slot in self._others)
        return [(slot, phase, record) for slot, phase, record in records if record is not None]
