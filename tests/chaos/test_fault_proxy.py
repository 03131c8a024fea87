"""Each fault of the proxy, between two real sockets that are looked at from both ends."""

from __future__ import annotations

import contextlib
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.chaos.fault_proxy import Counters, FaultProxy
from bench.chaos.faults import Cut, Ending, Faults, Garbage, NewConnections, Silence
from tests.live.fake_node import free_port
from tests.live.running import REPOSITORY, wait_until

QUIET = 0.2
"""For so long nothing must happen."""
FOREVER = 3600.0
MIB = 1 << 20


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(10)
        yield made


@pytest.fixture
def proxy(listening: socket.socket) -> Iterator[FaultProxy]:
    with FaultProxy(listening.getsockname()) as made:
        yield made


@pytest.fixture
def ends(proxy: FaultProxy, listening: socket.socket) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's socket, and the server's at the other end."""
    with connect(proxy) as client, accept(listening) as server:
        yield client, server


Ends = tuple[socket.socket, socket.socket]


def connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def accept(listening: socket.socket) -> socket.socket:
    server, _ = listening.accept()
    server.settimeout(10)
    return server


def exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := connection.recv(size - len(data))):
        data += more
    return data


def is_quiet(*connections: socket.socket) -> bool:
    return select.select(connections, [], [], QUIET)[0] == []


def hang_up(connection: socket.socket) -> None:
    """Close it with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_without_faults_it_passes_everything_on(proxy: FaultProxy, ends: Ends) -> None:
    client, server = ends
    for sender, receiver in (ends, ends[::-1]):
        sender.sendall(b"hello")
        assert exactly(receiver, 5) == b"hello"
    client.shutdown(socket.SHUT_WR)
    assert server.recv(1) == b""
    server.sendall(b"still here")
    assert exactly(client, 10) == b"still here"
    assert proxy.counters == Counters(connections=1, open=1, to_server=5, to_client=15)
    server.close()
    assert client.recv(1) == b""
    wait_until(lambda: proxy.counters.open == 0)


def test_a_side_that_resets_resets_the_other(proxy: FaultProxy, listening: socket.socket) -> None:
    for number in range(2):
        ends = connect(proxy), accept(listening)
        hang_up(ends[number])
        with ends[1 - number] as other, pytest.raises(ConnectionResetError):
            other.recv(1)


def test_a_client_that_sends_to_a_closed_server_is_reset(ends: Ends) -> None:
    client, server = ends
    server.close()
    assert client.recv(1) == b""

    def is_reset() -> bool:
        try:
            client.sendall(b"anybody there?")
        except ConnectionError:
            return True
        return False

    wait_until(is_reset)


