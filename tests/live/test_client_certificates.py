"""Clients that show a certificate: who is let in by it, and for how long."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.authority import DAY, Authority, Issued
from tests.live.running import REPOSITORY, RawClient, RunningServer, client_context, wait_until
from tests.server.test_tls_context import NO_TEXT
from wireproto import AsyncClient, Client
from wireproto.core.api_keys import ApiKeyRecord
from wireproto.errors import AuthError, ConfigurationError, LostError, NodeDownError
from wireproto.server.state_folder import change_records, new_api_key

Start = Callable[..., RunningServer]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def start(start_server: Start, authority: Authority) -> Start:
    """A server that asks for certificates, and knows the client `shop` by the name `shop.example`."""

    def start_asking(choice: str, *flags: str) -> RunningServer:
        more = ("--client-certificates", choice, "--client-ca", str(authority.ca), "--shards", "1")
        server = start_server(*more, "--log-level", "debug", *flags)
        add_record(server, "shop", "shop.example")
        return server

    return start_asking


def add_record(server: RunningServer, client: str, name: str) -> None:
    """Let a certificate's name stand for a client, and wait until that holds."""
    _, record = new_api_key(client, client, certificate=name)
    change(server, lambda records: (*records, record))


def change(server: RunningServer, change_of: Callable[[tuple[ApiKeyRecord, ...]], tuple[ApiKeyRecord, ...]]) -> None:
    in_force = "the API keys and signing keys have changed"
    before = server.log().count(in_force)
    change_records(server.folder / "state", change_of)
    wait_until(lambda: server.log().count(in_force) > before)


def connect(server: RunningServer, shown: Issued | None) -> RawClient:
    """A connection that is not logged in by a key. Raises OSError, perhaps only when it is read."""
    context = client_context(server.ca)
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    return RawClient(context.wrap_socket(raw, server_hostname="localhost"))


def auth(client: RawClient, credential: str) -> bytes:
    return client.ask(b"AUTH %d:%b\n" % (len(credential), credential.encode()))


def is_cut(server: RunningServer, shown: Issued | None) -> str:
    """Why the handshake fails. With TLS 1.3 the client hears it behind its own part."""
    with pytest.raises(ssl.SSLError) as caught, connect(server, shown) as client:
        client.ask(b"PING\n")
    return str(caught.value)


@pytest.mark.parametrize("choice", ["optional", "required"])
@pytest.mark.parametrize(
    "names",
    [
        {"dns": ["shop.example"]},
        {"uris": ["spiffe://x/y"], "common_name": "shop.example"},
        {"dns": ["unknown.example", "shop.example"]},
    ],
    ids=["DNS", "CN", "second"],
)
def test_a_certificate_logs_in_before_the_first_request(
    start: Start, authority: Authority, choice: str, names: dict[str, object]
) -> None:
    server = start(choice)
    with connect(server, authority.issue(**names)) as client:  # type: ignore[arg-type]
        assert client.ask(b"WRITE 1:k 4:mine\n") == b"OK"
        assert client.ask(b"READ 1:k\n") == b"OK 4:mine"
    with server.plain() as other:  # the key's record has a namespace of its own
        assert other.ask(b"READ 1:k\n") == b"MISS"
    assert '"client": "shop", "namespace": "shop"' in server.log()
    assert '"method": "certificate"' in server.log()


def test_a_uri_may_be_the_name(start: Start, authority: Authority) -> None:
    server = start("required")
    add_record(server, "spiffe", "spiffe://cluster/ns/shop")
    with connect(server, authority.issue(uris=["spiffe://cluster/ns/shop"])) as client:
        assert client.ask(b"PING\n") == b"OK"
    assert '"client": "spiffe"' in server.log()


@pytest.mark.parametrize("choice", ["optional", "required"])
def test_a_certificate_of_nobody_is_only_half_of_a_login(start: Start, authority: Authority, choice: str) -> None:
    server = start(choice)
    with connect(server, authority.issue(dns=["nobody.example"])) as client:
        assert client.ask(b"READ 1:k\n").startswith(b"ERR AUTH ")
        assert auth(client, "wrong-key-of-nobody").startswith(b"ERR AUTH ")
        assert auth(client, server.api_key).startswith(b"OK ")
        assert client.ask(b"PING\n") == b"OK"
    assert "the certificate is of no known client: nobody.example" in server.log()
    assert '"method": "api_key"' in server.log()


def test_without_a_certificate(start: Start) -> None:
    optional, required = start("optional"), start("required")
    with connect(optional, None) as client:
        assert client.ask(b"READ 1:k\n").startswith(b"ERR AUTH ")
        assert auth(client, optional.api_key).startswith(b"OK ")
    assert "CERTIFICATE_REQUIRED" in is_cut(required, None)


def test_what_is_not_good_is_refused_in_the_handshake(start: Start, authority: Authority, tmp_path: Path) -> None:
    server = start("required")
    strange = Authority(tmp_path, "strange").issue(dns=["shop.example"])
    assert "UNKNOWN_CA" in is_cut(server, strange)
    assert "EXPIRED" in is_cut(server, authority.issue(dns=["shop.example"], begin=-2 * DAY, life=DAY))
    assert "BAD_CERTIFICATE" in is_cut(server, authority.issue(dns=["shop.example"], begin=DAY, life=DAY))
    with connect(server, authority.issue(raw_names=NO_TEXT)) as client:
        assert client.ask(b"PING\n") == b""
    connections = server.stats()["connections"]
    assert isinstance(connections, dict)
    assert connections["handshake_failures"] == 4
    assert "Traceback" not in server.log()


