"""The wall clock of a running server jumps (libfaketime): its time-outs and its clients must not notice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.running import RawClient, RunningServer

Start = Callable[..., RunningServer]
HOUR = 3600
AUTH_TIMEOUT = 1.5
NODE_TIMEOUT = 0.6
LATE = 4.0
"""Seconds by which a loaded machine may be late; the server itself looks at its clocks twice a second."""


class Clock:
    """The wall clock of processes with this environment; the monotonic one is left as it is."""

    def __init__(self, folder: Path) -> None:
        places = ("lib/*/faketime", "lib*/faketime")
        libraries = [file for place in places for file in Path("/usr").glob(f"{place}/libfaketimeMT.so.1")]
        if not libraries and "CI" not in os.environ:
            pytest.skip("these tests need the package faketime")
        assert libraries, "these tests need the package faketime"
        self._offset = folder / "clock"
        self.jump(0)
        self.environment = {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, seconds: float) -> None:
        """Be so far from the real time, from now on."""
        whole = self._offset.with_suffix(".new")
        whole.write_text(f"{seconds:+}\n")
        whole.rename(self._offset)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
def server(clock: Clock, start_server: Start) -> RunningServer:
    flags = ("--shards", "1", "--auth-timeout", f"{AUTH_TIMEOUT}s", "--node-timeout", f"{NODE_TIMEOUT}s")
    return start_server(*flags, environment=clock.environment)


def token_of(server: RunningServer) -> bytes:
    with server.plain(log_in=False) as client:
        answer = client.ask(b"AUTH %d:%b\n" % (len(server.api_key), server.api_key.encode()))
        return answer.split(b":", 1)[1].split(b" ")[0]


def log_in(client: RawClient, credential: bytes) -> bytes:
    return client.ask(b"AUTH %d:%b\n" % (len(credential), credential))


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_an_hour_ends_no_connection_and_only_tokens_have_to_be_fetched_anew(
    clock: Clock, server: RunningServer, jump: int
) -> None:
    with server.tls() as client:
        assert client.ask(b"WRITE 1:k 1:v\n") == b"OK"
        before = token_of(server)
        clock.jump(jump)
        assert client.ask(b"READ 1:k\n") == b"OK 1:v"
        with server.plain(log_in=False) as other:
            assert log_in(other, before).startswith(b"ERR EXPIRED " if jump > 0 else b"ERR AUTH ")
            assert log_in(other, server.api_key.encode()).startswith(b"OK ")
            assert log_in(other, token_of(server)).startswith(b"OK ")
            assert other.ask(b"READ 1:k\n") == b"OK 1:v"
        assert client.ask(b"READ 1:k\n") == b"OK 1:v"


@pytest.mark.parametrize("jump", [4, -4])
def test_a_jump_within_the_leeway_costs_nothing(clock: Clock, server: RunningServer, jump: int) -> None:
    before = token_of(server)
    clock.jump(jump)
    with server.plain(log_in=False) as client:
        assert log_in(client, before).startswith(b"OK ")


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_deadlines_are_when_they_were(clock: Clock, server: RunningServer, jump: int) -> None:
    node = server.node_pid("shard-1")
    with server.plain() as client, server.plain(log_in=False) as silent:
        started = time.monotonic()
        os.kill(node, signal.SIGSTOP)
        try:
            client.send(b"READ 1:k\n")
            clock.jump(jump)
            assert client.line().startswith(b"ERR TIMEOUT ")
        finally:
            os.kill(node, signal.SIGCONT)
        assert NODE_TIMEOUT * 0.9 <= time.monotonic() - started <= NODE_TIMEOUT + LATE
        assert silent.everything() == b""
        assert AUTH_TIMEOUT * 0.9 <= time.monotonic() - started <= AUTH_TIMEOUT + LATE
