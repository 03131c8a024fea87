"""More requests than can be answered: tagged, at a given rate whatever becomes of them, and what each is answered.

Times count from when a request was due. So one that waits in the client, because the server does not read, waits too.
"""

from __future__ import annotations

import gc
import multiprocessing
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from time import monotonic_ns
from typing import Final

from bench.connection import open_socket
from bench.dialects import Wireproto
from bench.latencies import Latencies
from bench.targets import Target
from bench.workload import Workload

SECOND: Final = 1_000_000_000
TURN: Final = SECOND // 1000
"""Nanoseconds between two looks at what is due."""
LAST_CALL: Final = 20 * TURN
"""Nanoseconds after the end in which what was due before it may still be sent."""
AT_ONCE: Final = 64
"""Requests for one connection that are sent together, at most."""
KEYS: Final = 1000
"""Which are loaded before."""
SEND_BUFFER: Final = 32 * 1024
"""Bytes of a socket's, so that what a server does not read waits where it is counted."""
PATIENCE: Final = 3.0
"""Seconds in which what is under way at the end is waited for."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What is sent: `rate` requests a second for so many seconds, of which the first are not counted."""

    rate: float
    seconds: float = 4.0
    warm_up: float = 1.5
    connections: int = 16
    keys: int = KEYS
    verb: bytes = b"READ"
    """As it is written: not in capitals, a request goes through the full parser, and costs the server several times as
    much."""


@dataclass(slots=True)
class Outcome:
    """What became of the requests that were due in the time that counts. Rates are per second."""

    offered: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    """By what they say: OK, or an error's code."""
    wrong: int = 0
    """OK with another value than the key's."""
    unanswered: int = 0
    """Sent, and no answer until the end."""
    unsent: int = 0
    """Never taken by the server."""
    in_window: int = 0
    """OK that came in the time that counts, whenever they were due: what the server is able to do."""
    seconds: float = 0.0
    times: dict[str, Latencies] = field(default_factory=dict)
    """From when it was due to its answer, by what that says."""
    held: Latencies = field(default_factory=Latencies)
    """Of those that were answered OK, from when the socket took it."""

    @property
    def goodput(self) -> float:
        """OK per second."""
        return self.in_window / self.seconds

    def per_second(self, answer: str) -> float:
        """So many of those that were due in a second were answered so."""
        return self.answers[answer] / self.seconds

    def milliseconds(self, answer: str, percentile: str) -> float:
        """How long those took; 0 where there were none."""
        return self.times[answer].summary()[percentile] / 1000 if answer in self.times else 0.0


class _Caller:
    """One connection. Requests have their numbers for tags."""

    def __init__(self, raw: socket.socket, lines: list[bytes], replies: list[bytes]) -> None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        raw.setblocking(False)
        self.raw = raw
        self.due: deque[int] = deque()
        """When those were due that are not sent yet."""
        self.under_way: dict[bytes, tuple[int, int, int]] = {}
        """By tag: when it was due, when it was sent, and the number of its key."""
        self._lines = lines
        self._replies = replies
        self._number = 0
        self._outgoing = b""
        self._rest = b""

    def send(self, now: int) -> None:
        """Send what is due, as far as the socket takes it."""
        while self._outgoing or self.due:
            if not self._outgoing:
                self._outgoing = self._next(now)
            try:
                self._outgoing = self._outgoing[self.raw.send(self._outgoing) :]
            except BlockingIOError:
                return

    def _next(self, now: int) -> bytes:
        pieces, lines = [], self._lines
        for _ in range(min(AT_ONCE, len(self.due))):
            number = self._number
            self._number += 1
            tag, key = b"#%d" % number, number % len(lines)
            self.under_way[tag] = self.due.popleft(), now, key
            pieces.append(b"%b %b" % (tag, lines[key]))
        return b"".join(pieces)

    def receive(self, note: _Note) -> None:
        """Read what there is. Raises ConnectionError when there will be no more."""
        try:
            data = self.raw.recv(1 << 18)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionError("the server has closed a connection")
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        now = monotonic_ns()
        for line in lines:
            tag, _, text = line.partition(b" ")
            due, sent, key = self.under_way.pop(tag)
            if text.startswith(b"OK "):
                note("OK", now, due, sent, text != self._replies[key])
            else:
                note(text[4:].partition(b" ")[0].decode(), now, due, sent, False)