def test_auth_may_not_change_the_client(start: Start, authority: Authority) -> None:
    server = start("optional")
    with connect(server, authority.issue(dns=["shop.example"])) as client:
        assert auth(client, server.api_key) == (
            b"ERR AUTH :a connection stays with the client that it was authenticated for"
        )
        assert client.ask(b"PING\n") == b"OK"


def test_a_login_ends_with_the_certificate(start: Start, authority: Authority) -> None:
    """And with the tolerance for clocks, which is 5 s for tokens too."""
    server = start("required")
    issued = authority.issue(dns=["shop.example"], begin=-DAY, life=DAY + timedelta(seconds=3))
    with connect(server, issued) as client:
        assert client.ask(b"READ 1:k\n") == b"MISS"
        time.sleep(max(0.0, issued.end.timestamp() - time.time()))
        assert client.ask(b"READ 1:k\n") == b"MISS"
        wait_until(lambda: client.ask(b"READ 1:k\n").startswith(b"ERR EXPIRED "), 8)
        assert time.time() >= issued.end.timestamp() + 5
    assert "EXPIRED" in is_cut(server, issued)


def test_a_revoked_record_logs_nobody_in(start: Start, authority: Authority) -> None:
    server = start("required")
    issued = authority.issue(dns=["shop.example"])
    change(server, lambda records: tuple(record for record in records if record.client != "shop"))
    with connect(server, issued) as client:
        assert client.ask(b"READ 1:k\n").startswith(b"ERR AUTH ")


def test_another_authority_takes_the_place_of_the_old_one(start: Start, authority: Authority, tmp_path: Path) -> None:
    server = start("required")
    old = authority.issue(dns=["shop.example"])
    other = Authority(tmp_path, "other")
    new = other.issue(dns=["shop.example"])
    with connect(server, old) as client:
        assert client.ask(b"PING\n") == b"OK"
        authority.ca.write_bytes(other.ca.read_bytes())
        wait_until(lambda: "and the clients' authority have changed" in server.log(), 2)
        assert client.ask(b"PING\n") == b"OK"
        with connect(server, new) as another:
            assert another.ask(b"PING\n") == b"OK"
        assert "UNKNOWN_CA" in is_cut(server, old)
        authority.ca.write_bytes(b"damaged")
        wait_until(lambda: "it holds no PEM certificate, or a damaged one" in server.log(), 2)
        with connect(server, new) as another:
            assert another.ask(b"PING\n") == b"OK"


# -- the clients


def url_with(server: RunningServer, issued: Issued) -> str:
    return f"wireproto://localhost:{server.port}?ca={server.ca}&cert={issued.certificate}&key={issued.key}"


def test_the_clients_need_no_api_key(start: Start, authority: Authority) -> None:
    server = start("required")
    issued = authority.issue(dns=["shop.example"])
    with Client(url_with(server, issued)) as client:
        assert client.write("k", b"by certificate")

    async def read() -> bytes | None:
        options = {"ca": server.ca, "certificate": issued.certificate, "certificate_key": issued.key}
        async with AsyncClient(f"wireproto://localhost:{server.port}", **options) as client:  # type: ignore[arg-type]
            return await client.read("k")

    assert asyncio.run(read()) == b"by certificate"
    command = [sys.executable, str(REPOSITORY / "client.py"), "--url", f"wireproto://localhost:{server.port}"]
    command += ["--ca", str(server.ca), "--cert", str(issued.certificate), "--cert-key", str(issued.key), "read", "k"]
    done = subprocess.run(command, capture_output=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (0, b"by certificate"), done.stderr


def test_the_clients_are_told_what_is_wrong(start: Start, authority: Authority) -> None:
    server = start("required")
    nobody = authority.issue(dns=["nobody.example"])
    with Client(url_with(server, nobody)) as client, pytest.raises(AuthError, match="log in first"):
        client.read("k")
    with (
        Client(server.url(), retries=0, timeout=3.0) as client,
        pytest.raises((LostError, NodeDownError), match=r"(?i)certificate.required"),
    ):
        client.read("k")


def test_a_certificate_that_cannot_be_used_is_told_at_once(authority: Authority, tmp_path: Path) -> None:
    one, other = authority.issue(), authority.issue()
    encrypted = tmp_path / "encrypted.key"
    command = ["openssl", "pkey", "-in", str(one.key), "-aes256", "-passout", "pass:x", "-out", str(encrypted)]
    subprocess.run(command, check=True, timeout=20)
    for certificate, key, reason in (
        (one.certificate, other.key, "belongs to another"),
        (one.certificate, None, "no PEM"),
        (one.certificate, encrypted, "is encrypted"),
        (tmp_path / "none", one.key, "No such file"),
    ):
        for kind in (Client, AsyncClient):
            with pytest.raises(ConfigurationError, match=reason):
                kind("wireproto://localhost", certificate=certificate, certificate_key=key)
