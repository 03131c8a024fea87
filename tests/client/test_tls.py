"""TLS of both clients: whom they trust, and whom they do not."""

from __future__ import annotations

import asyncio
import signal
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvloop

from tests.client import scripts
from tests.client.fake_server import Cache, FakeServer, Peer
from wireproto import AsyncClient, Client
from wireproto.client.options import OptionArguments
from wireproto.errors import ConfigurationError, NodeDownError, NodeTimeoutError
from wireproto.server.certificates import ensure_development_certificates
from wireproto.server.tls_context import server_context

Ping = Callable[[str, OptionArguments], None]


def ping_blocking(url: str, options: OptionArguments) -> None:
    with Client(url, **options) as client:
        client.ping()


def ping_with(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> Ping:
    async def main(url: str, options: OptionArguments) -> None:
        async with AsyncClient(url, **options) as client:
            await client.ping()

    def ping(url: str, options: OptionArguments) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main(url, options))

    return ping


every_client = pytest.mark.parametrize(
    "ping",
    [ping_blocking, ping_with(asyncio.new_event_loop), ping_with(uvloop.new_event_loop)],
    ids=["blocking", "asyncio", "uvloop"],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certs")
    ensure_development_certificates(folder, datetime.now(UTC))
    return folder


@pytest.fixture(scope="module")
def context(folder: Path) -> ssl.SSLContext:
    return server_context(ensure_development_certificates(folder, datetime.now(UTC)), "TLSv1.2")


@every_client
def test_the_authority_that_is_named_is_trusted(ping: Ping, folder: Path, context: ssl.SSLContext) -> None:
    with FakeServer(Cache(), context) as server:
        for host in ("localhost", "127.0.0.1"):
            ping(f"wireproto://{host}:{server.port}?ca={folder}/ca.pem", {})


@every_client
def test_nobody_else_is(ping: Ping, context: ssl.SSLContext) -> None:
    with FakeServer(Cache(), context) as server:
        with pytest.raises(ConfigurationError, match=r"not trusted.*ca="):
            ping(f"wireproto://localhost:{server.port}", {})
        assert server.heard == []


@every_client
def test_the_name_must_be_the_servers(ping: Ping, folder: Path, context: ssl.SSLContext) -> None:
    with FakeServer(Cache(), context) as server:
        with pytest.raises(ConfigurationError, match=r"not trusted.*127\.1"):
            # An address that resolvers know and that is in no certificate.
            ping(f"wireproto://127.1:{server.port}?ca={folder}/ca.pem", {"retries": 0})
        assert server.heard == []


@every_client
def test_nothing_is_verified_if_that_is_said_loudly(ping: Ping, context: ssl.SSLContext) -> None:
    with FakeServer(Cache(), context) as server:
        ping(f"wireproto://localhost:{server.port}", {"verify": False})


@every_client
def test_an_older_tls_is_refused(ping: Ping, folder: Path) -> None:
    old = server_context(ensure_development_certificates(folder, datetime.now(UTC)), "TLSv1.2")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with FakeServer(Cache(), old) as server, pytest.raises(NodeDownError):
        ping(f"wireproto://localhost:{server.port}?ca={folder}/ca.pem", {"retries": 0})


@every_client
def test_a_server_without_tls_is_refused(ping: Ping, folder: Path) -> None:
    async def shouting(peer: object) -> None:
        peer.send(b"ERR PROTO :is this another protocol?\n")  # type: ignore[attr-defined]

    with FakeServer(shouting) as server, pytest.raises(NodeDownError):
        ping(f"wireproto://localhost:{server.port}?ca={folder}/ca.pem", {"retries": 0, "timeout": 2.0})


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_an_authority_that_cannot_be_read_is_told_at_once(kind: type, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    for name in (folder / "none.pem", tmp_path / "empty.pem"):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            kind("wireproto://localhost", ca=name)


@pytest.fixture(name="url_of")
def _url_of(folder: Path) -> Callable[[FakeServer], str]:
    return lambda server: f"wireproto://localhost:{server.port}?ca={folder}/ca.pem"


def test_the_kernel_keeps_the_time(context: ssl.SSLContext, url_of: Callable[[FakeServer], str]) -> None:
    """Also when signals come all the time, whose handlers do nothing."""
    stop = threading.Event()
    main = threading.get_ident()

    def disturb() -> None:
        while not stop.wait(0.01):
            signal.pthread_kill(main, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    disturbing = threading.Thread(target=disturb)
    disturbing.start()
    try:
        with FakeServer(Cache(max_delay=0.1), context) as server, Client(url_of(server)) as client:
            assert client.write_many({f"k{number}": bytes(5000) for number in range(100)})
            assert client.read_many(["k1", "k2", "none"]) == {"k1": bytes(5000), "k2": bytes(5000), "none": None}
        with FakeServer(scripts.silence, context) as server, Client(url_of(server), retries=0) as client:
            for patience in (0.5, 0.3):
                started = time.monotonic()
                with pytest.raises(NodeTimeoutError):
                    client.write("k", b"v", timeout=patience)
                assert patience <= time.monotonic() - started < patience + 1
    finally:
        stop.set()
        disturbing.join()
        signal.signal(signal.SIGUSR1, before)


def test_a_request_that_the_other_side_does_not_read_is_a_time_out(
    context: ssl.SSLContext, url_of: Callable[[FakeServer], str]
) -> None:
    async def deaf(peer: Peer) -> None:
        peer.answer(await peer.request(), b"OK")
        await asyncio.Event().wait()

    with FakeServer(deaf, context) as server, Client(url_of(server), retries=0) as client:
        client.ping()
        with pytest.raises(NodeTimeoutError):
            client.write("k", bytes(32 << 20), timeout=0.3)


def test_a_connection_that_was_closed_meanwhile_is_not_used(
    context: ssl.SSLContext, url_of: Callable[[FakeServer], str]
) -> None:
    async def one_request(peer: Peer) -> None:
        peer.answer(await peer.request(), b"OK")

    with FakeServer(one_request, context) as server, Client(url_of(server), retries=0) as client:
        for number in range(1, 4):
            assert client.write("k", b"v") is True
            assert server.connections == number
            time.sleep(0.1)
