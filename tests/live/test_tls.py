"""TLS as a client meets it that has its own hands on the records: cut anywhere, closed by halves, broken."""

from __future__ import annotations

import _ssl
import contextlib
import ctypes
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from tests.live.running import RunningServer, client_context, wait_until, where

RECORD_HEAD = 5
"""Bytes before a record's content: type, version, length (RFC 8446, section 5.1)."""


class TlsClient:
    """TLS over memory buffers: what goes out on the socket is in the test's hands."""

    def __init__(self, server: RunningServer, *, receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(10)
        self.socket.connect(("127.0.0.1", server.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context(server.ca).wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.api_key = server.api_key

    def __enter__(self) -> TlsClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send_records(self, *, piece: int = 1 << 20) -> None:
        """Send what TLS wants sent, so many bytes at a time."""
        data = self.outgoing.read()
        for start in range(0, len(data), piece):
            self.socket.sendall(data[start : start + piece])

    def shake_hands(self, *, piece: int = 1 << 20) -> TlsClient:
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.send_records(piece=piece)
                self.take()
            else:
                self.send_records(piece=piece)
                return self

    def log_in(self) -> TlsClient:
        self.shake_hands()
        self.tls.write(b"AUTH %d:%b\n" % (len(self.api_key), self.api_key.encode()))
        self.send_records()
        assert self.hear(b"\n").startswith(b"OK ")
        return self

    def take(self) -> bool:
        """Receive once; False at the end of the TCP connection."""
        data = self.socket.recv(1 << 16)
        self.incoming.write(data)
        if not data:
            self.incoming.write_eof()
        return bool(data)

    def hear(self, ending: bytes | None = None) -> bytes:
        """What the server says, to that ending; without one to its own `close_notify`."""
        heard = b""
        while ending is None or not heard.endswith(ending):
            try:
                data = self.tls.read(1 << 16)
            except ssl.SSLWantReadError:
                self.take()
                continue
            if not data:
                assert ending is None, heard
                return heard
            heard += data
        return heard


@pytest.fixture
def client(server: RunningServer) -> Iterator[TlsClient]:
    with TlsClient(server) as made:
        yield made


def test_every_byte_by_itself(client: TlsClient) -> None:
    client.shake_hands(piece=1)
    client.tls.write(b"AUTH %d:%b\nPING 5:hello\n" % (len(client.api_key), client.api_key.encode()))
    client.send_records(piece=1)
    assert client.hear(b"hello\n").startswith(b"OK ")


@pytest.mark.parametrize("piece", [1 << 20, 1399, 37])
def test_many_records_at_once_are_answered_in_order(client: TlsClient, piece: int) -> None:
    client.log_in()
    for number in range(500):
        client.tls.write(b"PING %d:%d\n" % (len(str(number)), number))
    client.send_records(piece=piece)
    expected = b"".join(b"OK %d:%d\n" % (len(str(number)), number) for number in range(500))
    assert client.hear(b"3:499\n") == expected


@pytest.mark.parametrize("piece", [1 << 20, 1399])
def test_a_large_value_both_ways(client: TlsClient, piece: int) -> None:
    client.log_in()
    value = bytes(range(256)) * 4096
    view = memoryview(b"WRITE 3:tls %d:%b\nREAD 3:tls\nDELETE 3:tls\n" % (len(value), value))
    while view:
        view = view[client.tls.write(view) :]
    client.send_records(piece=piece)
    assert client.hear(b"\nOK\n") == b"OK\nOK %d:%b\nOK\n" % (len(value), value)


@pytest.mark.parametrize("goodbye", ["close_notify", "FIN", "both"])
def test_a_client_that_closes_its_half_is_still_answered(client: TlsClient, goodbye: str) -> None:
    client.log_in()
    client.tls.write(b"READ 6:nobody\n" * 1000)
    client.send_records()
    if goodbye != "FIN":
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.unwrap()
        client.send_records()
    if goodbye != "close_notify":
        client.socket.shutdown(socket.SHUT_WR)
    if goodbye == "FIN":
        assert client.hear() == b"MISS\n" * 1000
    else:
        # Python's `ssl` reads nothing any more after its own goodbye; the bytes come all the same, and then the end.
        received = 0
        while data := client.socket.recv(1 << 16):
            received += len(data)
        assert received > 1000 * len(b"MISS\n")


def test_quit_says_goodbye_in_tls_too(client: TlsClient) -> None:
    client.log_in()
    client.tls.write(b"PING\nQUIT\n")
    client.send_records()
    assert client.hear() == b"OK\nOK\n"


def test_a_record_with_a_flipped_bit_is_answered_with_an_alert(client: TlsClient, server: RunningServer) -> None:
    client.log_in()
    client.tls.write(b"READ 7:flipped\n" * 100)
    whole = client.outgoing.read()
    client.tls.write(b"WRITE 7:flipped 1:v\n")
    record = bytearray(client.outgoing.read())
    record[RECORD_HEAD + 3] ^= 1
    client.socket.sendall(whole + record)
    with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
        client.hear()
    assert "Traceback" not in server.log()
    with server.tls() as other:
        assert other.ask(b"READ 7:flipped\n") == b"MISS\n".strip()


@pytest.mark.parametrize(
    "opening",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"\x00" * 100,
        b"SSH-2.0-x\r\n",
    ],
)
def test_what_is_no_tls_is_closed_and_counted(server: RunningServer, opening: bytes) -> None:
    def failures() -> int:
        connections = server.stats()["connections"]
        assert isinstance(connections, dict)
        return int(connections["handshake_failures"])

    before = failures()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(opening)
        while raw.recv(4096):
            pass
    wait_until(lambda: failures() > before)


def test_a_client_that_leaves_in_mid_handshake_holds_nothing(server: RunningServer, client: TlsClient) -> None:
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.do_handshake()
    hello = client.outgoing.read()
    client.socket.sendall(hello[:100])
    client.socket.close()

    def handshaking() -> int:
        connections = server.stats()["connections"]
        assert isinstance(connections, dict)
        return int(connections["handshaking"])

    wait_until(lambda: handshaking() == 0)


def test_keys_are_changed_in_mid_conversation(server: RunningServer) -> None:
    """`K` at s_client asks for new keys on both sides, `k` for its own (RFC 8446, section 4.6.3)."""
    command = ["openssl", "s_client", "-connect", f"localhost:{server.port}", "-CAfile", str(server.ca)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for number in range(10):
            # It takes what it reads at once for a command if that begins with one, so each is waited for.
            process.stdin.write(b"K\n" if number % 2 else b"k\n")
            process.stdin.flush()
            while line := process.stderr.readline():
                if line.startswith(b"KEYUPDATE"):
                    break
            assert line, "s_client has ended"
            process.stdin.write(b'ping "%d"\n' % number)
            process.stdin.flush()
            # Between the answers it tells of sessions and tickets.
            while line := process.stdout.readline():
                if line == b"OK 1:%d\n" % number:
                    break
            assert line, "s_client has ended"
        process.stdin.write(b"quit\n")
        process.stdin.flush()
        process.stdout.read()
        assert process.wait(10) == 0


# -- hostile


def in_the_kernel(client: socket.socket) -> int:
    """Bytes for this client that its server's kernel has still to send, and its own to hand out (proc_net_tcp(5))."""
    port, waiting = client.getsockname()[1], 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = line.split()
        if int(remote.split(":")[1], 16) == port:
            waiting += int(queues.split(":")[0], 16)
        elif int(local.split(":")[1], 16) == port:
            waiting += int(queues.split(":")[1], 16)
    return waiting


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what waits in the kernel")
def test_a_connection_that_fails_takes_no_other_with_it(start_server: Callable[..., RunningServer]) -> None:
    """It has unread answers, another under way, and sends a broken record. Others wait for the same node meanwhile."""
    server = start_server()
    with server.plain() as one, server.tls() as other, TlsClient(server, receive_buffer=4096) as broken:
        broken.log_in()
        one.ask(b"WRITE 3:big 32768:%b\n" % (b"x" * 32768))
        pid = server.node_pid(where(one, b"k"))
        # Some unread answers must wait in the server itself, and not so many that it stops taking requests.
        sent = 0
        while sent - in_the_kernel(broken.socket) < 60_000 and sent < 20_000_000:
            broken.tls.write(b"READ 3:big\n")
            broken.send_records()
            sent += 32768
            time.sleep(0.005)
        os.kill(pid, signal.SIGSTOP)
        try:
            broken.tls.write(b"READ 1:k\n")
            broken.send_records()
            one.send(b"READ 1:k\n")
            other.send(b"READ 1:k\n")
            time.sleep(0.1)
            broken.tls.write(b"PING\n")
            record = bytearray(broken.outgoing.read())
            record[-1] ^= 1
            broken.socket.sendall(record)
            time.sleep(0.1)
        finally:
            os.kill(pid, signal.SIGCONT)
        for client in (one, other):
            assert client.line() == b"MISS"
            assert client.ask(b"PING\n") == b"OK"
    assert "Traceback" not in server.log()


def test_what_comes_behind_the_goodbye_is_not_kept(start_server: Callable[..., RunningServer]) -> None:
    server = start_server("--node-timeout", "20s", "--stall-timeout", "3s")
    process = psutil.Process(server.process.pid)
    with server.plain() as one, TlsClient(server) as client:
        client.log_in()
        shard = where(one, b"k")
        pid = server.node_pid(shard)
        os.kill(pid, signal.SIGSTOP)
        try:
            client.tls.write(b"READ 1:k\n")  # an answer is owed, so that the connection stays
            with pytest.raises(ssl.SSLWantReadError):
                client.tls.unwrap()
            client.send_records()
            time.sleep(0.2)
            before = process.memory_info().rss
            client.socket.settimeout(0.5)
            with contextlib.suppress(OSError):
                for _ in range(256):
                    client.socket.sendall(b"j" * (1 << 20))
            assert process.memory_info().rss - before < 32 * 2**20
        finally:
            os.kill(pid, signal.SIGCONT)


class SendingKeys:
    """The keys that a client sends with, in the hands of the test: `ssl` cannot change them (RFC 8446, section 7)."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._count = 0
        self._begin()

    def _derived(self, label: bytes, length: int) -> bytes:
        label = b"tls13 " + label
        info = length.to_bytes(2, "big") + bytes((len(label),)) + label + b"\0"
        return HKDFExpand(hashes.SHA384(), length, info).derive(self._secret)

    def _begin(self) -> None:
        self._cipher = AESGCM(self._derived(b"key", 32))
        self._nonce = int.from_bytes(self._derived(b"iv", 12), "big")
        self._count = 0

    def record(self, content: bytes, kind: int) -> bytes:
        """A record with that content."""
        head = bytes((23, 3, 3)) + (len(content) + 17).to_bytes(2, "big")
        nonce = (self._nonce ^ self._count).to_bytes(12, "big")
        self._count += 1
        return head + self._cipher.encrypt(nonce, content + bytes((kind,)), head)

    def change(self, *, both: bool) -> bytes:
        """A record that says that the keys change; the server is to change its own if `both`."""
        record = self.record(bytes((24, 0, 0, 1, both)), 22)
        self._secret = self._derived(b"traffic upd", 48)
        self._begin()
        return record


def sending_keys(server: RunningServer, folder: Path, client: TlsClient) -> SendingKeys:
    context = client_context(server.ca)
    context.keylog_filename = str(folder / "keys")
    client.tls = context.wrap_bio(client.incoming, client.outgoing, server_hostname="localhost")
    client.shake_hands()
    assert client.tls.cipher() == ("TLS_AES_256_GCM_SHA384", "TLSv1.3", 256)
    lines = (folder / "keys").read_text().splitlines()
    (secret,) = [line.split()[2] for line in lines if line.startswith("CLIENT_TRAFFIC_SECRET_0 ")]
    return SendingKeys(bytes.fromhex(secret))


@pytest.mark.parametrize("both", [False, True])
def test_a_flood_of_key_changes_is_ended_and_delays_nobody(
    server: RunningServer, client: TlsClient, tmp_path: Path, both: bool
) -> None:
    keys = sending_keys(server, tmp_path, client)
    few = b"".join(keys.change(both=both) for _ in range(100)) + keys.record(b"PING 3:few\n", 23)
    client.socket.sendall(few)
    assert client.hear(b"\n") == b"OK 3:few\n"
    flood = b"".join(keys.change(both=both) for _ in range(10_000)) + keys.record(b"PING 5:flood\n", 23)
    heard = []

    def run() -> None:
        try:
            client.socket.sendall(flood)
            heard.append(client.hear())
        except (ConnectionError, ssl.SSLError):
            heard.append(b"")

    flooding = threading.Thread(target=run)
    slowest = 0.0
    with server.plain() as other:
        flooding.start()
        while flooding.is_alive():
            started = time.monotonic()
            assert other.ask(b"PING\n") == b"OK"
            slowest = max(slowest, time.monotonic() - started)
    flooding.join()
    assert heard == [b""], "it was ended before all of it was read"
    assert slowest < 0.25
    assert "Traceback" not in server.log()


def test_no_new_handshake_is_made_on_a_connection(start_server: Callable[..., RunningServer]) -> None:
    """TLS 1.2, where it is allowed, knows renegotiation, which costs a client nothing and a server much. `R` at
    s_client asks for it."""
    server = start_server("--tls-minimum", "TLSv1.2")
    command = ["openssl", "s_client", "-tls1_2", "-connect", f"localhost:{server.port}", "-CAfile", str(server.ca)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b'ping "first"\n')
        process.stdin.flush()
        while (line := process.stdout.readline()) != b"OK 5:first\n":
            assert line, "s_client has ended"
        process.stdin.write(b"R\n")
        process.stdin.flush()
        rest = process.stdout.read()
        assert process.wait(10) != 0
    assert b"RENEGOTIATING" in rest
    assert b"no renegotiation" in rest
    with server.tls() as client:
        assert client.ask(b"PING\n") == b"OK"
    assert "Traceback" not in server.log()


def test_the_smallest_records_delay_nobody(server: RunningServer) -> None:
    with TlsClient(server) as client, server.plain() as other:
        client.log_in()
        for _ in range(20_000):
            client.tls.write(b"\n")  # the smallest record that holds something: 23 bytes
        slowest = 0.0
        data = client.outgoing.read()
        sender = threading.Thread(target=client.socket.sendall, args=(data,))
        sender.start()
        while sender.is_alive():
            started = time.monotonic()
            assert other.ask(b"PING\n") == b"OK"
            slowest = max(slowest, time.monotonic() - started)
        sender.join()
        assert slowest < 0.25


def change_keys(tls: ssl.SSLObject) -> None:
    """Ask for new keys on both sides, which Python cannot: by OpenSSL's own function (`SSL_key_update`)."""
    library = ctypes.CDLL(_ssl.__file__)
    library.SSL_key_update.argtypes = (ctypes.c_void_p, ctypes.c_int)
    # `SSL *` is the second member of CPython's object, behind its socket.
    place = id(tls._sslobj) + object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p)  # type: ignore[attr-defined]
    assert library.SSL_key_update(ctypes.c_void_p.from_address(place), 1) == 1
    tls.do_handshake()


def test_a_flood_of_new_keys_delays_nobody_and_ends(server: RunningServer) -> None:
    with TlsClient(server) as client, server.plain() as other:
        client.log_in()
        flood = b""
        for _ in range(5_000):
            change_keys(client.tls)
            flood += client.outgoing.read()
        ended = threading.Event()

        def send() -> None:
            with contextlib.suppress(ConnectionError):  # it is not all taken
                client.socket.sendall(flood)
            ended.set()

        sender = threading.Thread(target=send)
        sender.start()
        slowest = 0.0
        while not ended.is_set():
            started = time.monotonic()
            assert other.ask(b"PING\n") == b"OK"
            slowest = max(slowest, time.monotonic() - started)
        sender.join()
        assert slowest < 0.25
        with contextlib.suppress(ConnectionError):
            while client.socket.recv(1 << 16):
                pass
    assert "Traceback" not in server.log()


@pytest.mark.parametrize(
    ("version", "alert"),
    [(0x0300, "handshake_failure"), *((version, "protocol_version") for version in (0x0301, 0x0302, 0x0303))],
    ids=["SSL 3", "TLS 1.0", "TLS 1.1", "TLS 1.2"],
)
def test_what_is_older_is_answered_with_an_alert(server: RunningServer, version: int, alert: str) -> None:
    """A ClientHello that offers nothing newer (RFC 5246, section 7.4.1.2)."""
    ciphers = bytes.fromhex("c02b c02f cca9 009c 002f 0035")
    body = version.to_bytes(2, "big") + os.urandom(32) + b"\0" + len(ciphers).to_bytes(2, "big") + ciphers + b"\1\0"
    hello = b"\1" + len(body).to_bytes(3, "big") + body
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(b"\x16\3\1" + len(hello).to_bytes(2, "big") + hello)
        answer = b""
        while data := raw.recv(4096):
            answer += data
    assert answer[:1] == b"\x15", "an alert"
    assert answer[RECORD_HEAD:] == bytes([2, {"handshake_failure": 40, "protocol_version": 70}[alert]])


def test_nobody_renegotiates_where_tls_1_2_is_allowed(start_server: Callable[..., RunningServer]) -> None:
    server = start_server("--tls-minimum", "TLSv1.2", "--shards", "1")
    command = ["openssl", "s_client", "-tls1_2", "-connect", f"localhost:{server.port}", "-CAfile", str(server.ca)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        heard = b""
        while b"Verify return code: 0" not in heard:
            heard += process.stdout.readline()
        process.stdin.write(b"R\n")
        process.stdin.flush()
        heard = process.stdout.read()
        assert process.wait(10) != 0
    assert b"RENEGOTIATING" in heard
    assert b"no renegotiation" in heard
    with server.tls() as client:
        assert client.ask(b"PING\n") == b"OK"
