"""How clients are shared out to two processes, by one socket or two: `python -m bench.kept.listening_sockets`.

Sixteen clients come at once, and come again, 200 times. Then one of the two processes is stopped, and they come again:
who is not served now waits behind the process that hangs.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import selectors
import signal
import socket
import statistics
import time
from collections.abc import Iterator, MutableSequence
from dataclasses import dataclass
from multiprocessing.synchronize import Semaphore

from bench.table import Row, aligned

CLIENTS = 16
WORKERS = 2
TRIALS = 200
STALLED_TRIALS = 10
BACKLOG = 1024
HEAD_START = 0.002
"""Seconds, as in the server's listener."""
TIMEOUT = 10.0
"""Seconds after which something is wrong with the experiment."""
PATIENCE = 0.1
"""Seconds that clients wait for a process that hangs."""


@dataclass(frozen=True)
class Arrangement:
    """How processes come to their clients."""

    name: str
    own_sockets: bool
    """Each process has a socket of its own, by SO_REUSEPORT; otherwise all inherit one."""
    head_start: bool = False
    """Who has two clients more than another leaves it some time to be first."""


ARRANGEMENTS = (
    Arrangement("SO_REUSEPORT", own_sockets=True),
    Arrangement("one socket", own_sockets=False),
    Arrangement("one socket, 2 ms for who has fewer (chosen)", own_sockets=False, head_start=True),
)


@dataclass
class Service:
    """Processes that serve at one address."""

    address: tuple[str, int]
    connections: MutableSequence[int]
    """How many clients each process has."""
    pids: list[int]


def listening_socket(port: int, reuse_port: bool) -> socket.socket:
    """A socket on loopback; port 0 takes a free one."""
    listening = socket.socket()
    if reuse_port:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen(BACKLOG)
    listening.setblocking(False)
    return listening


@contextlib.contextmanager
def service(arrangement: Arrangement) -> Iterator[Service]:
    """Start the processes, and end them."""
    context = multiprocessing.get_context("spawn")
    connections, ready = context.RawArray("i", WORKERS), context.Semaphore(0)
    first = listening_socket(0, arrangement.own_sockets)
    address = first.getsockname()
    sockets = [first] * WORKERS
    if arrangement.own_sockets:
        sockets[1:] = [listening_socket(address[1], True) for _ in range(1, WORKERS)]
    processes = [
        context.Process(target=serve, args=(mine, connections, index, arrangement.head_start, ready), daemon=True)
        for index, mine in enumerate(sockets)
    ]
    try:
        for process in processes:
            process.start()
        for _ in processes:
            ready.acquire()
        yield Service(address, connections, [process.pid or 0 for process in processes])
    finally:
        for process in processes:
            process.kill()
            process.join()
        for mine in sockets:
            mine.close()


def serve(
    listening: socket.socket, connections: MutableSequence[int], index: int, head_start: bool, ready: Semaphore
) -> None:
    """One process: a byte for each client that it takes, until it is killed."""
    selector = selectors.DefaultSelector()
    selector.register(listening, selectors.EVENT_READ)
    ready.release()
    while True:
        for key, _ in selector.select():
            client = key.fileobj
            assert isinstance(client, socket.socket)
            if client is listening:
                if head_start and connections[index] >= min(connections) + 2:
                    time.sleep(HEAD_START)
                with contextlib.suppress(BlockingIOError):  # another process was faster
                    client = listening.accept()[0]
                    connections[index] += 1
                    client.sendall(b"!")
                    selector.register(client, selectors.EVENT_READ)
            else:
                selector.unregister(client)
                client.close()
                connections[index] -= 1


def shared_out(service: Service) -> list[int]:
    """Let the clients come, all served, and go: how many each process had."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client) for client in _come(service)]
        for client in clients:
            assert client.recv(1) == b"!"
        seen = list(service.connections)
    _wait_until_gone(service)
    return seen


def served_beside_a_stopped_process(service: Service) -> int:
    """How many clients are served while one process hangs."""
    os.kill(service.pids[0], signal.SIGSTOP)
    served = 0
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client) for client in _come(service)]
        deadline = time.monotonic() + PATIENCE
        for client in clients:
            client.settimeout(max(0.001, deadline - time.monotonic()))
            with contextlib.suppress(TimeoutError):
                served += client.recv(1) == b"!"
        os.kill(service.pids[0], signal.SIGCONT)
        for client in clients:
            client.settimeout(TIMEOUT)
        while sum(service.connections) < CLIENTS:  # so that the next trial finds none of this one in a queue
            time.sleep(0.001)
    _wait_until_gone(service)
    return served


def _come(service: Service) -> Iterator[socket.socket]:
    for _ in range(CLIENTS):
        yield socket.create_connection(service.address, timeout=TIMEOUT)


def _wait_until_gone(service: Service) -> None:
    while any(service.connections):
        time.sleep(0.0005)


def row(arrangement: Arrangement, trials: int, stalled_trials: int) -> Row:
    """What one arrangement does."""
    with service(arrangement) as running:
        fuller = [max(shared_out(running)) for _ in range(trials)]
        served = [served_beside_a_stopped_process(running) for _ in range(stalled_trials)]
    unfair = sum(count >= 10 for count in fuller) / trials
    return (
        arrangement.name,
        f"{statistics.mean(fuller):.1f}",
        f"{max(fuller)}",
        f"{unfair:.1%}",
        f"{statistics.mean(served):.1f}",
    )


def main(trials: int = TRIALS, stalled_trials: int = STALLED_TRIALS) -> None:
    """Measure and print."""
    heads = ("16 clients, 2 processes", "the fuller has", "at worst", "10 or more", "served while one hangs")
    print(aligned([heads, *(row(arrangement, trials, stalled_trials) for arrangement in ARRANGEMENTS)]))


if __name__ == "__main__":
    main()
