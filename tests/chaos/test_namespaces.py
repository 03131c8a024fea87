"""Hosts whose network is cut: what vanishes, what stays, that nothing notices, and that nothing is left behind."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from bench.chaos import namespaces
from bench.chaos.namespaces import Host, Network, available
from tests.live.running import REPOSITORY, wait_until
from wireproto.server.embedded import find_program

PORT = 5000


@contextlib.contextmanager
def telephones(*hosts: Host) -> Iterator[dict[Host, socket.socket]]:
    """A UDP socket in each."""
    with contextlib.ExitStack() as sockets:
        found = {}
        for host in hosts:
            with host.entered():
                found[host] = sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            found[host].bind((host.address, PORT))
            found[host].settimeout(5)
        yield found


def pass_word(sockets: dict[Host, socket.socket], cut: set[tuple[Host, Host]], network: Network) -> None:
    """Every host calls every other. What is cut off is never heard, and the caller does not learn of it."""
    pairs = [(sender, receiver) for sender in sockets for receiver in sockets if sender is not receiver]
    for sender, receiver in pairs:
        sockets[sender].sendto(f"{sender.name} while cut".encode(), (receiver.address, PORT))
    network.heal()
    # Packets keep their order: whatever was not lost would be heard before these.
    for sender, receiver in pairs:
        sockets[sender].sendto(f"{sender.name} healed".encode(), (receiver.address, PORT))
    for receiver, listening in sockets.items():
        senders = {sender for sender, other in pairs if other is receiver}
        expected = {f"{sender.name} healed" for sender in senders}
        expected |= {f"{sender.name} while cut" for sender in senders if (sender, receiver) not in cut}
        assert {listening.recv(100).decode() for _ in expected} == expected


def test_every_cut_drops_what_it_says_and_nothing_else(network: Network) -> None:
    one, two, three = hosts = [network.host(name) for name in ("one", "two", "three")]
    root = network.root
    with telephones(*hosts, root) as sockets:
        pass_word(sockets, set(), network)
        network.cut(one, two)
        pass_word(sockets, {(one, two), (two, one)}, network)
        network.cut_one_way(one, root)
        pass_word(sockets, {(one, root)}, network)
        network.cut_one_way(root, three)
        pass_word(sockets, {(root, three)}, network)
        network.isolate(two)
        pass_word(sockets, {pair for other in (one, three, root) for pair in ((two, other), (other, two))}, network)
        network.cut(one, two)
        network.cut(one, three)
        network.cut(two, three)
        network.heal(one, two)
        network.heal(three, two)
        pass_word(sockets, {(one, three), (three, one)}, network)
        network.isolate(two)
        network.cut(one, three)
        network.cut(one, three)
        network.heal(two)
        pass_word(sockets, {(one, three), (three, one)}, network)


def test_an_established_connection_stalls_and_goes_on_and_a_new_one_waits(network: Network) -> None:
    host = network.host("host")
    with host.entered():
        listening = socket.create_server((host.address, PORT))
    with listening, socket.create_connection((host.address, PORT)) as client:
        server, _ = listening.accept()
        with server, socket.socket() as late:
            network.cut(host, network.root)
            client.sendall(b"into the void")
            late.setblocking(False)
            assert late.connect_ex((host.address, PORT)) == errno.EINPROGRESS
            # Neither side is told anything, for longer than the first packets take to be sent again.
            assert select.select([server, client, listening], [late], [], 1.0) == ([], [], [])
            network.heal()
            late.settimeout(10)
            server.settimeout(10)
            assert server.recv(100) == b"into the void"
            listening.settimeout(10)
            listening.accept()[0].close()


def test_hosts_share_nothing_but_the_network(network: Network) -> None:
    one, two = network.host("one"), network.host("two")
    with one.entered(), socket.create_server(("127.0.0.1", 0)) as listening:
        own = listening.getsockname()
        socket.create_connection(own).close()
        with two.entered(), pytest.raises(ConnectionRefusedError):
            socket.create_connection(own)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(own)
    said = one.run(["ip", "-brief", "address", "show", "dev", "eth0"], stdout=subprocess.PIPE, text=True)
    assert one.address in said.communicate(timeout=10)[0]


class Replicas:
    """A master and two replicas, each on a host of its own."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.hosts = [network.host(name) for name in ("master", "left", "right")]
        self.clients = [self._start(host, folder) for host in self.hosts]
        self.master, *self.replicas = self.clients
        for replica in self.replicas:
            replica.replicaof(self.hosts[0].address, PORT)
        wait_until(lambda: self.online() == 2, timeout=20)

    @staticmethod
    def _start(host: Host, folder: Path) -> redis.Redis:
        (home := folder / host.name).mkdir()
        options = ["--port", PORT, "--bind", host.address, "--dir", home, "--save", "", "--protected-mode", "no"]
        command = [find_program(None), *map(str, options), "--repl-diskless-sync-delay", "0"]
        host.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        client = redis.Redis(host.address, PORT, socket_timeout=10)
        wait_until(lambda: is_up(client))
        return client

    def online(self) -> int:
        replication = self.master.info("replication")
        return sum(replication.get(f"slave{number}", {}).get("state") == "online" for number in range(2))

    def links(self) -> list[str]:
        """The replicas' connections at the master, by their numbers, which are never given again."""
        return sorted(client["id"] for client in self.master.client_list(_type="replica"))

    def values(self) -> list[bytes | None]:
        return [replica.get("key") for replica in self.replicas]


