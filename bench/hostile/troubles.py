"""Clients that do what no client should, one after the other, and each another thing at random."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import struct
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from typing import Final, Self

from bench.chaos.fault_proxy import FaultProxy
from bench.chaos.faults import Faults, NewConnections, Silence
from bench.connection import open_socket
from bench.targets import Target
from bench.workload import Workload

RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends RST."""
TIMEOUT: Final = 10.0
GUESSER: Final = "127.0.0.77"
"""Where guesses come from: whoever guesses may have to wait, and with it all at its address."""
KEYS: Final = 200


class Trouble(ABC):
    """Goes on in a thread from the beginning of a block until its end; `done` counts what was done, by kind."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)
        self.done: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @abstractmethod
    def _run(self) -> None:
        """Make trouble until it is over."""


class Troublemaker(Trouble):
    """A client of every bad kind."""

    def __init__(self, target: Target, seed: int) -> None:
        self._target = target
        self._context = target.client_context()
        super().__init__(seed)
        self._workload = Workload(keys=KEYS)

    def _run(self) -> None:
        kinds: list[Callable[[], None]] = [
            self.vanish,
            self.half_close,
            self.garbage,
            self.garbage_for_tls,
            self.guess,
            self.never_read,
            self.pipeline,
        ]
        while not self._over.is_set():
            kind = self._dice.choice(kinds)
            # That the server has had enough of it is what it is to expect.
            with contextlib.suppress(OSError):
                kind()
            self.done[kind.__name__] += 1
            self._over.wait(self._dice.random() * 0.02)

    # -- what it does

    def vanish(self) -> None:
        """Leave in the middle of requests, without a word or with a reset."""
        with self._logged_in() as connection:
            data = self._requests(self._dice.randrange(1, 60))
            connection.sendall(data[: self._dice.randrange(1, len(data) + 1)])
            if self._dice.random() < 0.5:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    def half_close(self) -> None:
        """Say that nothing more will come, and read what is still owed."""
        with open_socket(self._target.without_tls(), None) as connection:
            connection.sendall(self._requests(self._dice.randrange(1, 200)))
            connection.shutdown(socket.SHUT_WR)
            _read_all(connection)

    def garbage(self) -> None:
        """Speak no protocol at all, before the login or behind it."""
        noise = self._dice.randbytes(self._dice.randrange(1, 5000))
        with self._logged_in() if self._dice.random() < 0.5 else self._plain() as connection:
            connection.sendall(noise)
            connection.settimeout(0.05)
            _read_all(connection)

    def garbage_for_tls(self) -> None:
        """Send what is no ClientHello to the port that speaks TLS."""
        with socket.create_connection((self._target.host, self._target.port), TIMEOUT) as connection:
            connection.sendall(self._dice.randbytes(self._dice.randrange(1, 600)))
            connection.settimeout(0.05)
            _read_all(connection)

    def guess(self) -> None:
        """Try keys and tokens that are none, as often as the server lets it."""
        assert self._target.plain_port is not None
        address = ("127.0.0.1", self._target.plain_port)
        with socket.create_connection(address, TIMEOUT, (GUESSER, 0)) as connection:
            connection.settimeout(0.2)
            for _ in range(4):
                guess = self._dice.choice(
                    [b"x" * self._dice.randrange(1, 200), b"a.b.c", self._target.api_key.encode()[:-1]]
                )
                connection.sendall(b"AUTH %d:%b\n" % (len(guess), guess))
                if not connection.recv(4096):
                    return

    def never_read(self) -> None:
        """Ask for more than sockets hold, read nothing, and leave."""
        with self._logged_in() as connection:
            connection.settimeout(0.1)
            connection.sendall(self._requests(2000))
            self._over.wait(0.2)

    def pipeline(self) -> None:
        """Nothing wrong with this one: many requests at once, tagged or not, and all answers read."""
        count, is_tagged = self._dice.randrange(1, 500), self._dice.random() < 0.5
        with self._logged_in() as connection:
            connection.sendall(self._requests(count, is_tagged=is_tagged) + b"QUIT\n")
            answers = _read_all(connection).count(b"\n")
        if answers != count + 1:
            self.done["pipelines with an answer too many or too few"] += 1

    # -- connections and requests

    def _logged_in(self) -> socket.socket:
        if self._dice.random() < 0.5:
            return open_socket(self._target, self._context)
        return open_socket(self._target.without_tls(), None)

    def _plain(self) -> socket.socket:
        assert self._target.plain_port is not None
        return socket.create_connection(("127.0.0.1", self._target.plain_port), TIMEOUT)

    def _requests(self, count: int, *, is_tagged: bool = False) -> bytes:
        lines = []
        for number in range(count):
            key = self._workload.key(self._dice.randrange(KEYS))
            chance = self._dice.random()
            line = b"READ %d:%b\n" % (len(key), key)
            if chance < 0.2:
                value = b"v" * self._dice.choice((1, 100, 3000))
                line = b"WRITE %d:%b %d:%b\n" % (len(key), key, len(value), value)
            elif chance < 0.3:
                line = b"DELETE %d:%b\n" % (len(key), key)
            lines.append(b"#%d %b" % (number, line) if is_tagged else line)
        return b"".join(lines)


def _read_all(connection: socket.socket) -> bytes:
    """What comes until the server closes; what came so far where it breaks off or says nothing for long."""
    pieces = []
    with contextlib.suppress(OSError):
        while data := connection.recv(1 << 16):
            pieces.append(data)
    return b"".join(pieces)


def come_and_go(target: Target, count: int, number: int, over: Callable[[int], None]) -> int:
    """Connect, shake hands and close, so many times; tell `over` after each hundred. How many did not succeed."""
    context, failed = target.client_context(), 0
    source = (f"127.0.0.{number + 2}", 0)  # of one address ports run out
    for done in range(1, count + 1):
        try:
            raw = socket.create_connection(("127.0.0.1", target.port), TIMEOUT, source)
            with context.wrap_socket(raw, server_hostname=target.host) as connection:
                if done % 3 == 0:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                elif done % 3 == 1:
                    with contextlib.suppress(ssl.SSLError):
                        connection.unwrap().close()
        except OSError:
            failed += 1
        if done % 100 == 0:
            over(100)
    return failed


class NodeTrouble(Trouble):
    """Resets the connections to a node, or has it fall silent or refuse for a moment, until the block ends."""

    def __init__(self, proxies: list[FaultProxy], seed: int) -> None:
        super().__init__(seed)
        self._proxies = proxies

    def _run(self) -> None:
        while not self._over.wait(1 + 2 * self._dice.random()):
            proxy = self._dice.choice(self._proxies)
            kind = self._dice.choice(["reset", "silent", "refused", "trickling"])
            if kind == "silent":
                proxy.to_client = Faults(silence=Silence.HOLD)
            elif kind == "refused":
                proxy.new_connections = NewConnections.RESET
                proxy.reset()
            elif kind == "trickling":
                proxy.to_client = Faults(piece=3, pause=0.001)
            else:
                proxy.reset()
            self._over.wait(0.3 + self._dice.random())
            proxy.heal()
            self.done[kind] += 1
