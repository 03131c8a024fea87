"""Faults by themselves, and the lines that name them."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bench.chaos.fault_commands import address, obey, target
from bench.chaos.fault_proxy import FaultProxy
from bench.chaos.faults import NO_FAULTS, Cut, Ending, Faults, Garbage, NewConnections, Silence

DATA = bytes(range(256)) * 2


def spoiled_in_pieces(garbage: Garbage, size: int) -> bytes:
    return b"".join(garbage.spoil(DATA[start : start + size], start) for start in range(0, len(DATA), size))


@pytest.mark.parametrize("size", [1, 7, 100, len(DATA)])
@pytest.mark.parametrize("offset", [0, 1, 99, 100, len(DATA) - 3, len(DATA)])
def test_garbage_is_the_same_however_the_bytes_are_cut(offset: int, size: int) -> None:
    noise = random.Random(5).randbytes(40)
    inserted = spoiled_in_pieces(Garbage(offset, size=40, seed=5), size)
    assert inserted == DATA[:offset] + noise + DATA[offset:]
    flipped = spoiled_in_pieces(Garbage(offset, size=40, seed=5, flip=True), size)
    changed = [position for position, byte in enumerate(flipped) if byte != DATA[position]]
    assert changed == list(range(offset, min(offset + 40, len(DATA))))
    assert flipped == Garbage(offset, size=40, seed=5, flip=True).spoil(DATA, 0)


def test_another_seed_makes_other_garbage() -> None:
    for flip in (False, True):
        assert len({Garbage(0, seed=seed, flip=flip).spoil(DATA, 0) for seed in range(10)}) == 10


def test_a_limited_bandwidth_is_kept_whatever_the_pieces() -> None:
    for faults in (Faults(bandwidth=1000), Faults(bandwidth=1000, piece=3), Faults(bandwidth=7)):
        left, seconds = 5000, 0.0
        while left:
            size = faults.piece_size(left)
            seconds += faults.pause_after(size)
            left -= size
        assert seconds == pytest.approx(5000 / faults.bandwidth)


LINES = {
    "latency 200ms": Faults(latency=0.2),
    "latency 1s 50ms": Faults(latency=1, jitter=0.05),
    "trickle 10 50ms": Faults(piece=10, pause=0.05),
    "slice": Faults(piece=1),
    "slice 1KiB": Faults(piece=1024),
    "bandwidth 64KiB": Faults(bandwidth=65536),
    "silence": Faults(silence=Silence.HOLD),
    "silence drop": Faults(silence=Silence.DROP),
    "cut 100": Faults(cut=Cut(100)),
    "cut 0 reset": Faults(cut=Cut(0, Ending.RESET)),
    "garbage 100": Faults(garbage=Garbage(100)),
    "garbage 100 4 9": Faults(garbage=Garbage(100, 4, 9)),
    "flip 5 1": Faults(garbage=Garbage(5, 1, flip=True)),
}


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    with FaultProxy(("127.0.0.1", 1)) as made:
        yield made


def test_lines_say_what_the_faults_are(proxy: FaultProxy) -> None:
    for line, faults in LINES.items():
        obey(proxy, line)
        assert proxy.faults == (faults, faults)
        assert obey(proxy, "heal\n") == "healed"
        obey(proxy, f"to-client {line}")
        assert proxy.faults == (NO_FAULTS, faults)
        obey(proxy, "to-client heal")
        obey(proxy, f"to-server {line}")
        assert proxy.faults == (faults, NO_FAULTS)
        obey(proxy, "to-server heal")
        assert proxy.faults == (NO_FAULTS, NO_FAULTS)


def test_a_line_leaves_other_faults_as_they_are(proxy: FaultProxy) -> None:
    for line in ("slice", "to-client silence", "latency 1s", "new reset"):
        obey(proxy, line)
    expected = Faults(piece=1, latency=1)
    assert proxy.faults == (expected, replace(expected, silence=Silence.HOLD))
    assert proxy.new_connections is NewConnections.RESET
    obey(proxy, "heal")
    assert proxy.new_connections is NewConnections.PASS


WRONG = [
    "",
    "latency",
    "latency soon",
    "latency -1s",
    "slice 1 2",
    "silence loud",
    "cut 5 rst",
    "nonsense",
    "to-client",
]
WRONG += ["to-client reset", "to-client heal now", "new", "new old", "reset everybody", "garbage x", "heal all"]


@pytest.mark.parametrize("line", WRONG)
def test_lines_that_say_nothing_change_nothing(proxy: FaultProxy, line: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        obey(proxy, line)
    assert proxy.faults == (NO_FAULTS, NO_FAULTS)


def test_addresses() -> None:
    assert address("127.0.0.1:6379") == ("127.0.0.1", 6379)
    assert address("[::1]:6379") == ("::1", 6379)
    assert str(target("/run/node.sock")) == "/run/node.sock"
    assert target("localhost:1") == ("localhost", 1)
    for wrong in ("6379", "host:", ":1", "host"):
        with pytest.raises(ValueError, match="is not HOST:PORT"):
            address(wrong)


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        FaultProxy(("127.0.0.1", 1), taken.getsockname())
