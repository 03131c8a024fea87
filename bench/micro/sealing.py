"""Values encrypted at rest: sealed, opened, and opened when so many processes have sealed that it slows down."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from itertools import cycle, islice

from bench.micro.blocks import Benchmark
from wireproto.core.keyring import EncryptionKey, Keyring
from wireproto.core.sealing import OPENERS_KEPT, NamespaceSealer, Sealer
from wireproto.core.xaes import KEY_BYTES, PREFIX_BYTES

KEY = b"user:12345"
SIZES = (100, 4096, 65536)


def benchmarks() -> Iterator[Benchmark]:
    """All of this concern."""
    sealer, values = new_sealer()
    for size in SIZES:
        value = bytes(size)
        yield Benchmark(f"{size} B sealed", _sealing(values, value))
        yield Benchmark(f"{size} B opened", _opening(values, [values.seal(KEY, value)]))
    yield Benchmark("100 B that are plain opened", _opening(values, [bytes(100)]))
    for prefixes in (16, OPENERS_KEPT, 2 * OPENERS_KEPT):
        stored = list(_of_many_processes(sealer, values, prefixes))
        yield Benchmark(f"100 B of {prefixes} processes opened", _opening(values, stored))


def new_sealer() -> tuple[Sealer, NamespaceSealer]:
    """A sealer with one key, and a namespace of it."""
    keyring = Keyring((EncryptionKey("2025-01", None, secrets.token_bytes(KEY_BYTES), 0, "seal"),))
    sealer = Sealer(keyring, lambda: secrets.token_bytes(PREFIX_BYTES))
    return sealer, sealer.for_namespace("default")


def _of_many_processes(sealer: Sealer, values: NamespaceSealer, prefixes: int) -> Iterator[bytes]:
    for _ in range(prefixes):
        sealer.renew()
        yield values.seal(KEY, bytes(100))


def _sealing(values: NamespaceSealer, value: bytes) -> Callable[[int], None]:
    seal = values.seal

    def run(times: int) -> None:
        for _ in range(times):
            seal(KEY, value)

    return run


def _opening(values: NamespaceSealer, stored: list[bytes]) -> Callable[[int], None]:
    """Each time another of these, in turn."""
    open_value, turns = values.open, cycle(stored)

    def run(times: int) -> None:
        for one in islice(turns, times):
            assert open_value(KEY, one) is not None

    return run
