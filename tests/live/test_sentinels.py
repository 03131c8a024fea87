"""Shards that Sentinels watch, as an operator has them: with passwords, with TLS, with Sentinels that are not there."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis

from tests.live.fake_node import free_port
from tests.live.running import RunningServer, wait_until
from tests.live.test_start import has_tls
from wireproto.server.certificates import ensure_development_certificates
from wireproto.server.embedded import find_program

Start = Callable[..., RunningServer]


class Processes:
    """Nodes and Sentinels of a program, each in a folder of its own."""

    def __init__(self, folder: Path, program: str) -> None:
        self._folder = folder
        self._program = program
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, *lines: str, tls: tuple[str, ...] = (), sentinel: bool = False) -> int:
        """Start one; its port."""
        port = free_port()
        folder = self._folder / f"at-{port}"
        folder.mkdir()
        where = [f"tls-port {port}", "port 0", *tls] if tls else [f"port {port}"]
        (folder / "its.conf").write_text("\n".join(["bind 127.0.0.1", f"unixsocket {folder}/s", *where, *lines, ""]))
        command = [self._program, "its.conf", *(["--sentinel"] if sentinel else [])]
        with (folder / "log").open("wb") as log:
            self._processes.append(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log))
        wait_until(lambda: (folder / "s").exists())
        return port

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path, shutil.which("redis-server") or find_program(None))
    yield made
    made.stop()


NODE = ('save ""', "repl-diskless-sync yes", "repl-diskless-sync-delay 0")


def sentinel_lines(master: int, *more: str) -> list[str]:
    return [f"sentinel monitor cache 127.0.0.1 {master} 1", "sentinel down-after-milliseconds cache 1000", *more]


def test_nodes_and_sentinels_with_passwords_of_their_own(start_server: Start, processes: Processes) -> None:
    secrets = ("requirepass node-secret", "masterauth node-secret")
    master = processes.start(*NODE, *secrets)
    replica = processes.start(*NODE, *secrets, f"replicaof 127.0.0.1 {master}")
    watching = sentinel_lines(master, "sentinel auth-pass cache node-secret", "requirepass sentinel-secret")
    sentinel, silent = processes.start(*watching, sentinel=True), free_port()
    server = start_server(
        environment={
            "WIREPROTO_NODES": f"shop=sentinel://:sentinel-secret@127.0.0.1:{silent},127.0.0.1:{sentinel}/cache"
            "?password=node-secret"
        }
    )
    with server.plain() as client:
        assert client.ask(b"WRITE 1:k 1:v\n") == b"OK", "one Sentinel that answers is enough"
        assert server.node("shop")["address"] == f"127.0.0.1:{master}"
        wait_until(lambda: f"127.0.0.1:{replica}".encode() in client.ask(b'where "k"\n'), timeout=15)
        wait_until(lambda: client.ask(b"WRITE 1:k 1:w sync=1\n") == b"OK")
        with redis.Redis(port=sentinel, password="sentinel-secret") as straight:
            wait_until(lambda: follow(straight), timeout=15)
        wait_until(lambda: server.node("shop")["address"] == f"127.0.0.1:{replica}", timeout=10)
        wait_until(lambda: client.ask(b"READ 1:k\n") == b"OK 1:w", timeout=5)
    assert f"sentinel 127.0.0.1:{silent} cannot be asked" in server.log()
    assert "secret" not in server.log() + "\n".join(server.lines)


def follow(sentinel: redis.Redis) -> bool:
    """Have a Sentinel make another node the master; whether it has one to choose."""
    try:
        sentinel.execute_command("SENTINEL", "FAILOVER", "cache")
    except redis.ResponseError:
        return False
    return True


def test_sentinels_that_refuse_or_do_not_know_the_master(start_server: Start, processes: Processes) -> None:
    master = processes.start(*NODE)
    sentinel = processes.start(*sentinel_lines(master, "requirepass right-secret"), sentinel=True)
    at = f"127.0.0.1:{sentinel}"
    server = start_server(
        environment={
            "WIREPROTO_NODES": f"a=sentinel://:wrong-secret@{at}/any,b=sentinel://:right-secret@{at}/another,"
            f"c=sentinel://:right-secret@{at}/cache"
        }
    )
    assert "nodes that cannot be reached: a b" in server.lines
    log = server.log()
    assert f"sentinel {at} cannot be asked" in log
    assert f"sentinel {at} does not watch another" in log
    assert "not all shards have a master: a, b" in log
    assert "secret" not in log
    assert server.node("c")["state"] == "up"


def test_sentinels_and_nodes_behind_tls(start_server: Start, tmp_path: Path) -> None:
    program = shutil.which("redis-server")
    if program is None or not has_tls(program):
        pytest.skip("there is no redis-server that speaks TLS")
    files = ensure_development_certificates(tmp_path / "node-certs", datetime.now(UTC))
    tls = (
        *(f"tls-cert-file {files.cert}", f"tls-key-file {files.key}", f"tls-ca-cert-file {files.ca}"),
        *("tls-auth-clients no", "tls-replication yes"),
    )
    processes = Processes(tmp_path, program)
    try:
        user = "user cache on >node-secret ~* +@all &*"
        master = processes.start(*NODE, user, tls=tls)
        sentinel = processes.start(*sentinel_lines(master, "requirepass sentinel-secret"), tls=tls, sentinel=True)
        url = f"sentinels://:sentinel-secret@localhost:{sentinel}/cache?username=cache&password=node-secret"
        server = start_server(
            environment={
                "WIREPROTO_NODES": f"trusted={url}&ssl_ca_certs={files.ca},unknown={url.replace('/cache', '/other')}"
            },
        )
        assert "nodes that cannot be reached: unknown" in server.lines
        with server.plain() as client:
            key = next(b"k%d" % n for n in range(99) if b"trusted" in client.ask(b'where "k%d"\n' % n))
            assert client.ask(b"WRITE %d:%b 1:v\n" % (len(key), key)) == b"OK"
        assert "certificate verify failed" in server.log()
        assert "secret" not in server.log()
    finally:
        processes.stop()
