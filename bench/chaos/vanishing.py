"""Clients that vanish with requests in flight, and others that check every answer meanwhile."""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.connection import open_socket
from bench.dialects import DIALECTS
from bench.targets import Target
from bench.workload import Workload

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends RST."""
_IN_FLIGHT = 60
"""Requests that a client has sent, at most, when it vanishes."""
_BATCH = 40
"""Requests of those that check."""


@dataclass
class Vanished:
    """What was seen."""

    left: int = 0
    """Clients that have vanished."""
    answers: int = 0
    """That the others have checked."""
    wrong: int = 0
    """Batches that were not answered as they must be."""


def vanish_many(target: Target, workload: Workload, count: int, *, leaving: int = 3, checking: int = 2) -> Vanished:
    """Have so many clients vanish, in `leaving` threads, while `checking` connections ask on.

    Keys must have been loaded. Half of those who vanish have read a little of what was sent to them, half end with
    FIN and half with RST, and most in the middle of a request.
    """
    found, over = Vanished(), threading.Event()
    plain = target.without_tls()
    with ThreadPoolExecutor(leaving + checking) as threads:
        targets = (target if number % 2 else plain for number in range(checking))
        checks = [threads.submit(_check, each, workload, number, over) for number, each in enumerate(targets)]
        shares = [count // leaving + (number < count % leaving) for number in range(leaving)]
        departures = [threads.submit(_leave, plain, workload, number, share) for number, share in enumerate(shares)]
        try:
            found.left = sum(each.result() for each in departures)
        finally:
            over.set()
        for each in checks:
            answers, wrong = each.result()
            found.answers += answers
            found.wrong += wrong
    return found


def _requests(target: Target, workload: Workload, dice: random.Random, count: int) -> tuple[list[bytes], list[bytes]]:
    """Reads and some writes, which write what is there already, and what they must be answered."""
    dialect = DIALECTS[target.protocol]
    requests, replies = [], []
    for _ in range(count):
        number = dice.randrange(workload.keys)
        key, value = workload.key(number), workload.value(number)
        is_read = dice.random() < 0.8
        requests.append(dialect.read(key) if is_read else dialect.write(key, value))
        replies.append(dialect.value(value) if is_read else dialect.written())
    return requests, replies


def _check(target: Target, workload: Workload, number: int, over: threading.Event) -> tuple[int, int]:
    """Ask until it is over: how many answers came, and how many batches were answered wrongly."""
    dice, answers, wrong = random.Random(f"check {number}"), 0, 0
    with open_socket(target, target.client_context() if target.tls else None) as connection:
        while not over.is_set():
            requests, replies = _requests(target, workload, dice, _BATCH)
            connection.sendall(b"".join(requests))
            if not _comes(connection, replies):
                return answers, wrong + 1
            answers += len(replies)
    return answers, wrong


def _comes(connection: socket.socket, replies: Sequence[bytes]) -> bool:
    expected = b"".join(replies)
    got = b""
    while len(got) < len(expected) and expected.startswith(got):
        data = connection.recv(1 << 16)
        if not data:
            return False
        got += data
    return got == expected


def _leave(target: Target, workload: Workload, number: int, count: int) -> int:
    """So many clients, one after the other."""
    dice = random.Random(f"leave {number}")
    for _ in range(count):
        with open_socket(target, None) as connection:
            requests, _ = _requests(target, workload, dice, dice.randrange(1, _IN_FLIGHT))
            data = b"".join(requests)
            connection.sendall(data[: dice.randrange(1, len(data) + 1)])
            if dice.random() < 0.5:
                connection.settimeout(dice.choice((0.0005, 0.002)))
                try:
                    connection.recv(dice.choice((1, 1000)))
                except TimeoutError:
                    pass
            if dice.random() < 0.5:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    return count
