"""The server's context with client certificates, by real handshakes in memory; and how its material travels."""

from __future__ import annotations

import gc
import json
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.authority import DAY, Authority, Issued
from tests.server.handshaking import shake_hands
from wireproto.errors import ConfigurationError
from wireproto.server import tls_context
from wireproto.server.certificates import CertificateFiles, ensure_development_certificates
from wireproto.server.peer_certificate import certificate_end, certificate_names
from wireproto.server.tls_context import check_client_ca, load_tls, make_context
from wireproto.server.tls_material import TlsMaterial

# A name that is no text: bytes FF FE, as a DNS name.
NO_TEXT = bytes.fromhex("3004" + "8202" + "fffe")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder)


@pytest.fixture(scope="module")
def files(folder: Path, authority: Authority) -> CertificateFiles:
    made = ensure_development_certificates(folder / "certs", datetime.now(UTC))
    return CertificateFiles(made.ca, made.cert, made.key, authority.ca)


def client(files: CertificateFiles, shown: Issued | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(files.ca))
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    return context


def server_end(files: CertificateFiles, choice: str, shown: Issued | None) -> ssl.SSLObject:
    """The server's end of a connection, after the client has sent its part too. Raises ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = make_context(load_tls(files, "TLSv1.3", choice), "TLSv1.3", choice)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    ends = [client(files, shown).wrap_bio(to_client, to_server, server_hostname="localhost"), server]
    shake_hands(*ends)
    return server


# -- client certificates


@pytest.mark.parametrize("choice", ["optional", "required"])
def test_a_certificate_of_the_authority_is_shown_with_its_names(
    files: CertificateFiles, authority: Authority, choice: str
) -> None:
    issued = authority.issue(dns=["a.example", "b.example"], uris=["spiffe://x/y"], common_name="shop")
    found = server_end(files, choice, issued).getpeercert()
    assert found is not None
    assert certificate_names(found) == ["a.example", "b.example", "spiffe://x/y", "shop"]
    assert certificate_end(found) == issued.end.timestamp()


def test_names_come_in_their_order_and_once(files: CertificateFiles, authority: Authority) -> None:
    issued = authority.issue(uris=["spiffe://x"], dns=["shop"], common_name="shop")
    found = server_end(files, "required", issued).getpeercert()
    assert certificate_names(found or {}) == ["shop", "spiffe://x"]
    nameless = server_end(files, "required", authority.issue()).getpeercert()
    assert certificate_names(nameless or {}) == []


def test_who_has_none_comes_in_where_it_is_optional(files: CertificateFiles) -> None:
    assert server_end(files, "optional", None).getpeercert() is None
    assert server_end(files, "off", None).getpeercert() is None
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        server_end(files, "required", None)


def test_where_they_are_off_none_is_asked_for(files: CertificateFiles, authority: Authority) -> None:
    assert server_end(files, "off", authority.issue(common_name="shop")).getpeercert() is None


@pytest.mark.parametrize("choice", ["optional", "required"])
def test_what_is_not_good_is_refused(files: CertificateFiles, authority: Authority, folder: Path, choice: str) -> None:
    strange = Authority(folder, "strange").issue(common_name="shop")
    over = authority.issue(common_name="shop", begin=-2 * DAY, life=DAY)
    early = authority.issue(common_name="shop", begin=DAY, life=DAY)
    for issued, reason in ((strange, "unable to get local issuer"), (over, "has expired"), (early, "not yet valid")):
        with pytest.raises(ssl.SSLCertVerificationError, match=reason):
            server_end(files, choice, issued)


def test_no_session_is_resumed_that_would_not_be_verified_again(files: CertificateFiles) -> None:
    for choice, tickets in (("off", 2), ("optional", 0), ("required", 0)):
        assert make_context(load_tls(files, "TLSv1.2", choice), "TLSv1.2", choice).num_tickets == tickets


def test_names_that_are_no_text_have_a_known_error(files: CertificateFiles, authority: Authority) -> None:
    """`TlsLink` ends such a connection."""
    server = server_end(files, "required", authority.issue(raw_names=NO_TEXT))
    with pytest.raises(ValueError, match="decode"):
        server.getpeercert()


# -- the authority's file


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\xff\xfe"],
)
def test_a_client_authority_that_is_none_is_refused(files: CertificateFiles, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(content)
    bad = CertificateFiles(files.ca, files.cert, files.key, path)
    for look in (lambda: load_tls(bad, "TLSv1.3", "optional"), lambda: check_client_ca(path)):
        with pytest.raises(ConfigurationError) as caught:
            look()
        assert str(caught.value) == f"client authority {path}: it holds no PEM certificate, or a damaged one"


def test_a_second_authority_that_is_damaged_does_not_pass_unseen(files: CertificateFiles, tmp_path: Path) -> None:
    assert files.client_ca is not None
    good = files.client_ca.read_text()
    path = tmp_path / "ca.pem"
    path.write_text(f"# Autorität\n{good}\n{good}")
    check_client_ca(path)
    path.write_text(good + good.replace("M", "!", 1))
    with pytest.raises(ConfigurationError):
        check_client_ca(path)


def test_a_missing_client_authority_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"client authority .*/none.pem: No such file or directory"):
        check_client_ca(tmp_path / "none.pem")


# -- material


def test_material_arrives_as_it_was_sent(files: CertificateFiles) -> None:
    material = load_tls(files, "TLSv1.3", "required")
    assert TlsMaterial.from_json(json.loads(json.dumps(material.to_json()))) == material
    assert b"PRIVATE KEY" in material.key
    assert "PRIVATE KEY" not in repr(material)
    without = TlsMaterial.read(CertificateFiles(None, files.cert, files.key))
    assert TlsMaterial.from_json(json.loads(json.dumps(without.to_json()))) == without


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_context_needs_no_file_any_more(
    files: CertificateFiles, in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a worker is given that starts while the files are damaged."""
    material = load_tls(files, "TLSv1.3", "required")
    gone = CertificateFiles(None, Path("/gone/cert.pem"), Path("/gone/key.pem"), Path("/gone/ca.pem"))
    if not in_memory:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    gc.collect()  # what other tests have left must not be closed in between
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    context = make_context(
        TlsMaterial(gone, material.certificate, material.key, material.client_ca), "TLSv1.3", "required"
    )
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert [one["subject"] for one in context.get_ca_certs()] == [((("commonName", "authority"),),)]
    if descriptors:
        assert len(os.listdir("/proc/self/fd")) == descriptors


def test_the_dates_are_told_once_when_it_is_loaded(
    folder: Path, files: CertificateFiles, caplog: pytest.LogCaptureFixture
) -> None:
    old = ensure_development_certificates(folder / "old", datetime.now(UTC) - timedelta(days=100))
    material = load_tls(old, "TLSv1.3")
    make_context(material, "TLSv1.3")
    assert [record.name for record in caplog.records] == [tls_context.log.name]
    assert "ran out on" in caplog.text