def is_up(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_replication_stalls_silently_and_catches_up(network: Network, tmp_path: Path) -> None:
    nodes = Replicas(network, tmp_path)
    nodes.master.set("key", "before")
    wait_until(lambda: nodes.values() == [b"before"] * 2)
    links = nodes.links()
    syncs = nodes.master.info("stats")["sync_full"]
    master, left, right = nodes.hosts
    network.cut(master, left)
    network.cut(master, right)

    nodes.master.set("key", "while cut")
    assert nodes.master.wait(1, 500) == 0
    assert nodes.values() == [b"before"] * 2
    assert nodes.links() == links
    assert [replica.info("replication")["master_link_status"] for replica in nodes.replicas] == ["up", "up"]

    network.heal(master, left)
    wait_until(lambda: nodes.values() == [b"while cut", b"before"], timeout=20)
    network.heal()
    wait_until(lambda: nodes.values() == [b"while cut"] * 2, timeout=20)
    assert nodes.links() == links
    stats = nodes.master.info("stats")
    assert stats["sync_full"] == syncs
    assert stats["sync_partial_ok"] == 0


def test_an_isolated_master_is_out_of_reach_and_keeps_running(network: Network, tmp_path: Path) -> None:
    nodes = Replicas(network, tmp_path)
    network.isolate(nodes.hosts[0])
    with pytest.raises(TimeoutError):
        socket.create_connection((nodes.hosts[0].address, PORT), timeout=0.3)
    assert [replica.ping() for replica in nodes.replicas] == [True, True]
    with nodes.hosts[0].entered(), redis.Redis(nodes.hosts[0].address, PORT) as inside:
        assert inside.set("key", "inside")
    network.heal()
    wait_until(lambda: nodes.values() == [b"inside"] * 2, timeout=20)


def interfaces() -> set[str]:
    return set(psutil.net_if_addrs())


def test_everything_is_removed_also_after_an_error(network: Network) -> None:
    subnets, links = {network.subnet}, set()
    processes = []
    with contextlib.suppress(ZeroDivisionError), Network() as second, Network() as third:
        subnets |= {second.subnet, third.subnet}
        processes = [other.host("host").run(["sleep", "1000"]) for other in (second, third)]
        links = {second.interface, third.interface}
        assert links <= interfaces()
        raise ZeroDivisionError
    assert len(subnets) == 3
    assert [process.poll() for process in processes] == [-signal.SIGTERM] * 2
    wait_until(lambda: not links & interfaces())


def test_a_subnet_that_another_run_takes_first_is_left_to_it(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [network.subnet, network.subnet]
    unused = namespaces._unused_subnet
    monkeypatch.setattr(namespaces, "_unused_subnet", lambda root: found.pop() if found else unused(root))
    one = network.host("one")
    with Network() as second:
        assert not found
        assert second.subnet != network.subnet
        two = second.host("two")
        with telephones(network.root, one) as first, telephones(second.root, two) as others:
            pass_word(first, set(), network)
            pass_word(others, set(), second)


KILLED = """
import time
from bench.chaos.namespaces import Network
network = Network()
print(network.host("host").run(["sleep", "1000"]).pid, network.subnet, network.interface, flush=True)
time.sleep(1000)
"""


def test_a_run_that_is_killed_leaves_nothing(network: Network) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as run:
        assert run.stdout is not None
        pid, subnet, link = run.stdout.readline().split()
        child = psutil.Process(int(pid))
        assert subnet != str(network.subnet)
        assert link in interfaces()
        run.kill()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    wait_until(lambda: link not in interfaces())


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = "import os; from bench.chaos.namespaces import available; os.setuid(65534); print(available())"
    if sys.platform != "linux":
        assert "Linux" in available()
        return
    if os.geteuid() == 0:
        done = subprocess.run([sys.executable, "-c", asked], cwd=REPOSITORY, capture_output=True, text=True, check=True)
        said = done.stdout
    else:
        said = available()
    assert ("need root" if shutil.which("ip") else "iproute2") in said
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "iproute2" in available()