def test_many_bytes_arrive_as_they_were_sent_with_faults_that_change(proxy: FaultProxy, ends: Ends) -> None:
    client, server = ends
    data = random.Random(1).randbytes(4 * MIB)
    client.setblocking(False)
    changes = [Faults(latency=0.01, jitter=0.02), Faults(piece=999), Faults(silence=Silence.HOLD), Faults()]
    received, sent = b"", 0
    while len(received) < len(data):
        proxy.faults = changes[len(received) * 40 // len(data) % 4]
        if proxy.to_server.silence:
            assert proxy.counters.open == 1
            proxy.heal()
        readable, writable, _ = select.select([server], [client] if sent < len(data) else [], [], 0.05)
        if writable:
            sent += client.send(data[sent : sent + 100_000])
        if readable:
            received += server.recv(100_000)
    assert received == data


def test_latency_delays_what_is_pipelined_once(proxy: FaultProxy, ends: Ends) -> None:
    client, server = ends
    proxy.to_client = Faults(latency=FOREVER)
    proxy.to_server = Faults(latency=0.3)
    started = time.monotonic()
    for _ in range(20):
        client.sendall(b"x")
    assert exactly(server, 20) == b"x" * 20
    assert 0.3 <= time.monotonic() - started < 3.0
    server.sendall(b"y")
    assert is_quiet(client)


def test_jitter_keeps_the_order(proxy: FaultProxy, ends: Ends) -> None:
    client, server = ends
    proxy.faults = Faults(jitter=0.05)
    words = [b"%04d" % number for number in range(50)]
    for word in words:
        client.sendall(word)
    assert exactly(server, 200) == b"".join(words)


@pytest.mark.parametrize("faults", [Faults(latency=FOREVER), Faults(silence=Silence.HOLD), Faults(jitter=FOREVER)])
def test_what_was_held_back_is_delivered_after_healing(proxy: FaultProxy, ends: Ends, faults: Faults) -> None:
    client, server = ends
    proxy.faults = faults
    for sender, receiver in (ends, ends[::-1]):
        sender.sendall(b"first ")
        assert is_quiet(receiver)
        sender.sendall(b"second")
        sender.shutdown(socket.SHUT_WR)
    assert is_quiet(client, server)
    proxy.heal()
    assert exactly(server, 100) == b"first second"
    assert exactly(client, 100) == b"first second"


def test_silence_in_one_direction_leaves_the_other(proxy: FaultProxy, ends: Ends) -> None:
    client, server = ends
    proxy.to_client = Faults(silence=Silence.HOLD)
    client.sendall(b"question")
    assert exactly(server, 8) == b"question"
    server.sendall(b"answer")
    assert is_quiet(client)
    proxy.to_client = Faults()
    assert exactly(client, 6) == b"answer"


def test_silence_hides_that_a_side_was_reset(proxy: FaultProxy, ends: Ends) -> None:
    client, server = ends
    proxy.faults = Faults(silence=Silence.HOLD)
    hang_up(client)
    server.sendall(b"anybody there?")
    assert is_quiet(server)
    proxy.heal()
    with pytest.raises(ConnectionResetError):
        exactly(server, 1)


def test_dropped_bytes_are_lost_and_the_connection_stays(proxy: FaultProxy, ends: Ends) -> None:
    client, server = ends
    proxy.to_server = Faults(silence=Silence.DROP)
    # More than all buffers on the way hold: some of it must have been dropped before the rest is sent.
    client.sendall(bytes(32 * MIB))
    assert is_quiet(server)
    proxy.heal()
    client.sendall(b"end")
    client.shutdown(socket.SHUT_WR)
    received = exactly(server, 32 * MIB)
    assert received.endswith(b"end")
    assert len(received) < 32 * MIB - (1 << 16)


def test_new_connections_can_stay_silent(proxy: FaultProxy, ends: Ends, listening: socket.socket) -> None:
    proxy.new_connections = NewConnections.SILENT
    with connect(proxy) as late:
        late.sendall(b"late")
        assert is_quiet(late, listening)
        ends[0].sendall(b"old")
        assert exactly(ends[1], 3) == b"old"
        proxy.heal()
        with accept(listening) as server:
            assert exactly(server, 4) == b"late"


def test_new_connections_can_be_reset(proxy: FaultProxy, ends: Ends, listening: socket.socket) -> None:
    proxy.new_connections = NewConnections.RESET
    with contextlib.suppress(ConnectionResetError), connect(proxy) as late:
        assert late.recv(1) != b""
    assert is_quiet(listening)
    ends[0].sendall(b"old")
    assert exactly(ends[1], 3) == b"old"


def test_a_target_that_is_not_there_resets_the_client() -> None:
    with FaultProxy(("127.0.0.1", free_port())) as proxy:
        with contextlib.suppress(ConnectionResetError), connect(proxy) as client:
            assert client.recv(1) != b""
        wait_until(lambda: proxy.counters == Counters(connections=1))


@pytest.mark.parametrize("faults", [Faults(), Faults(silence=Silence.HOLD), Faults(latency=FOREVER)])
def test_reset_acts_at_once_on_both_sides(proxy: FaultProxy, ends: Ends, faults: Faults) -> None:
    proxy.faults = faults
    ends[0].sendall(b"never mind")
    proxy.reset()
    for end in ends:
        end.setblocking(False)
        with pytest.raises(ConnectionResetError):
            exactly(end, 100)
    assert proxy.counters.open == 0


@pytest.mark.parametrize("side", ["client", "server"])
def test_reset_of_one_side_closes_the_other(proxy: FaultProxy, ends: Ends, side: str) -> None:
    client, server = ends
    one, other = (client, server) if side == "client" else (server, client)
    proxy.reset(client=side == "client", server=side == "server")
    with pytest.raises(ConnectionResetError):
        one.recv(1)
    assert other.recv(1) == b""


@pytest.mark.parametrize("ending", list(Ending))
@pytest.mark.parametrize("piece", [0, 1])
def test_a_cut_after_some_bytes(proxy: FaultProxy, ends: Ends, ending: Ending, piece: int) -> None:
    client, server = ends
    client.sendall(b"12345")
    assert exactly(server, 5) == b"12345"
    proxy.to_server = Faults(cut=Cut(3, ending), piece=piece)
    server.sendall(b"other way")
    assert exactly(client, 9) == b"other way"
    client.sendall(b"12")
    assert exactly(server, 2) == b"12"
    client.sendall(b"3456789")
    assert exactly(server, 1) == b"3"
    for end in (server, client):
        if ending is Ending.FIN:
            assert end.recv(1) == b""
        else:
            with pytest.raises(ConnectionResetError):
                end.recv(1)


def test_a_cut_by_reset_comes_after_all_that_was_passed_on(proxy: FaultProxy, listening: socket.socket) -> None:
    size = 200_000
    proxy.to_client = Faults(cut=Cut(size, Ending.RESET))
    for _ in range(5):
        with connect(proxy) as client, accept(listening) as server:
            server.sendall(bytes(size + 1000))
            assert len(exactly(client, size)) == size
            with pytest.raises(ConnectionResetError):
                client.recv(1)


def test_trickle_sends_a_piece_and_waits(proxy: FaultProxy, ends: Ends) -> None:
    client, server = ends
    data = bytes(range(100))
    proxy.faults = Faults(piece=10, pause=0.03)
    started = time.monotonic()
    client.sendall(data)
    assert exactly(server, 100) == data
    assert time.monotonic() - started >= 9 * 0.03
    proxy.faults = Faults(piece=10, pause=FOREVER)
    server.sendall(data)
    assert client.recv(100) == data[:10]
    assert is_quiet(client)
    proxy.heal()
    assert exactly(client, 90) == data[10:]


def test_bandwidth_is_limited(proxy: FaultProxy, ends: Ends) -> None:
    client, server = ends
    proxy.to_client = Faults(bandwidth=100_000)
    started = time.monotonic()
    server.sendall(bytes(30_000))
    assert len(exactly(client, 30_000)) == 30_000
    # After the last of 15 pieces there is nothing to wait for.
    assert time.monotonic() - started >= 0.28


def data_packets(connection: socket.socket) -> int:
    """How many packets with data it has received: `tcpi_data_segs_in` of Linux."""
    return int(struct.unpack_from("I", connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192), 152)[0])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts packets for a connection")
