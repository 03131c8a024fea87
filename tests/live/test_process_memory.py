"""The search in a process's memory finds what a node holds, and nothing else: or it would prove nothing."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.live.fake_node import RealNode
from tests.live.process_memory import CHUNK, _chunks, memory_holds


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RealNode]:
    running = RealNode(tmp_path)
    yield running
    running.kill()


def test_all_plain_values_of_a_node_are_found(node: RealNode) -> None:
    marker = secrets.token_hex(8).encode()
    stored = [b"%b-%04d" % (marker, number) for number in range(1000)]
    others = [b"%b-%04d" % (marker, number) for number in range(1000, 2000)]
    with redis.Redis(port=node.port) as client:
        for number, value in enumerate(stored):
            client.set(f"key-{number}", b"a value that begins otherwise, " + value)
    assert memory_holds(node.process.pid, [*stored, *others]) == set(stored)


def test_values_that_have_nothing_in_common(node: RealNode) -> None:
    stored = [bytes([number]) + secrets.token_bytes(24) for number in range(1, 9)]
    with redis.Redis(port=node.port) as client:
        client.mset({f"key-{number}": value for number, value in enumerate(stored)})
    assert memory_holds(node.process.pid, [*stored, secrets.token_bytes(24)]) == set(stored)


def test_a_value_across_the_border_of_two_pieces() -> None:
    needle = secrets.token_bytes(7)
    for place in range(CHUNK - 8, CHUNK + 2):
        memory = io.BytesIO(bytes(place) + needle + bytes(100))
        pieces = list(_chunks(memory, 0, place + 107, len(needle) - 1))
        assert len(pieces) == 2
        assert sum(needle in piece for piece in pieces) == 1


def test_of_nothing_nothing_is_found() -> None:
    assert memory_holds(os.getpid(), []) == set()
