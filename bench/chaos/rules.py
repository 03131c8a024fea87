"""What must not happen, found in a ledger: answers that cannot be true, and acknowledged writes that are gone."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.chaos.entries import OK, Entry, key_named_in
from wireproto.errors import Effect


@dataclass(frozen=True, slots=True)
class Fault:
    """An answer that cannot be true."""

    entry: Entry
    reason: str


@dataclass(frozen=True, slots=True)
class LostWrite:
    """An acknowledged write that is gone."""

    entry: Entry
    final: bytes | None
    """What its key holds in its place."""
    certain: bool
    """False: an operation of unknown outcome, begun before, may have happened after it instead."""


@dataclass(slots=True)
class _Key:
    """What was done to a key."""

    written: dict[bytes, Entry] = field(default_factory=dict)
    """Write requests by their values."""
    deletes: list[Entry] = field(default_factory=list)
    """Those that happened, or may have."""
    acknowledged: list[Entry] = field(default_factory=list)
    """Writes with the answer OK, by when that came."""
    latest_start: list[float] = field(default_factory=list)
    """For each of `acknowledged`: when the latest begun of it and those before it was begun."""

    def overwritten(self, write: Entry, moment: float) -> bool:
        """Whether another write was begun after that one was done, and acknowledged before a moment."""
        before = bisect_left(self.acknowledged, moment, key=lambda entry: entry.done_by)
        return before > 0 and self.latest_start[before - 1] > write.done_by

    def may_be_absent(self, write: Entry, moment: float) -> bool:
        """Whether a delete, begun before a moment, may have come after a write."""
        return any(delete.started <= moment and delete.done_by >= write.started for delete in self.deletes)

    def newest_acknowledged(self, moment: float) -> Entry | None:
        """Of the writes acknowledged before a moment the one that was begun last."""
        before = bisect_left(self.acknowledged, moment, key=lambda entry: entry.done_by)
        if not before:
            return None
        start = self.latest_start[before - 1]
        return next(entry for entry in reversed(self.acknowledged[:before]) if entry.started == start)


def _by_key(entries: Iterable[Entry]) -> defaultdict[bytes, _Key]:
    keys: defaultdict[bytes, _Key] = defaultdict(_Key)
    for entry in entries:
        key = keys[entry.key]
        if entry.verb == "WRITE":
            assert entry.value is not None
            key.written[entry.value] = entry
            if entry.outcome == OK:
                key.acknowledged.append(entry)
        elif entry.verb == "DELETE" and entry.effect is not Effect.NO:
            key.deletes.append(entry)
    for key in keys.values():
        key.acknowledged.sort(key=lambda entry: entry.done_by)
        latest = float("-inf")
        for entry in key.acknowledged:
            latest = max(latest, entry.started)
            key.latest_start.append(latest)
    return keys


def wrong_answers(entries: Sequence[Entry]) -> list[Fault]:
    """Reads of a value of another key, of one never written, or of one older than what was acknowledged before."""
    keys = _by_key(entries)
    found = []
    for entry in entries:
        if entry.verb == "READ" and entry.succeeded and (reason := _fault_of(entry, keys[entry.key])):
            found.append(Fault(entry, reason))
    return found


def _fault_of(read: Entry, key: _Key) -> str:
    """What is wrong with a read's answer; "" for nothing."""
    assert read.ended is not None
    if read.value is None:
        newest = key.newest_acknowledged(read.started)
        if newest is None or key.may_be_absent(newest, read.ended):
            return ""
        return "there was no value, where one had been acknowledged before"
    write = key.written.get(read.value)
    if write is None:
        named = key_named_in(read.value)
        if named is None or named == read.key:
            return "a value that was never written"
        return f"a value of another key, {named!r}"
    if write.started > read.ended:
        return "a value that was written only later"
    if write.effect is Effect.NO:
        return f"a value whose write was refused with {write.outcome}"
    if key.overwritten(write, read.started):
        return "a value older than one that had been acknowledged before"
    return ""


def lost_writes(entries: Iterable[Entry], final: Mapping[bytes, bytes | None]) -> list[LostWrite]:
    """Acknowledged writes that came after what their key holds in the end, so that they are gone, not overwritten."""
    keys = _by_key(entries)
    found = []
    for name, value in final.items():
        key = keys[name]
        kept = None if value is None else key.written.get(value)
        is_doubtful = any(delete.effect is Effect.MAYBE for delete in key.deletes)
        for write in key.acknowledged:
            if kept is not None:
                if kept.ended is not None and write.started > kept.ended:
                    found.append(LostWrite(write, value, certain=kept.effect is not Effect.MAYBE))
            elif value is not None:
                found.append(LostWrite(write, value, certain=True))
            elif not any(delete.effect is Effect.YES and delete.done_by >= write.started for delete in key.deletes):
                found.append(LostWrite(write, value, certain=not is_doubtful))
    return found
