"""A real server as a child process, and a raw client for it."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
START_TIMEOUT = 20.0


class RunningServer:
    """`python server.py` on free ports, with state and certificates of its own.

    It serves in one process, unless the flags say how many: most tests look at that process. `door` is what Python
    runs.
    """

    def __init__(
        self,
        folder: Path,
        *flags: str,
        environment: dict[str, str] | None = None,
        door: tuple[str, ...] = (str(REPOSITORY / "server.py"),),
    ) -> None:
        self.folder = folder
        command = [sys.executable, *door, "--port", "0", "--plain-port", "0"]
        if "--workers" not in flags:
            command += ["--workers", "1"]
        command += ["--certs-folder", str(folder / "certs"), "--state-folder", str(folder / "state"), *flags]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("WIREPROTO_")}
        self.errors = (folder / "errors.log").open("ab")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.errors, env={**clean, **(environment or {})}, cwd=folder
        )
        self.lines = self._read_until_ready()
        text = "\n".join(self.lines)
        self.port = int(self._find(r"listening on \S+:(\d+) \(TLS\)", text))
        self.plain_port = int(self._find(r"listening on \S+:(\d+) \(plain", text))
        self.api_key = self._find(r'auth "([^"]+)"', text)
        self.ca = Path(self._find(r"-CAfile (\S+)", text)) if "-CAfile" in text else None

    @staticmethod
    def _find(pattern: str, text: str) -> str:
        found = re.search(pattern, text)
        assert found is not None, f"{pattern} is not in:\n{text}"
        return found[1]

    def _read_until_ready(self) -> list[str]:
        assert self.process.stdout is not None
        output = self.process.stdout.fileno()
        said = ""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if select.select([output], [], [], 0.1)[0]:
                data = os.read(output, 65536)
                said += data.decode()
                if "\nready" in said:
                    return said.splitlines()
                if not data:
                    break
        self.stop(signal.SIGKILL)
        raise AssertionError(f"the server did not start:\n{said}\n{self.log()}")

    def log(self) -> str:
        """What it has written to its standard error."""
        return (self.folder / "errors.log").read_text()

    def stop(self, number: int = signal.SIGTERM, timeout: float = 15.0) -> int:
        """Send a signal and wait; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.errors.close()

    def plain(self, *, log_in: bool = True) -> RawClient:
        """A connection without TLS."""
        client = RawClient(socket.create_connection(("127.0.0.1", self.plain_port), timeout=10))
        return client.log_in(self.api_key) if log_in else client

    def tls(self, *, log_in: bool = True) -> RawClient:
        """A connection with TLS, verified."""
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        client = RawClient(client_context(self.ca).wrap_socket(raw, server_hostname="localhost"))
        return client.log_in(self.api_key) if log_in else client

    def url(self) -> str:
        """For the clients."""
        return f"wireproto://{self.api_key}@localhost:{self.port}?ca={self.ca}"

    def plain_url(self) -> str:
        """For the clients, without TLS."""
        return f"wireproto+plain://{self.api_key}@127.0.0.1:{self.plain_port}"

    def stats(self) -> dict[str, object]:
        """What STATS answers."""
        with self.plain() as client:
            return client.stats()

    def node(self, name: str) -> dict[str, object]:
        """What STATS says of one node."""
        nodes = self.stats()["nodes"]
        assert isinstance(nodes, list)
        return next(node for node in nodes if node["shard"] == name)

    def node_pid(self, name: str) -> int:
        """The process of an embedded node."""
        pid = self.node(name)["pid"]
        assert isinstance(pid, int)
        return pid


def client_context(ca: Path | None) -> ssl.SSLContext:
    """TLS that trusts only the server's own authority."""
    return ssl.create_default_context(cafile=None if ca is None else str(ca))


class RawClient:
    """A socket that sends bytes as they are and reads lines and values."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.held = b""

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def log_in(self, api_key: str) -> RawClient:
        reply = self.ask(b"AUTH %d:%b\n" % (len(api_key), api_key.encode()))
        assert reply.startswith(b"OK "), reply
        return self

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def line(self) -> bytes:
        """One reply line; for replies whose values hold no LF. Empty at the end of the connection."""
        while b"\n" not in self.held:
            if not self._more():
                return b""
        line, _, self.held = self.held.partition(b"\n")
        return line

    def reply(self) -> bytes:
        """One reply without its LF, also when its value holds some."""
        head = self.exactly(3)
        if head != b"OK ":
            return head.removesuffix(b"\n") if head.endswith(b"\n") else head + self.line()
        while not head.endswith((b":", b"\n")):
            head += self.exactly(1)
        length = head[3:-1]
        if not length.isdigit():
            return head.removesuffix(b"\n")
        return head + self.exactly(int(length)) + self.line()

    def exactly(self, count: int) -> bytes:
        """So many bytes, or fewer at the end of the connection."""
        while len(self.held) < count and self._more():
            pass
        data, self.held = self.held[:count], self.held[count:]
        return data

    def everything(self) -> bytes:
        """All bytes until the server closes."""
        while self._more():
            pass
        data, self.held = self.held, b""
        return data

    def _more(self) -> bool:
        try:
            data = self.connection.recv(1 << 18)
        except (ConnectionResetError, ssl.SSLEOFError):
            return False
        self.held += data
        return bool(data)

    def ask(self, request: bytes) -> bytes:
        """Send one request and read its line."""
        self.send(request)
        return self.line()

    def stats(self) -> dict[str, object]:
        """What STATS answers; JSON has no LF in it."""
        value: dict[str, object] = json.loads(self.ask(b"STATS\n").partition(b":")[2])
        return value


def where(client: RawClient, key: bytes) -> str:
    """The name of the node that owns a key."""
    return client.ask(b"WHERE %d:%b\n" % (len(key), key)).split(b":", 1)[1].split(b" ")[0].decode()


def keys_by_node(client: RawClient, each: int = 1) -> dict[str, list[bytes]]:
    """Some keys for each of the nodes."""
    found: dict[str, list[bytes]] = {}
    names = {node["shard"] for node in client.stats()["nodes"]}  # type: ignore[attr-defined]
    number = 0
    while len(found) < len(names) or min(map(len, found.values())) < each:
        key = b"key-%d" % number
        found.setdefault(where(client, key), []).append(key)
        number += 1
    return {name: keys[:each] for name, keys in found.items()}


def wait_until(condition: object, timeout: float = 5.0) -> float:
    """Wait until `condition()` is true; how many seconds that took."""
    assert callable(condition)
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < timeout, "it did not happen in time"
        time.sleep(0.01)
    return time.monotonic() - started
