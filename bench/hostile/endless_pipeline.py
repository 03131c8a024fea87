"""One client that sends a million requests without waiting for answers: how much longer another one waits for its own.

The two are measured by turns, with the greedy client and without it, so that a machine that is busy is so for both.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import socket
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Final

from bench.chaos.findings import Bound, Figure, Finding
from bench.connection import open_socket
from bench.hostile.visits import percentile
from bench.targets import Target, read_stats, wireproto_server

NAME: Final = "pipeline"
TURNS: Final = 5
SECONDS: Final = 2.0
"""Of each turn, with and without."""
MOST_IN_FLIGHT: Final = 4096
MOST_TIMES: Final = 1.5
"""How many times as long 99 % of the other client's requests may take."""
KEYS: Final = 100
BATCH: Final = 1000
"""Requests that are sent in one go."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """How many."""
    parser.add_argument("--pipelined", type=int, default=1_000_000, metavar="N", help="requests at least (1,000,000)")


def run(options: argparse.Namespace) -> list[Finding]:
    """By turns, until enough was sent."""
    alone: list[float] = []
    beside: list[float] = []
    in_flight: list[float] = []
    sent = 0
    with wireproto_server() as server:
        assert server.plain_port is not None
        plain = server.without_tls()
        with open_socket(server, server.client_context()) as other:
            turns = 0
            while turns < TURNS or sent < options.pipelined:
                turns += 1
                alone.append(percentile(_asked(other), 0.99))
                with _greedy(plain) as counter:
                    times = _asked(other)
                    nodes = read_stats(server.plain_port, server.api_key)["nodes"]
                beside.append(percentile(times, 0.99))
                in_flight.append(float(sum(node["in_flight"] for node in nodes)))
                sent += counter[0]
    ratio = sorted(beside)[len(beside) // 2] / sorted(alone)[len(alone) // 2]
    finding = Finding(NAME, f"{turns} turns of {SECONDS:g} s, with and without; {sent:,} requests of the greedy client")
    finding.figures = [
        Figure("99 % of another's requests, alone, s", alone),
        Figure("99 % of another's requests, beside it, s", beside),
        Figure("the second to the first, medians", [ratio], Bound(MOST_TIMES)),
        Figure("in flight at all nodes", in_flight, Bound(MOST_IN_FLIGHT + 1)),
    ]
    return [finding]


def _asked(client: socket.socket) -> list[float]:
    """Seconds that each of the requests took, one after the other."""
    times = []
    until = time.monotonic() + SECONDS
    while (started := time.monotonic()) < until:
        client.sendall(b"READ 4:mine\n")
        while not client.recv(4096).endswith(b"\n"):
            pass
        times.append(time.monotonic() - started)
    return times


@contextlib.contextmanager
def _greedy(server: Target) -> Iterator[list[int]]:
    """The greedy client, in a process of its own. At the end, the one number is how many requests it has sent."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    child = context.Process(target=_send_and_receive, args=(theirs, server), daemon=True)
    child.start()
    theirs.close()
    sent = [0]
    try:
        ours.recv()
        yield sent
        ours.send("end")
        sent[0] = ours.recv()
    finally:
        ours.close()
        child.kill()
        child.join()


def _send_and_receive(pipe: Connection, server: Target) -> None:
    """In the child: send until told to end, and read what comes."""
    batch = b"".join(b"READ 7:many-%02d\n" % (number % KEYS) for number in range(BATCH))
    sent = 0
    with open_socket(server, None) as client:
        reader = threading.Thread(target=_receive, args=(client,), daemon=True)
        reader.start()
        pipe.send("begun")
        while not pipe.poll():
            client.sendall(batch)
            sent += BATCH
        pipe.send(sent)


def _receive(client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while client.recv(1 << 18):
            pass