@pytest.mark.parametrize(("piece", "packets"), [(1, 300), (7, 43)])
def test_every_piece_comes_in_a_packet_of_its_own(proxy: FaultProxy, ends: Ends, piece: int, packets: int) -> None:
    proxy.faults = Faults(piece=piece)
    for sender, receiver in (ends, ends[::-1]):
        # More than a congestion window at once: then the kernel would put small pieces together.
        sender.sendall(bytes(300))
        exactly(receiver, 300)
        assert data_packets(receiver) == packets


@pytest.mark.parametrize("flip", [False, True])
def test_garbage_at_an_offset(proxy: FaultProxy, ends: Ends, flip: bool) -> None:
    client, server = ends
    client.sendall(b"before")
    exactly(server, 6)
    garbage = Garbage(3, size=4, seed=2, flip=flip)
    proxy.to_server = Faults(garbage=garbage)
    client.sendall(b"0123456789")
    client.sendall(b"0123456789")
    client.shutdown(socket.SHUT_WR)
    expected = garbage.spoil(b"0123456789" * 2, 0)
    assert expected != b"0123456789" * 2
    assert exactly(server, 100) == expected
    server.sendall(b"untouched")
    assert exactly(client, 9) == b"untouched"
    assert proxy.counters.to_server == 6 + len(expected)


