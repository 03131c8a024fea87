"""Which groups keys are exchanged in, by real handshakes in memory."""

from __future__ import annotations

import logging
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.server.test_certificates import client_context, handshake
from wireproto.server import tls_groups
from wireproto.server.certificates import CertificateFiles, ensure_development_certificates
from wireproto.server.tls_context import server_context

ALLOWED = ["X25519", "prime256v1", "secp384r1"]
OTHERS = ["X448", "secp521r1", "secp224r1", "secp256k1", "brainpoolP256r1"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    return ensure_development_certificates(tmp_path_factory.mktemp("certs"), datetime.now(UTC))


def client_of(ca: Path | None, group: str) -> ssl.SSLContext:
    assert ca is not None
    client = client_context(ca)
    client.set_ecdh_curve(group)
    return client


@pytest.mark.parametrize("group", ALLOWED)
def test_the_groups_of_the_modern_profile(files: CertificateFiles, group: str) -> None:
    handshake(server_context(files, "TLSv1.3"), client_of(files.ca, group), "localhost")


@pytest.mark.parametrize("group", OTHERS)
def test_no_others(files: CertificateFiles, group: str) -> None:
    with pytest.raises(ssl.SSLError):
        handshake(server_context(files, "TLSv1.3"), client_of(files.ca, group), "localhost")


def test_where_openssl_cannot_be_told_it_is_p_256_alone(
    files: CertificateFiles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(tls_groups, "_set_groups", lambda context: False)
    server = server_context(files, "TLSv1.3")
    assert "P-256 only" in caplog.text
    handshake(server, client_of(files.ca, "prime256v1"), "localhost")
    with pytest.raises(ssl.SSLError):
        handshake(server, client_of(files.ca, "X25519"), "localhost")


@pytest.mark.parametrize("library", ["/no/such/library.so", __file__])
def test_a_library_without_openssl_is_not_used(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import _ssl

    monkeypatch.setattr(_ssl, "__file__", library)
    assert not tls_groups._set_groups(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))


def test_another_python_is_not_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_groups.sys.implementation, "name", "pypy")
    assert not tls_groups._set_groups(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))


def test_no_group_that_openssl_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_groups, "GROUPS", "X25519:no-such-group")
    assert not tls_groups._set_groups(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
