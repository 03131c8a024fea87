"""Whether a nonce is ever used twice: `python -m bench.nonces`.

Processes seal values, fork while they do, and end and are started again. Of each sealed value the key's id and the
nonce are written down. At the end all of them are sorted, and doubles stand side by side.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from multiprocessing.process import BaseProcess
from pathlib import Path

from wireproto.core.keyring import EncryptionKey, Keyring
from wireproto.core.sealing import NamespaceSealer, Sealer
from wireproto.core.xaes import KEY_BYTES, NONCE_BYTES
from wireproto.server.process_sealer import process_sealer

LIVES = 5
"""How often each process is started."""
PARTS = 7
"""A process seals one part, forks, both seal one, both fork, all four seal one."""
RECORD = 1 + NONCE_BYTES
BUCKETS = 64
KEYRING = Keyring(
    (
        EncryptionKey("a", None, bytes([1]) * KEY_BYTES, 1, "seal"),
        EncryptionKey("b", "shop", bytes([2]) * KEY_BYTES, 1, "seal"),
    )
)
NAMESPACES = ("default", "shop", "logs")
"""The first and the last are sealed with the same key."""


@dataclass(frozen=True)
class Outcome:
    """How many nonces were used, how many prefixes, and how many nonces more than once."""

    nonces: int
    prefixes: int
    doubles: int


def run(count: int, processes: int, make_sealer: Callable[[Keyring], Sealer] = process_sealer) -> Outcome:
    """At least so many sealings in so many processes at once, and what came of them."""
    each = -(-count // (processes * LIVES * PARTS))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lives: list[BaseProcess | None] = [None] * processes
        for _ in range(LIVES):
            for place, before in enumerate(lives):
                if before is not None:
                    _end(before)
                # A new interpreter, which shares nothing with this one.
                process = multiprocessing.get_context("spawn").Process(target=live, args=(folder, each, make_sealer))
                process.start()
                lives[place] = process
        for last in lives:
            assert last is not None
            _end(last)
        return count_doubles(folder)


def _end(process: BaseProcess) -> None:
    process.join()
    if process.exitcode:
        raise RuntimeError(f"a process that seals has failed ({process.exitcode})")


def live(folder: Path, each: int, make_sealer: Callable[[Keyring], Sealer]) -> None:
    """Seal, fork, seal, fork, seal. Between, the keyring changes as it does when a key is added or retired."""
    sealer = make_sealer(KEYRING)
    values = [sealer.for_namespace(namespace) for namespace in NAMESPACES]
    _seal(folder, values, each)
    is_child, children = _fork(is_child=False, children=[])
    _seal(folder, values, each)
    sealer.update(replace(KEYRING, plain=("none",)))
    is_child, children = _fork(is_child, children)
    _seal(folder, values, each)
    failed = sum(os.waitpid(child, 0)[1] != 0 for child in children)
    if is_child:
        os._exit(failed)
    sys.exit(failed)


def _fork(is_child: bool, children: list[int]) -> tuple[bool, list[int]]:
    """Whether this is now a process that a fork has made, and what processes it has made by forks."""
    child = os.fork()
    return (is_child, [*children, child]) if child else (True, [])


def _seal(folder: Path, values: list[NamespaceSealer], count: int) -> None:
    """Seal so many values and write down what they were sealed with, sorted into files by the nonces' beginnings."""
    buckets: list[list[bytes]] = [[] for _ in range(BUCKETS)]
    for number in range(count):
        stored = values[number % len(values)].seal(b"key", b"")
        # Behind marker, format and the id's length: an id of one letter, and the nonce.
        record = stored[3 : 3 + RECORD]
        buckets[record[1] % BUCKETS].append(record)
    for bucket, records in enumerate(buckets):
        if records:
            # O_APPEND: what several processes write to a file does not overlap.
            with (folder / f"{bucket}").open("ab", buffering=0) as file:
                data = b"".join(records)
                if file.write(data) != len(data):
                    raise OSError("not everything could be written")


def count_doubles(folder: Path) -> Outcome:
    """What was written down."""
    nonces = prefixes = doubles = 0
    for path in folder.iterdir():
        data = path.read_bytes()
        records = sorted(data[start : start + RECORD] for start in range(0, len(data), RECORD))
        nonces += len(records)
        doubles += sum(one == next_one for one, next_one in pairwise(records))
        prefixes += sum(1 for _ in _changes(records))
    return Outcome(nonces, prefixes, doubles)


def _changes(records: list[bytes]) -> Iterator[bytes]:
    """The beginnings of sorted records, each once."""
    last = b""
    for record in records:
        start = record[: RECORD - 12]
        if start != last:
            last = start
            yield start


def main() -> int:
    """The exit code is 1 if a nonce was used twice."""
    parser = argparse.ArgumentParser(prog="python -m bench.nonces", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--count", type=int, default=10_000_000, help="sealings (10000000)")
    parser.add_argument("--processes", type=int, default=8, help="at once (8)")
    options = parser.parse_args()
    started = time.monotonic()
    outcome = run(options.count, options.processes)
    lives = LIVES * options.processes
    print(
        f"{outcome.nonces:,} sealings, {options.processes} processes at once, {lives} started, each forked into four,"
        f" {outcome.prefixes:,} prefixes, {time.monotonic() - started:.0f} s: {outcome.doubles} nonces used twice"
    )
    return 1 if outcome.doubles else 0


if __name__ == "__main__":
    sys.exit(main())
