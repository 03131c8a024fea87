"""The whole of the core: a client's requests read, sent to four nodes, their replies matched, and the answers taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.micro.blocks import Benchmark
from bench.micro.conversation import NOW, Conversation, Request, read, write


def benchmarks() -> Iterator[Benchmark]:
    """All of this concern."""
    yield _round_trip("READ, 1 in flight", [read(0)])
    yield _round_trip("9 READ and 1 WRITE, 10 in flight", [*map(read, range(9)), write(9)])
    yield _round_trip("READ, 50 in flight", [read(number) for number in range(50)])


def _round_trip(name: str, requests: Sequence[Request]) -> Benchmark:
    talk = Conversation()
    exchange = talk.exchange(requests)
    session, length = talk.session, exchange.answer_length

    def run(times: int) -> None:
        for _ in range(times):
            session.receive(exchange.request, NOW)
            for pipeline, reply in exchange.replies:
                pipeline.data_to_send(NOW)
                pipeline.receive(reply, NOW)
            assert len(session.data_to_send()) == length

    return Benchmark(name, run, operations=exchange.count)