class _Note:
    """Writes down what comes in the time that counts."""

    def __init__(self, start: int, end: int) -> None:
        self.outcome = Outcome(seconds=(end - start) / SECOND)
        self._start, self._end = start, end

    def __call__(self, answer: str, now: int, due: int, sent: int, is_wrong: bool) -> None:
        outcome = self.outcome
        if answer == "OK" and self._start <= now < self._end:
            outcome.in_window += 1
        outcome.wrong += is_wrong
        if not self._start <= due < self._end:
            return
        outcome.answers[answer] += 1
        if answer not in outcome.times:
            outcome.times[answer] = Latencies()
        outcome.times[answer].counts[(now - due) // 1000] += 1
        if answer == "OK":
            outcome.held.counts[(now - sent) // 1000] += 1

    def of_this_time(self, dues: Iterator[int]) -> int:
        """How many of these were due in it."""
        return sum(self._start <= due < self._end for due in dues)


def _drive(target: Target, offer: Offer) -> Outcome:
    """In a process of its own: connect, offer, and wait for what is under way."""
    workload, dialect = Workload(keys=offer.keys), Wireproto()
    lines = [dialect.read(workload.key(number)).replace(b"READ", offer.verb, 1) for number in range(offer.keys)]
    replies = [dialect.value(workload.value(number))[:-1] for number in range(offer.keys)]
    callers = [_Caller(open_socket(target, None), lines, replies) for _ in range(offer.connections)]
    poller = select.poll()
    by_descriptor = {caller.raw.fileno(): caller for caller in callers}
    for descriptor in by_descriptor:
        poller.register(descriptor, select.POLLIN)
    begin = monotonic_ns()
    start = begin + round(offer.warm_up * SECOND)
    end = start + round(offer.seconds * SECOND)
    note, between, due, turn = _Note(start, end), SECOND / offer.rate, float(begin), 0
    gc.disable()
    while (now := monotonic_ns()) < end or _is_waited_for(callers, end, now):
        while due <= min(now, end - 1):
            callers[turn % len(callers)].due.append(round(due))
            note.outcome.offered += due >= start
            due += between
            turn += 1
        if now < end + LAST_CALL:
            for caller in callers:
                caller.send(now)
        for descriptor, _ in poller.poll(max(0.0, (now + TURN - monotonic_ns()) / 1e6)):
            by_descriptor[descriptor].receive(note)
    for caller in callers:
        note.outcome.unsent += note.of_this_time(iter(caller.due))
        note.outcome.unanswered += note.of_this_time(due for due, _, _ in caller.under_way.values())
        caller.raw.close()
    return note.outcome


def _is_waited_for(callers: list[_Caller], end: int, now: int) -> bool:
    return now < end + PATIENCE * SECOND and any(caller.under_way for caller in callers)


def _run(pipe: Connection, target: Target, given: Offer) -> None:
    try:
        pipe.send(_drive(target, given))
    except (OSError, KeyError) as error:
        pipe.send(f"{type(error).__name__}: {error}")


def offer(target: Target, given: Offer) -> Outcome:
    """Make this offer to the target's plain port, after the keys were loaded. Raises RuntimeError when that fails."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    child = context.Process(target=_run, args=(theirs, target.without_tls(), given), daemon=True)
    child.start()
    theirs.close()
    try:
        deadline = time.monotonic() + given.warm_up + given.seconds + 10 * PATIENCE
        if not ours.poll(deadline - time.monotonic()):
            raise RuntimeError("the process that makes the offer hangs")
        told = ours.recv()
    except EOFError:
        raise RuntimeError("the process that makes the offer ended") from None
    finally:
        child.kill()
        child.join()
        ours.close()
    if not isinstance(told, Outcome):
        raise RuntimeError(f"an offer failed: {told}")
    return told
