"""What a process holds in its memory, looked at from outside (Linux)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

CHUNK = 4 * 1024 * 1024
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r\S+ \S+ \S+ \S+ *(.*)")
_OF_THE_KERNEL = ("[vvar]", "[vvar_vclock]", "[vsyscall]")


def memory_holds(pid: int, needles: Iterable[bytes]) -> set[bytes]:
    """Those byte strings that stand somewhere in the memory of a process. It goes on meanwhile.

    It takes the right to trace the process: a child's parent has it. Many byte strings are found fastest if all of them
    begin with the same bytes.
    """
    missing = set(needles)
    found: set[bytes] = set()
    overlap = max(map(len, missing), default=1) - 1
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for start, end in _mappings(pid):
            for data in _chunks(memory, start, end, overlap):
                found |= _held(data, missing)
                missing -= found
    return found


def _held(data: bytes, needles: set[bytes]) -> set[bytes]:
    """Those that stand in the data. What all of them begin with is looked for, once for all of them."""
    if not needles:
        return set()
    start, last = min(needles), max(needles)
    while not last.startswith(start):
        start = start[:-1]
    if not start:
        return {needle for needle in needles if needle in data}
    lengths = {len(needle) for needle in needles}
    places = (match.start() for match in re.finditer(re.escape(start), data))
    return {data[place : place + length] for place in places for length in lengths} & needles


def _mappings(pid: int) -> Iterator[tuple[int, int]]:
    """The readable ranges of addresses."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        match = _MAPPING.fullmatch(line)
        if match is not None and match[3] not in _OF_THE_KERNEL:
            yield int(match[1], 16), int(match[2], 16)


def _chunks(memory: BinaryIO, start: int, end: int, overlap: int) -> Iterator[bytes]:
    """The bytes of a range, each piece with the end of the one before it. What was unmapped since is left out."""
    kept = b""
    while start < end:
        memory.seek(start)
        try:
            data = memory.read(min(CHUNK, end - start))
        except OSError:
            return
        if not data:
            return
        yield kept + data
        kept = data[-overlap:] if overlap else b""
        start += len(data)
