"""Hosts of their own on one machine, and cuts between them: packets vanish, connections stall and are not reset.

    with Network() as network:
        master, replica = network.host("master"), network.host("replica")
        process = master.run(["valkey-server", "--bind", master.address])
        network.cut(master, replica)  # this process, `network.root`, still reaches both
        network.heal()

Every host is a network namespace with one address. All are joined by a router, which is a namespace too; the
caller's own (the root) is joined to it like the others. A cut is a routing rule in the router, `from A to B blackhole`:
one for each direction, which acts on the next packet. The kernel drops what it matches without a word.

Other ways were tried or weighed. A blackhole route in the sending host is not silent: the kernel refuses a local
sender's connection at once. `tc ... action drop` and netem are modules that many kernels lack, and nft and iptables are
programs that many machines lack, although either would do. Taking links down is not silent to the host at the end of
it; an isolated port of a bridge cuts whole groups, not pairs. Rules need `ip` and what every kernel of a distribution
has (CONFIG_IP_MULTIPLE_TABLES), cut any pair in either direction, and leave hosts and links as they are.

There is no latency and no loss here, since netem is what they would need; `fault_proxy` makes slow connections.

When the process that made a network is killed, its hosts, links and processes go with it (`network_namespace`).
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import random
import secrets
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.chaos.network_namespace import NetworkError, NetworkNamespace, available
from bench.processes import end_with_parent, stop

__all__ = ["Host", "Network", "NetworkError", "available"]

RANGE = ipaddress.IPv4Network("198.18.0.0/15")
"""Reserved for tests of networks (RFC 2544), so hardly in use; a network takes 256 addresses of it."""
_SUBNET_LENGTH = 24
_ATTEMPTS = 50
_JOIN_TIMEOUT = 10.0
_JOIN_TRY = 0.1
_RULE_PRIORITY = 100
"""After the table of the router's own addresses, before the main one."""


