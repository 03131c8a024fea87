"""TLS of both clients: whom they trust, and whom they do not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvloop

from tests.client.fake_server import Cache, FakeServer
from wireproto import AsyncClient, Client
from wireproto.client.options import OptionArguments
from wireproto.errors import ConfigurationError, NodeDownError
from wireproto.server.certificates import ensure_development_certificates, server_context

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
