"""A real node that runs the scripts on one key, at a time that the test says.

The scripts are told the time, so tests step it. Only what the node itself forgets goes by the node's own clock: to that
tests give so much time that it does not matter how long they take.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator

import hiredis
import pytest
import redis

from tests.live.fake_node import RealNode
from wireproto.core.envelope import NO_STAMP
from wireproto.core.scripts import DELETE_SCRIPT, INCR_SCRIPT, READ_SCRIPT, SCRIPTS, TOUCH_SCRIPT, WRITE_SCRIPT, Script
from wireproto.server.embedded import find_program

ENGINES = [
    program for program in (find_program(None), shutil.which("redis-server"), shutil.which("valkey-server")) if program
]
"""The programs that can be a node here."""
KEY = b"ns:key"
NOW = 1_700_000_000_000
V1, V2 = b"version-00000001", b"version-00000002"
L1, L2 = b"lease-0000000001", b"lease-0000000002"
SLACK = 9_000
"""Milliseconds that a test may take: the node's time goes on."""


def envelope(
    value: bytes, *, version: bytes = NO_STAMP, fresh: int = 0, stale: int = 0, lease: bytes = NO_STAMP, until: int = 0
) -> bytes:
    """A value as it is stored."""
    return b"\xffE%b%014d%014d%b%014d%b" % (version, fresh, stale, lease, until, value)


def vacancy(lease: bytes, until: int) -> bytes:
    return b"\xffV%b%014d" % (lease, until)


class ScriptedNode:
    """The node. Its replies are as `hiredis` gives them to the server, errors among them."""

    def __init__(self, node: RealNode) -> None:
        self.client = redis.Redis(port=node.port)
        self.now = NOW
        self._socket = socket.create_connection(("127.0.0.1", node.port), timeout=20)
        self._reader = hiredis.Reader()
        for script in SCRIPTS:
            assert self.ask(b"SCRIPT", b"LOAD", script.text) == script.name

    def close(self) -> None:
        self._socket.close()
        self.client.close()

    def ask(self, *words: bytes | str | int) -> object:
        """The reply to a command."""
        self._socket.sendall(hiredis.pack_command(words))  # type: ignore[arg-type]  # any length
        while (reply := self._reader.gets()) is False:
            data = self._socket.recv(65536)
            assert data, "the node has closed"
            self._reader.feed(data)
        return reply

    def run(self, script: Script, *arguments: bytes | str | int) -> object:
        """The reply to a script."""
        return self.ask("EVALSHA", script.name, 1, KEY, self.now, *arguments)

    # -- what is there

    def put(self, stored: bytes | None, px: int | None = None) -> None:
        """Have this stored under the key, and nothing else on the node. It is `NOW` again."""
        self.now = NOW
        self.client.flushdb()
        if stored is not None:
            self.client.set(KEY, stored, px=px)

    @property
    def stored(self) -> bytes | None:
        found: bytes | None = self.client.get(KEY)  # type: ignore[assignment]  # redis-py: or awaitable
        return found

    def expires_in(self, px: int | None) -> bool:
        """Whether the node forgets it after so many milliseconds, less what has passed; None for never."""
        left = self.client.pttl(KEY)
        assert isinstance(left, int)
        return left == -1 if px is None else px - SLACK < left <= px

    # -- the scripts

    def read(self, *, version: bytes = b"", lease: bytes = b"", lease_ms: int = 0, early: int = 0) -> object:
        return self.run(READ_SCRIPT, version, lease, lease_ms, early)

    def write(
        self,
        value: bytes,
        condition: str = "",
        operand: bytes = b"",
        *,
        version: bytes = NO_STAMP,
        expiry: int | str = "",
        fresh: int = 0,
        stale: int = 0,
    ) -> object:
        return self.run(WRITE_SCRIPT, condition, operand, version, expiry, fresh, stale, value)

    def delete(self, condition: str, operand: bytes) -> object:
        return self.run(DELETE_SCRIPT, condition, operand)

    def touch(self, px: int) -> object:
        return self.run(TOUCH_SCRIPT, px)

    def incr(self, by: int, px: int | str = "") -> object:
        return self.run(INCR_SCRIPT, by, px)


@pytest.fixture(scope="module", params=ENGINES, ids=lambda path: path.rpartition("/")[2])
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptedNode]:
    """A node of each kind."""
    running = RealNode(tmp_path_factory.mktemp("node"), program=request.param)
    scripted = ScriptedNode(running)
    yield scripted
    scripted.close()
    running.kill()
