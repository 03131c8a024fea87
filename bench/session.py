"""The core's own cost per READ, without sockets: `python -m bench.session`.

One authenticated session and four pipelines whose replies are prepared; 1 and 50 requests arrive at a time.
"""

from __future__ import annotations

import time

from tests.core.conversation import Conversation

REPEATS = 5
VALUE = b"v" * 100


def measure(depth: int, turns: int) -> float:
    """Microseconds per READ, the best of several runs."""
    talk = Conversation(nodes_answer=False)
    keys = [b"key:%08d" % number for number in range(depth)]
    request = b"".join(b"READ 12:%b\n" % key for key in keys)
    counts = [0] * len(talk.pipelines)
    for key in keys:
        counts[talk.owner(key)] += 1
    reply = b"$100\r\n%b\r\n" % VALUE
    replies = [reply * count for count in counts]
    talk.nodes_answer = True
    for _ in range(30):  # the window opens with what replies turn out to measure
        talk.say(request)
    best = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        for _ in range(turns):
            talk.session.receive(request, 1.0)
            for pipeline, data in zip(talk.pipelines, replies, strict=True):
                if data:
                    pipeline.data_to_send(1.0)
                    pipeline.receive(data, 1.0)
            talk.session.data_to_send()
        best = min(best, time.perf_counter() - started)
    return best / turns / depth * 1e6


def main() -> None:
    """Measure and print."""
    for depth, turns in ((1, 20_000), (50, 2_000)):
        print(f"{depth:>2} in flight: {measure(depth, turns):.2f} us per READ")


if __name__ == "__main__":
    main()
