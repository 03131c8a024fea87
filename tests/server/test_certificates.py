"""Certificates: what is made for development and when it is made anew; what of the user's own is taken and refused."""

from __future__ import annotations

import logging
import multiprocessing
import os
import ssl
import stat
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.server.handshaking import shake_hands
from wireproto.errors import ConfigurationError
from wireproto.server.certificate_making import AUTHORITY_LIFETIME, SERVER_LIFETIME
from wireproto.server.certificates import CertificateFiles, ensure_development_certificates
from wireproto.server.tls_context import server_context

NOW = datetime.now(UTC).replace(microsecond=0)
NAMES = ["ca.key", "ca.pem", "server.key", "server.pem"]
DAY = timedelta(days=1)


# --- Helpers ----------------------------------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in NAMES}


def changed(folder: Path, before: dict[str, bytes]) -> set[str]:
    return {name for name, content in contents(folder).items() if content != before[name]}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refusal(folder: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        ensure_development_certificates(folder, NOW)
    return str(caught.value)


def refused_context(cert: Path, key: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        server_context(CertificateFiles(None, cert, key), "TLSv1.3")
    return str(caught.value)


def openssl(*arguments: str | Path) -> str:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> ssl.SSLObject:
    """The client's end of a connection that stays in memory. Raises ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    shake_hands(*ends)
    return ends[0]


def client_context(ca: Path, maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """A client as strict as newer Pythons are by default."""
    context = ssl.create_default_context(cafile=str(ca))
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.maximum_version = maximum
    return context


def self_signed(
    folder: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, begin: datetime, end: datetime
) -> Path:
    """A certificate and its key, as an operator might have them; the path of the certificate."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    descriptor = os.open(folder / "key.pem", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "cert.pem"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "certs"


@pytest.fixture
def files(folder: Path) -> CertificateFiles:
    return ensure_development_certificates(folder, NOW)


@pytest.fixture
def own(tmp_path: Path) -> CertificateFiles:
    cert = self_signed(tmp_path, ec.generate_private_key(ec.SECP256R1()), NOW - DAY, NOW + DAY)
    return CertificateFiles(None, cert, tmp_path / "key.pem")


@pytest.fixture(scope="session")
def rsa_files(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    """What the command makes that one finds everywhere. It takes a second or two, hence once."""
    folder = tmp_path_factory.mktemp("rsa")
    command = "openssl req -x509 -newkey rsa:4096 -nodes -out cert.pem -keyout key.pem -days 3650 -subj /CN=localhost"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True, timeout=50)
    return CertificateFiles(None, folder / "cert.pem", folder / "key.pem")


# --- What is made -----------------------------------------------------------------------------------------------------


def test_the_first_start_makes_files_of_which_keys_are_private(folder: Path, files: CertificateFiles) -> None:
    assert files == CertificateFiles(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    assert sorted(path.name for path in folder.iterdir() if path.name != ".lock") == NAMES
    assert mode(folder / "ca.key") == mode(folder / "server.key") == 0o600
    assert mode(folder / "ca.pem") & 0o444 == mode(folder / "server.pem") & 0o444 == 0o444


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_strict_clients_accept_every_name(files: CertificateFiles, name: str, version: str) -> None:
    assert files.ca is not None
    client = client_context(files.ca, ssl.TLSVersion[version.replace(".", "_")])
    assert handshake(server_context(files, "TLSv1.2"), client, name).version() == version


@pytest.mark.parametrize("name", ["example.org", "127.0.0.2", "localhost.example.org"])
def test_other_names_are_refused_by_clients(files: CertificateFiles, name: str) -> None:
    assert files.ca is not None
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server_context(files, "TLSv1.3"), client_context(files.ca), name)


def test_openssl_verifies_the_chain(folder: Path, files: CertificateFiles) -> None:
    assert openssl("verify", "-x509_strict", "-CAfile", folder / "ca.pem", folder / "server.pem").endswith("OK\n")
    purpose = ["-purpose", "sslserver", "-verify_hostname", "localhost"]
    assert openssl("verify", *purpose, "-CAfile", folder / "ca.pem", folder / "server.pem").endswith("OK\n")


def test_the_server_certificate_is_what_it_should_be(folder: Path, files: CertificateFiles) -> None:
    text = openssl("x509", "-in", folder / "server.pem", "-noout", "-text")
    lines = [line.strip() for line in text.splitlines()]
    assert "DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1" in lines
    assert "ASN1 OID: prime256v1" in lines
    assert "Signature Algorithm: ecdsa-with-SHA256" in lines
    assert lines[lines.index("X509v3 Extended Key Usage:") + 1] == "TLS Web Server Authentication"
    assert lines[lines.index("X509v3 Key Usage: critical") + 1] == "Digital Signature"
    assert lines[lines.index("X509v3 Basic Constraints: critical") + 1] == "CA:FALSE"
    assert "X509v3 Subject Key Identifier:" in lines
    assert "X509v3 Authority Key Identifier:" in lines
    certificate = x509.load_pem_x509_certificate(files.cert.read_bytes())
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc <= timedelta(days=89)
    assert certificate.not_valid_before_utc <= NOW - timedelta(minutes=5)


def test_the_authority_is_good_for_this_machine_only(folder: Path, files: CertificateFiles) -> None:
    text = openssl("x509", "-in", folder / "ca.pem", "-noout", "-text")
    lines = [line.strip() for line in text.splitlines()]
    assert lines[lines.index("X509v3 Basic Constraints: critical") + 1] == "CA:TRUE, pathlen:0"
    assert lines[lines.index("X509v3 Key Usage: critical") + 1] == "Certificate Sign, CRL Sign"
    constraints = lines.index("X509v3 Name Constraints: critical")
    assert lines[constraints + 1 : constraints + 5] == [
        "Permitted:",
        "DNS:localhost",
        "IP:127.0.0.0/255.0.0.0",
        "IP:0:0:0:0:0:0:0:1/FFFF:FFFF:FFFF:FFFF:FFFF:FFFF:FFFF:FFFF",
    ]


def test_a_certificate_that_the_authority_signs_for_another_name_is_refused(
    folder: Path, files: CertificateFiles
) -> None:
    """Should its key be stolen, it is of no use against other hosts."""
    key = ec.generate_private_key(ec.SECP256R1())
    authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    names = x509.SubjectAlternativeName([x509.DNSName("bank.example")])
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(authority.subject)
    builder = builder.public_key(key.public_key()).serial_number(2).add_extension(names, critical=True)
    builder = builder.not_valid_before(NOW - DAY).not_valid_after(NOW + DAY)
    signing = ssl_key(folder / "ca.key")
    forged = folder / "forged.pem"
    forged.write_bytes(builder.sign(signing, hashes.SHA256()).public_bytes(Encoding.PEM))
    done = subprocess.run(
        ["openssl", "verify", "-CAfile", str(folder / "ca.pem"), str(forged)], capture_output=True, text=True
    )
    assert "permitted subtree violation" in done.stderr


def ssl_key(path: Path) -> ec.EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


# --- When it is made anew ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("later", [timedelta(0), timedelta(minutes=1), SERVER_LIFETIME * 2 / 3 - timedelta(minutes=6)])
def test_what_is_good_stays(folder: Path, files: CertificateFiles, later: timedelta) -> None:
    before = contents(folder)
    assert ensure_development_certificates(folder, NOW + later) == files
    assert not changed(folder, before)


@pytest.mark.parametrize(
    "later",
    [SERVER_LIFETIME * 2 / 3, SERVER_LIFETIME, SERVER_LIFETIME * 3, -timedelta(hours=1)],
    ids=["a third is left", "run out", "long run out", "not valid yet"],
)
def test_a_server_certificate_is_renewed_when_due(folder: Path, files: CertificateFiles, later: timedelta) -> None:
    before = contents(folder)
    ensure_development_certificates(folder, NOW + later)
    if later > timedelta(0):
        assert changed(folder, before) == {"server.pem", "server.key"}
    else:
        assert changed(folder, before) == {"ca.pem", "server.pem", "server.key"}, (
            "the authority is not valid yet either"
        )
    certificate = x509.load_pem_x509_certificate((folder / "server.pem").read_bytes())
    assert certificate.not_valid_before_utc <= NOW + later
    assert certificate.not_valid_after_utc > NOW + later + SERVER_LIFETIME * 2 / 3


def test_a_server_certificate_that_is_not_its_keys_is_renewed(
    folder: Path, files: CertificateFiles, own: CertificateFiles
) -> None:
    before = contents(folder)
    files.key.write_bytes(own.key.read_bytes())
    ensure_development_certificates(folder, NOW)
    assert changed(folder, before) == {"server.pem", "server.key"}
    server_context(files, "TLSv1.3")


def test_a_server_certificate_of_another_authority_is_renewed(folder: Path, tmp_path: Path) -> None:
    files = ensure_development_certificates(folder, NOW)
    other = ensure_development_certificates(tmp_path / "other", NOW)
    files.cert.write_bytes(other.cert.read_bytes())
    files.key.write_bytes(other.key.read_bytes())
    before = contents(folder)
    ensure_development_certificates(folder, NOW)
    assert changed(folder, before) == {"server.pem", "server.key"}
    assert files.ca is not None
    handshake(server_context(files, "TLSv1.3"), client_context(files.ca), "localhost")


@pytest.mark.parametrize("missing", [["server.pem"], ["server.key"], ["server.pem", "server.key"]])
def test_what_is_missing_of_the_server_is_made(folder: Path, files: CertificateFiles, missing: list[str]) -> None:
    before = contents(folder)
    for name in missing:
        (folder / name).unlink()
    ensure_development_certificates(folder, NOW)
    assert changed(folder, before) == {"server.pem", "server.key"}


def test_an_authority_near_its_end_is_renewed_and_old_clients_go_on(
    folder: Path, files: CertificateFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = contents(folder)
    (tmp_path / "old-ca.pem").write_bytes(before["ca.pem"])
    ensure_development_certificates(folder, NOW + AUTHORITY_LIFETIME - SERVER_LIFETIME - DAY)
    assert "ca.pem" not in changed(folder, before)
    ensure_development_certificates(folder, NOW + AUTHORITY_LIFETIME - SERVER_LIFETIME + DAY)
    assert "ca.pem" in changed(folder, before)
    assert "ca.key" not in changed(folder, before)
    assert "clients that trust the old one go on" in caplog.text
    # At the moment of the renewal, when both authorities are valid, either one verifies the server.
    moment = str(int((NOW + AUTHORITY_LIFETIME - SERVER_LIFETIME + DAY).timestamp()))
    for ca in (tmp_path / "old-ca.pem", folder / "ca.pem"):
        assert openssl("verify", "-attime", moment, "-CAfile", ca, files.cert).endswith("OK\n")


def test_a_lost_authority_certificate_is_made_from_its_key(folder: Path, files: CertificateFiles) -> None:
    before = contents(folder)
    (folder / "ca.pem").unlink()
    ensure_development_certificates(folder, NOW)
    assert changed(folder, before) == {"ca.pem"}


def test_an_authority_certificate_of_another_key_is_made_anew(
    folder: Path, files: CertificateFiles, own: CertificateFiles, caplog: pytest.LogCaptureFixture
) -> None:
    before = contents(folder)
    (folder / "ca.pem").write_bytes(own.cert.read_bytes())
    ensure_development_certificates(folder, NOW)
    assert changed(folder, before) == {"ca.pem"}
    assert "with another key: clients must load it" in caplog.text


def test_an_authority_whose_key_was_taken_away_is_good_until_it_must_sign(
    folder: Path, files: CertificateFiles, caplog: pytest.LogCaptureFixture
) -> None:
    before = contents(folder)
    (folder / "ca.key").unlink()
    ensure_development_certificates(folder, NOW)
    assert not (folder / "ca.key").exists()
    assert not caplog.records
    ensure_development_certificates(folder, NOW + SERVER_LIFETIME)
    assert changed(folder, before) == set(NAMES)
    assert "with another key: clients must load it" in caplog.text


@pytest.mark.parametrize("written", [["ca.key"], ["ca.key", "ca.pem"], ["ca.key", "ca.pem", "server.key"]])
def test_a_first_start_that_was_cut_short_is_finished_by_the_next(
    folder: Path, files: CertificateFiles, written: list[str]
) -> None:
    before = contents(folder)
    for name in set(NAMES) - set(written):
        (folder / name).unlink()
    (folder / ".server.pem.new").write_text("half of")
    ensure_development_certificates(folder, NOW)
    assert not changed(folder, before) & {"ca.key"}
    assert files.ca is not None
    handshake(server_context(files, "TLSv1.3"), client_context(files.ca), "localhost")


# --- Damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "content", [b"", b"not PEM", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_damaged_files_are_refused_and_kept(folder: Path, files: CertificateFiles, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    before = contents(folder)
    text = refusal(folder)
    assert str(folder / name) in text
    assert "remove it to have it made again" in text
    assert ("clients must load the new ca.pem" in text) == name.startswith("ca")
    assert not changed(folder, before)
    (folder / name).unlink()
    ensure_development_certificates(folder, NOW)
    server_context(files, "TLSv1.3")


def test_a_file_cut_anywhere_is_refused(folder: Path, files: CertificateFiles) -> None:
    whole = files.cert.read_bytes()
    for length in range(0, len(whole) - 2, 97):
        files.cert.write_bytes(whole[:length])
        assert "not a PEM certificate" in refusal(folder)


def test_a_key_that_was_not_made_here_is_not_overwritten(folder: Path, tmp_path: Path, files: CertificateFiles) -> None:
    self_signed(tmp_path, rsa.generate_private_key(65537, 2048), NOW - DAY, NOW + DAY)
    files.key.write_bytes((tmp_path / "key.pem").read_bytes())
    assert "not made here" in refusal(folder)
    assert "--cert and --key" in refusal(folder)


def test_a_certificate_that_was_not_made_here_is_not_overwritten(folder: Path) -> None:
    folder.mkdir()
    self_signed(folder, ec.generate_private_key(ec.SECP256R1()), NOW - DAY, NOW + DAY).rename(folder / "server.pem")
    (folder / "key.pem").rename(folder / "server.key")
    before = (folder / "server.pem").read_bytes(), (folder / "server.key").read_bytes()
    assert "not made here" in refusal(folder)
    assert before == ((folder / "server.pem").read_bytes(), (folder / "server.key").read_bytes())


def test_a_clock_that_was_set_back_makes_valid_ones(folder: Path, files: CertificateFiles) -> None:
    ensure_development_certificates(folder, NOW - 100 * DAY)
    authority, server = (
        x509.load_pem_x509_certificate((folder / name).read_bytes()) for name in ("ca.pem", "server.pem")
    )
    assert max(authority.not_valid_before_utc, server.not_valid_before_utc) <= NOW - 100 * DAY
    server.verify_directly_issued_by(authority)


def test_a_folder_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in refusal(tmp_path / "file")
    assert "Not a directory" in refusal(tmp_path / "file" / "certs")


def test_a_key_that_others_can_read_is_refused(folder: Path, files: CertificateFiles) -> None:
    (folder / "ca.key").chmod(0o644)
    assert refusal(folder) == (
        f"private key {folder / 'ca.key'}: it holds a secret, and other users can use it (mode 0644);"
        f" run: chmod 600 {folder / 'ca.key'}"
    )
    (folder / "ca.key").chmod(0o600)
    ensure_development_certificates(folder, NOW)


# --- Several at once --------------------------------------------------------------------------------------------------


def ensure_when_all_are_ready(folder: Path, barrier: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    files = ensure_development_certificates(folder, NOW)
    server_context(files, "TLSv1.3")


def test_processes_that_start_at_once_end_with_one_set_of_files(tmp_path: Path) -> None:
    processes = multiprocessing.get_context("fork")
    for attempt in range(3):
        barrier = processes.Barrier(4)
        folder = tmp_path / str(attempt)
        started = [processes.Process(target=ensure_when_all_are_ready, args=(folder, barrier)) for _ in range(4)]
        for process in started:
            process.start()
        for process in started:
            process.join(30)
        assert [process.exitcode for process in started] == [0] * 4
        assert openssl("verify", "-CAfile", folder / "ca.pem", folder / "server.pem").endswith("OK\n")


def test_threads_that_start_at_once_end_with_one_set_of_files(folder: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: ensure_and_read(folder), range(16)))
    assert all(one == made[0] for one in made)


def ensure_and_read(folder: Path) -> dict[str, bytes]:
    ensure_development_certificates(folder, NOW)
    return contents(folder)


# --- TLS --------------------------------------------------------------------------------------------------------------


def test_tls_1_2_is_refused_unless_it_is_allowed(files: CertificateFiles) -> None:
    assert files.ca is not None
    old = client_context(files.ca, ssl.TLSVersion.TLSv1_2)
    with pytest.raises(ssl.SSLError):
        handshake(server_context(files, "TLSv1.3"), old, "localhost")
    assert handshake(server_context(files, "TLSv1.2"), old, "localhost").version() == "TLSv1.2"


def test_nothing_older_than_tls_1_2_is_ever_accepted(files: CertificateFiles) -> None:
    for minimum, version in (("TLSv1.2", ssl.TLSVersion.TLSv1_2), ("TLSv1.3", ssl.TLSVersion.TLSv1_3)):
        context = server_context(files, minimum)
        assert context.minimum_version is version
        assert context.options & ssl.OP_NO_RENEGOTIATION
        assert context.options & ssl.OP_NO_COMPRESSION


def test_the_ciphers_are_authenticated_and_forward_secret(files: CertificateFiles) -> None:
    ciphers = server_context(files, "TLSv1.2").get_ciphers()
    assert {cipher["protocol"] for cipher in ciphers} == {"TLSv1.2", "TLSv1.3"}
    for cipher in ciphers:
        assert "GCM" in cipher["name"] or "CHACHA20" in cipher["name"]
        assert cipher["name"].startswith(("ECDHE-", "TLS_")), cipher["name"]


@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA"])
def test_weak_ciphers_are_refused(files: CertificateFiles, cipher: str) -> None:
    assert files.ca is not None
    client = client_context(files.ca, ssl.TLSVersion.TLSv1_2)
    client.set_ciphers(cipher)
    with pytest.raises(ssl.SSLError):
        handshake(server_context(files, "TLSv1.2"), client, "localhost")


# --- The user's own ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_the_certificate_of_the_usual_command_is_accepted(
    rsa_files: CertificateFiles, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = ssl.create_default_context(cafile=str(rsa_files.cert))
    client.check_hostname = False  # the command puts no name where clients look for one
    client.maximum_version = ssl.TLSVersion[version.replace(".", "_")]
    assert handshake(server_context(rsa_files, "TLSv1.2"), client, "localhost").version() == version
    assert not caplog.records


def test_a_chain_and_a_key_may_be_in_one_file(own: CertificateFiles, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(own.key.read_bytes() + own.cert.read_bytes())
    both.chmod(0o600)
    server_context(CertificateFiles(None, both, both), "TLSv1.3")


@pytest.mark.parametrize(("what", "named"), [("certificate", "cert"), ("private key", "key")])
def test_a_missing_file_is_named(own: CertificateFiles, tmp_path: Path, what: str, named: str) -> None:
    getattr(own, named).unlink()
    assert refused_context(own.cert, own.key) == f"{what} {getattr(own, named)}: No such file or directory"
    getattr(own, named).mkdir()
    assert refused_context(own.cert, own.key) == f"{what} {getattr(own, named)}: Is a directory"


@pytest.mark.parametrize(
    "make", [lambda: ec.generate_private_key(ec.SECP256R1()), lambda: rsa.generate_private_key(65537, 2048)]
)
def test_a_key_of_another_certificate_is_refused(
    own: CertificateFiles, tmp_path: Path, make: Callable[[], ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    self_signed(other, make(), NOW - DAY, NOW + DAY)
    key = other / "key.pem"
    assert refused_context(own.cert, key) == f"private key {key}: does not belong to certificate {own.cert}"


@pytest.mark.parametrize("options", [["-aes256"], ["-aes256", "-traditional"]], ids=["PKCS8", "traditional"])
def test_an_encrypted_key_is_refused_without_asking(own: CertificateFiles, tmp_path: Path, options: list[str]) -> None:
    encrypted = tmp_path / "encrypted.pem"
    openssl("pkey", "-in", own.key, *options, "-passout", "pass:secret", "-out", encrypted)
    text = refused_context(own.cert, encrypted)
    assert text.startswith(f"private key {encrypted}: it is encrypted")
    assert f"openssl pkey -in {encrypted} -out " in text


def test_what_is_not_pem_is_refused_by_name(own: CertificateFiles, tmp_path: Path) -> None:
    der, text, empty = tmp_path / "cert.der", tmp_path / "text", tmp_path / "empty"
    openssl("x509", "-in", own.cert, "-outform", "der", "-out", der)
    text.write_text("hello")
    empty.write_text("")
    for path in (text, empty, own.cert):
        path.chmod(0o600)
    assert refused_context(der, own.key).startswith(f"certificate {der}: it holds no PEM certificate")
    assert f"openssl x509 -inform der -in {der}" in refused_context(der, own.key)
    for path in (text, empty):
        assert refused_context(path, own.key).startswith(f"certificate {path}: it holds no PEM certificate")
        assert refused_context(own.cert, path) == f"private key {path}: it holds no PEM private key"
    # The two in each other's place.
    assert "it holds no PEM certificate" in refused_context(own.key, own.cert)
    assert refused_context(own.cert, own.cert) == f"private key {own.cert}: it holds no PEM private key"


def test_damage_is_told_of_the_right_file(own: CertificateFiles, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.pem"
    damaged.write_bytes(own.cert.read_bytes().replace(b"M", b"!", 1))
    damaged.chmod(0o600)
    assert refused_context(damaged, own.key) == f"certificate {damaged}: it is damaged"
    damaged.write_bytes(own.key.read_bytes()[:60] + b"\n-----END PRIVATE KEY-----\n")
    assert str(damaged) in refused_context(own.cert, damaged)
    assert "it is damaged" in refused_context(own.cert, damaged)


def test_what_openssl_thinks_too_weak_is_refused_with_its_reason(tmp_path: Path) -> None:
    command = "openssl req -x509 -newkey rsa:1024 -nodes -out cert.pem -keyout key.pem -days 9 -subj /CN=localhost"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True, timeout=30)
    probe = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        probe.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    except ssl.SSLError:
        assert "OpenSSL says: ee key too small" in refused_context(tmp_path / "cert.pem", tmp_path / "key.pem")
    else:
        pytest.skip("this OpenSSL takes it")


@pytest.mark.parametrize(
    ("begin", "end", "warning"),
    [(-2, -1, "ran out on"), (1, 2, "is not valid before"), (-1, 1, None)],
    ids=["run out", "not valid yet", "valid"],
)
def test_a_certificate_out_of_its_time_is_warned_of_and_accepted(
    tmp_path: Path, begin: int, end: int, warning: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    cert = self_signed(tmp_path, ec.generate_private_key(ec.SECP256R1()), NOW + begin * DAY, NOW + end * DAY)
    server_context(CertificateFiles(None, cert, tmp_path / "key.pem"), "TLSv1.3")
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [warning in message for message in messages if warning] == ([True] if warning else [])
    assert len(messages) == (1 if warning else 0)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o622])
def test_a_key_that_others_can_use_is_refused(own: CertificateFiles, mode: int) -> None:
    own.key.chmod(mode)
    assert refused_context(own.cert, own.key) == (
        f"private key {own.key}: it holds a secret, and other users can use it (mode {mode:04o});"
        f" run: chmod 600 {own.key}"
    )
    own.key.chmod(0o400)
    own.cert.chmod(0o644)
    server_context(own, "TLSv1.3")