@pytest.mark.parametrize("faults", [Faults(), Faults(silence=Silence.HOLD), Faults(latency=FOREVER), Faults(piece=1)])
def test_a_side_that_does_not_read_makes_the_other_wait(proxy: FaultProxy, ends: Ends, faults: Faults) -> None:
    client, server = ends
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    proxy.faults = faults
    client.setblocking(False)
    sent = 0
    while select.select([], [client], [], QUIET * 3)[1]:
        sent += client.send(bytes(MIB))
        # The kernel's buffers take some; the proxy takes a MiB.
        assert sent < 24 * MIB
    proxy.heal()
    client.setblocking(True)
    client.shutdown(socket.SHUT_WR)
    received = 0
    while data := server.recv(MIB):
        received += len(data)
    assert received == sent


def test_small_pieces_that_are_held_are_bounded_too(proxy: FaultProxy, ends: Ends) -> None:
    client, server = ends
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    proxy.faults = Faults(silence=Silence.HOLD)
    for _ in range(2000):
        client.sendall(b"x")
    assert is_quiet(server)
    proxy.heal()
    assert exactly(server, 2000) == b"x" * 2000


def test_a_unix_socket_behind_it(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "node.sock"))
        listening.listen()
        with FaultProxy(tmp_path / "node.sock") as proxy, connect(proxy) as client, accept(listening) as server:
            proxy.faults = Faults(piece=1)
            client.sendall(b"hello")
            assert exactly(server, 5) == b"hello"
            proxy.to_client = Faults(silence=Silence.HOLD)
            server.sendall(b"answer")
            assert is_quiet(client)
            proxy.heal()
            assert exactly(client, 6) == b"answer"
            proxy.reset()
            assert server.recv(1) == b""
            with pytest.raises(ConnectionResetError):
                client.recv(1)


def test_the_command_line_and_its_lines(listening: socket.socket) -> None:
    port, behind = free_port(), listening.getsockname()[1]
    words = ["--listen", f"127.0.0.1:{port}", "--to", f"127.0.0.1:{behind}", "--latency", "300ms", "--slice"]
    command = [sys.executable, "-m", "bench.chaos.fault_proxy", *words]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, cwd=REPOSITORY, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == f"listening on 127.0.0.1:{port}\n"
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client, accept(listening) as server:
                started = time.monotonic()
                client.sendall(b"hello")
                assert exactly(server, 5) == b"hello"
                assert time.monotonic() - started >= 0.3
                for line, answer in (
                    ("silence", "to-server to-client silence"),
                    ("silence loud", "error: 'loud' is not a valid Silence"),
                    ("counters", "connections 1 open 1 to-server 5 to-client 0"),
                ):
                    print(line, file=process.stdin, flush=True)
                    assert process.stdout.readline() == f"{answer}\n"
                client.sendall(b"again")
                assert is_quiet(server)
                print("heal", file=process.stdin, flush=True)
                assert exactly(server, 5) == b"again"
                process.stdin.close()
                client.sendall(b"the end of its input ends nothing")
                assert len(exactly(server, 33)) == 33
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
