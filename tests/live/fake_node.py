"""Nodes for the tests of faults: a real one on a port, and one that does what a real node will not."""

from __future__ import annotations

import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import hiredis

from wireproto.server.embedded import find_program

ROLE = b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"
INFO = b"$33\r\nrole:master\r\nmaster_replid:aaaa\r\n\r\n"
Answer = bytes | Iterable[bytes] | None
"""What to send back: at once, piece by piece, or nothing."""


class HangUp(Exception):  # noqa: N818 - not an error: the node is told to close
    """Raised by a behaviour to close the connection."""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
        return port


class RealNode:
    """A node process on a port of its own, which it keeps when it is started again.

    `program` is another than the one that the server carries.
    """

    def __init__(self, folder: Path, *options: str, program: str | None = None) -> None:
        self.port = free_port()
        self._program = find_program(program)
        self._folder = folder
        self._options = options
        self.start()

    def start(self) -> None:
        command = [self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.process = subprocess.Popen(
            [*command, "--dir", str(self._folder), *self._options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.01)
        raise AssertionError("the node did not start")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"


SCRIPT = b"$40\r\n%b\r\n" % (b"0" * 40)
"""What SCRIPT LOAD answers."""


def echo(command: list[bytes]) -> bytes:
    """What PING with an argument answers."""
    return b"$%d\r\n%b\r\n" % (len(command[-1]), command[-1])


class FakeNode:
    """Greets as a node should, and answers everything else as `behaviour` says.

    A behaviour is given the words of a command. By default every READ is a miss.
    """

    def __init__(self) -> None:
        self.behaviour: Callable[[list[bytes]], Answer] = self.miss
        self.greetings: dict[bytes, Answer | Callable[[], Answer]] = {}
        """Other answers to PING, SCRIPT, ROLE and INFO."""
        self.asked: list[bytes] = []
        """The command that it answers now."""
        self.connections = 0
        self.commands: list[list[bytes]] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.open: set[socket.socket] = set()
        """Its connections."""
        self._over = False
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @staticmethod
    def miss(_: list[bytes]) -> Answer:
        return b"$-1\r\n"

    def behave(self) -> None:
        """Be a good node again."""
        self.behaviour = self.miss
        self.greetings = {}

    def say(self, data: bytes) -> None:
        """Send something that nobody asked for."""
        for connection in list(self.open):
            connection.sendall(data)

    def stop(self) -> None:
        self._over = True
        for thread in self._threads:
            thread.join()
        self._listening.close()

    def _accept(self) -> None:
        while not self._over:
            if select.select([self._listening], [], [], 0.02)[0]:
                connection, _ = self._listening.accept()
                self.connections += 1
                self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.open.add(connection)
        reader = hiredis.Reader()
        try:
            while not self._over:
                if not select.select([connection], [], [], 0.02)[0]:
                    continue
                data = connection.recv(65536)
                if not data:
                    return
                reader.feed(data)
                while (command := reader.gets()) is not False:
                    self._answer(connection, command)
        except (OSError, HangUp):
            pass
        finally:
            self.open.discard(connection)
            connection.close()

    def _answer(self, connection: socket.socket, command: list[bytes]) -> None:
        self.asked = command
        greeting = {b"PING": echo(command), b"SCRIPT": SCRIPT, b"ROLE": ROLE, b"INFO": INFO, **self.greetings}
        if command[0] in greeting:
            found = greeting[command[0]]
            answer = found() if callable(found) else found
        else:
            self.commands.append(command)
            answer = self.behaviour(command)
        for piece in [answer] if isinstance(answer, bytes) else answer or ():
            connection.sendall(piece)
