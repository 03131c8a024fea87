"""What idle connections cost the server: opened and logged in by a process of their own, then left alone."""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import socket
import ssl
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection

import psutil

from bench.cpu import cpu_times, server_processes
from bench.measuring import GeneratorError
from bench.targets import Target, read_stats

OPENERS = 8
"""Threads that open connections. OpenSSL works without Python's lock."""
CONNECTIONS_PER_SOURCE = 5000
"""From one source address: there are about 28,000 ports for each, and other programs want some."""
SPARE_FILES = 200
"""Open files of either side beside the connections."""
SAMPLE = 100
"""Connections that are asked for a PING when all are open."""
SETTLING = 1.0
"""Seconds until the server's memory is looked at."""
TIMEOUT = 20.0


@dataclass(frozen=True)
class Idle:
    """Connections that were held at once, all of them logged in."""

    connections: int
    memory_per_connection: float
    """KiB that belong to the server's processes alone and that they did not have before. The kernel's buffers are not
    in it."""
    seconds: float
    """To open them."""
    client_cpu: float
    server_cpu: float
    """Seconds of CPU time meanwhile."""

    def note(self) -> str:
        """In words."""
        cpu = f"CPU per connection: server {1e6 * self.server_cpu / self.connections:,.0f} us"
        cpu += f", client {1e6 * self.client_cpu / self.connections:,.0f} us"
        return f"{self.connections:,} connections opened and logged in within {self.seconds:.1f} s; {cpu}"


def raise_open_files(connections: int) -> int:
    """Let this process, and those it starts, have files for so many connections; how many are possible."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return min(connections, wanted - SPARE_FILES)


def measure_idle(target: Target, connections: int) -> Idle:
    """Open and hold connections to our server. Raises GeneratorError when one is refused, lost or does not answer."""
    assert target.plain_port is not None
    memory, cpu = _private_memory(target), cpu_times(target).server
    with _holder(target, connections) as pipe:
        seconds, client_cpu = _told(pipe)
        cpu = cpu_times(target).server - cpu
        time.sleep(SETTLING)
        memory = _private_memory(target) - memory
        pipe.send("ask")
        _told(pipe)
        held = read_stats(target.plain_port, target.api_key)["connections"]["open"] - 1  # it counts the asker
        if held < connections:
            raise GeneratorError(f"of {connections} connections the server has {held}")
    return Idle(connections, memory / connections / 1024, seconds, client_cpu, cpu)


def _private_memory(target: Target) -> int:
    """Bytes that only the server's processes use. Their resident size would also count what they share."""
    return sum(int(psutil.Process(pid).memory_full_info().uss) for pid in server_processes(target))


@contextlib.contextmanager
def _holder(target: Target, connections: int) -> Iterator[Connection]:
    """The process that holds the connections, seen from outside: its pipe."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    child = context.Process(target=_hold, args=(theirs, target, connections), daemon=True)
    child.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        child.join(TIMEOUT)
        child.kill()
        child.join()


def _told(pipe: Connection) -> tuple[float, float]:
    try:
        told = pipe.recv()
    except EOFError:
        raise GeneratorError("the process that holds the connections ended") from None
    if isinstance(told, str):
        raise GeneratorError(told)
    seconds, cpu = told
    return float(seconds), float(cpu)


def _hold(pipe: Connection, target: Target, connections: int) -> None:
    """In the child: open all, tell; when asked, ask a sample of them and tell; hold on until the pipe ends."""
    held: list[ssl.SSLSocket] = []
    try:
        raise_open_files(connections)
        started = time.monotonic()
        _open_all(target, connections, held)
        pipe.send((time.monotonic() - started, time.process_time()))
        pipe.recv()
        for connection in held[:: max(1, connections // SAMPLE)]:
            _ask(connection, b"PING\n", b"OK\n")
        pipe.send((0.0, 0.0))
        pipe.recv()
    except EOFError:
        pass
    except Exception:
        pipe.send(traceback.format_exc())
    finally:
        for connection in held:
            connection.close()


def _open_all(target: Target, connections: int, held: list[ssl.SSLSocket]) -> None:
    """Log in with one token on all of them."""
    context = target.client_context()
    with contextlib.closing(_open(target, context, 0)) as first:
        key = target.api_key.encode()
        first.sendall(b"AUTH %d:%b\n" % (len(key), key))
        token = _line(first).partition(b":")[2].partition(b" ")[0]

    def open_one(number: int) -> ssl.SSLSocket:
        connection = _open(target, context, number)
        _ask(connection, b"AUTH %d:%b\n" % (len(token), token), b"OK ttl=")
        return connection

    with ThreadPoolExecutor(OPENERS) as openers:
        held.extend(openers.map(open_one, range(connections)))


def _open(target: Target, context: ssl.SSLContext, number: int) -> ssl.SSLSocket:
    source = None
    if sys.platform == "linux":  # elsewhere 127.0.0.1 is the only one of its kind
        source = (f"127.0.0.{1 + number // CONNECTIONS_PER_SOURCE}", 0)
    raw = socket.create_connection(("127.0.0.1", target.port), TIMEOUT, source)
    try:
        return context.wrap_socket(raw, server_hostname=target.host)
    except BaseException:
        raw.close()
        raise


def _ask(connection: ssl.SSLSocket, request: bytes, expected: bytes) -> None:
    """Raises GeneratorError when the answer does not begin as expected."""
    connection.sendall(request)
    answer = _line(connection)
    if not answer.startswith(expected):
        raise GeneratorError(f"{request[:4]!r} was answered {answer[:80]!r}")


def _line(connection: ssl.SSLSocket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        data = connection.recv(4096)
        if not data:
            raise GeneratorError("the server closed a connection")
        line += data
    return line