class Host:
    """One host of a network: an address, and the processes that were started there."""

    def __init__(self, name: str, address: str, namespace: NetworkNamespace) -> None:
        self.name = name
        self.address = address
        """IPv4, reached from the root namespace and from every other host that it is not cut from."""
        self.namespace = namespace
        self._processes: list[subprocess.Popen[Any]] = []

    def run(self, command: Sequence[str | Path], **options: Any) -> subprocess.Popen[Any]:
        """Start a process there, with the options of `subprocess.Popen`; it is ended with the network.

        It is killed when the calling thread ends, since that is what the kernel takes for its parent. Raises OSError.
        """
        with self.entered():
            process = subprocess.Popen([str(word) for word in command], preexec_fn=end_with_parent, **options)
        self._processes.append(process)
        return process

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Within the block, sockets that this thread makes are sockets of this host. Do not await within it."""
        with self.namespace.entered():
            yield

    def end_processes(self) -> None:
        """End what was started there."""
        for process in self._processes:
            stop(process)

    def close(self) -> None:
        """End its processes, and let go of it."""
        self.end_processes()
        self.namespace.close()


class Network:
    """Hosts that reach each other and the root namespace, until they are cut off. Raises NetworkError, OSError."""

    def __init__(self) -> None:
        self._cuts: set[tuple[str, str]] = set()
        self._hosts: list[Host] = []
        with contextlib.ExitStack() as undo:
            root = NetworkNamespace.current()
            undo.callback(root.close)
            self._router = NetworkNamespace.new()
            undo.callback(self._router.close)
            # What comes in is not held against the way back: else a cut in one direction would be one in both.
            self._router.set_kernel(ip_forward="1", conf__all__rp_filter="0", conf__default__rp_filter="0")
            self.interface = f"chaos{secrets.token_hex(4)}"
            """The one in the root namespace."""
            self.subnet = self._join_root(root)
            self.root = Host("root", str(self.subnet[2]), root)
            self._hosts.append(self.root)
            self._router.ip(f"address add {self.subnet[1]}/32 dev lo", "link set lo up")
            self._wait_until_joined(root)
            undo.pop_all()

    def __enter__(self) -> Network:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def host(self, name: str) -> Host:
        """A new host; the name is for people. Raises NetworkError."""
        number = len(self._hosts)
        if number + 2 >= self.subnet.num_addresses - 1:
            raise NetworkError(f"a network has at most {number - 1} hosts")
        address, link = str(self.subnet[number + 2]), f"host{number}"
        namespace = NetworkNamespace.new()
        try:
            self._router.ip(
                f"link add {link} type veth peer name eth0 netns {namespace.path}", *self._router_end(link, address)
            )
            namespace.ip("link set lo up", *self._host_end("eth0", address, self.subnet))
            self._wait_until_joined(namespace)
        except BaseException:
            namespace.close()
            raise
        host = Host(name, address, namespace)
        self._hosts.append(host)
        return host

    def cut(self, one: Host, other: Host) -> None:
        """Drop what either sends to the other, from the next packet on. Either may be `root`."""
        self._apply(self._cuts | {(one.address, other.address), (other.address, one.address)})

    def cut_all(self, one: Host, others: Iterable[Host]) -> None:
        """The same between one and several others, by one command."""
        pairs = [(one.address, other.address) for other in others]
        self._apply(self._cuts | {pair for ends in pairs for pair in (ends, ends[::-1])})

    def cut_one_way(self, sender: Host, receiver: Host) -> None:
        """Drop what `sender` sends to `receiver`; the other direction is left as it is."""
        self._apply(self._cuts | {(sender.address, receiver.address)})

    def isolate(self, host: Host) -> None:
        """Cut it from all hosts that there are now, and from the root."""
        others = [other.address for other in self._hosts if other is not host]
        self._apply(self._cuts | {pair for other in others for pair in ((host.address, other), (other, host.address))})

    def heal(self, one: Host | None = None, other: Host | None = None) -> None:
        """Undo the cuts between two hosts, all cuts of one, or all there are. TCP resumes when its timers say so."""
        ends = {host.address for host in (one, other) if host is not None}
        self._apply({pair for pair in self._cuts if not ends <= set(pair)})

    def close(self) -> None:
        """End all processes and remove everything."""
        # The hosts' own ends, and this one's, go with the router's, but later: then nothing of it may be in use.
        with contextlib.ExitStack() as everything:
            everything.callback(self.root.namespace.close)
            everything.callback(self._router.close)
            everything.callback(self.root.namespace.ip, f"link delete {self.interface}")
            for host in self._hosts[1:]:
                everything.callback(host.close)

    def _apply(self, cuts: set[tuple[str, str]]) -> None:
        added, removed = sorted(cuts - self._cuts), sorted(self._cuts - cuts)
        lines = [f"rule add {_rule(*pair)}" for pair in added] + [f"rule delete {_rule(*pair)}" for pair in removed]
        if lines:
            self._router.ip(*lines)
        self._cuts = cuts

    def _join_root(self, root: NetworkNamespace) -> ipaddress.IPv4Network:
        """Join the root to the router, with a subnet that nobody uses."""
        root.ip(f"link add {self.interface} type veth peer name root netns {self._router.path}")
        try:
            for _ in range(_ATTEMPTS):
                subnet = _unused_subnet(root)
                try:
                    # Another run may have come first: then the route is there, and this fails.
                    root.ip(*self._host_end(self.interface, str(subnet[2]), subnet))
                except NetworkError as error:
                    root.ip(f"address flush dev {self.interface}")
                    if "File exists" not in str(error):
                        raise
                    continue
                self._router.ip(*self._router_end("root", str(subnet[2])))
                return subnet
            raise NetworkError(f"no free subnet was found in {RANGE}")
        except BaseException:
            root.ip(f"link delete {self.interface}")
            raise

    def _wait_until_joined(self, namespace: NetworkNamespace) -> None:
        """The kernel drops what is sent until it has noticed, a little later, that both ends of a link are up."""
        deadline = time.monotonic() + _JOIN_TIMEOUT
        while time.monotonic() < deadline:
            with namespace.entered(), socket.socket() as probe:
                probe.settimeout(_JOIN_TRY)
                try:
                    # Nobody listens there: that this is answered shows the way there and back.
                    probe.connect((str(self.subnet[1]), 1))
                except ConnectionRefusedError:
                    return
                except OSError:
                    continue
        raise NetworkError(f"the router of {self.subnet} did not answer")

    @staticmethod
    def _host_end(link: str, address: str, subnet: ipaddress.IPv4Network) -> list[str]:
        return [
            f"address add {address}/32 dev {link}",
            f"link set {link} up",
            f"route add {subnet} via {subnet[1]} dev {link} src {address} onlink",
        ]

    @staticmethod
    def _router_end(link: str, address: str) -> list[str]:
        return [f"link set {link} up", f"route add {address}/32 dev {link}"]


def _rule(sender: str, receiver: str) -> str:
    return f"priority {_RULE_PRIORITY} from {sender} to {receiver} blackhole"


def _unused_subnet(root: NetworkNamespace) -> ipaddress.IPv4Network:
    """One at random that no address and no route but the default one touches."""
    routes = json.loads(root.ask_ip("-4", "route", "show", "table", "all"))
    taken = [ipaddress.ip_network(route["dst"]) for route in routes if route.get("dst", "default") != "default"]
    for interface in json.loads(root.ask_ip("-4", "address")):
        taken += [ipaddress.ip_network(found["local"]) for found in interface["addr_info"]]
    free = [
        subnet
        for subnet in RANGE.subnets(new_prefix=_SUBNET_LENGTH)
        if not any(subnet.overlaps(other) for other in taken)
    ]
    if not free:
        raise NetworkError(f"no free subnet is left in {RANGE}")
    return random.choice(free)
