"""The whole of the core: a client's requests read, sent to four nodes, their replies matched, and the answers taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.micro.blocks import Benchmark
from bench.micro.conversation import NOW, ROUNDS_UNTIL_OPEN, Conversation, Request, read, write
from wireproto.core.access import NO_QUOTA, Quota

LARGE = Quota(requests=10**12, bytes=10**12)
"""Never reached."""
USED_UP = Quota(requests=ROUNDS_UNTIL_OPEN)
"""By what opens the session."""


def benchmarks() -> Iterator[Benchmark]:
    """All of this concern."""
    yield _round_trip("READ, 1 in flight", [read(0)])
    yield _round_trip("9 READ and 1 WRITE, 10 in flight", [*map(read, range(9)), write(9)])
    yield _round_trip("READ, 50 in flight", [read(number) for number in range(50)])
    yield _round_trip("READ, 1 in flight, with a quota", [read(0)], LARGE)
    yield _round_trip("READ, 50 in flight, with a quota", [read(number) for number in range(50)], LARGE)
    yield _refusals(50)


def _round_trip(name: str, requests: Sequence[Request], quota: Quota = NO_QUOTA) -> Benchmark:
    talk = Conversation(quota=quota)
    exchange = talk.exchange(requests)
    session, length = talk.session, exchange.answer_length

    def run(times: int) -> None:
        for _ in range(times):
            session.receive(exchange.request, NOW)
            for pipeline, reply in exchange.replies:
                pipeline.data_to_send(NOW)
                pipeline.receive(reply, NOW)
            assert len(session.data_to_send()) == length
            if session.gate is not None:
                session.gate.sent(length, NOW)

    return Benchmark(name, run, operations=exchange.count)


def _refusals(count: int) -> Benchmark:
    """Requests beyond a quota that is used up; no time passes, so there is never more."""
    talk = Conversation(quota=USED_UP)
    session, lines = talk.session, read(0).line * count
    session.receive(lines, NOW)
    assert session.data_to_send().startswith(b"ERR LIMIT ")

    def run(times: int) -> None:
        for _ in range(times):
            session.receive(lines, NOW)
            assert session.data_to_send().startswith(b"ERR LIMIT ")

    return Benchmark(f"READ refused, {count} at once", run, operations=count)
