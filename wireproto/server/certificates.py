"""Certificates: the user's own, or a development authority and a server certificate made by it.

The authority stays for years, so that clients that trust it need not be touched; the server's certificate is
short-lived, and made anew at a start when a third of its life or less is left. ECDSA P-256, at most 89 days: what
Mozilla's "modern" profile asks for (https://wiki.mozilla.org/Security/Server_Side_TLS).
"""

from __future__ import annotations

import fcntl
import ipaddress
import logging
import os
import ssl
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wireproto.errors import ConfigurationError

AUTHORITY_LIFETIME: Final = timedelta(days=3650)
SERVER_LIFETIME: Final = timedelta(days=89)
RENEW_BEFORE_END: Final = SERVER_LIFETIME / 3
_CLOCK_SKEW: Final = timedelta(minutes=5)
_HOST_NAMES: Final = ("localhost",)
_ADDRESSES: Final = ("127.0.0.1", "::1")
_TLS_1_2_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"

log = logging.getLogger("wireproto.certificates")


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM files. `ca` is what clients are to trust; None if that is not ours to say."""

    ca: Path | None
    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class _Pair:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def ensure_development_certificates(folder: Path, now: datetime) -> CertificateFiles:
    """The development certificates in `folder`, made or renewed where that is due at the time `now` (with a zone).

    Raises ConfigurationError when the folder cannot be used or a file in it is damaged.
    """
    files = CertificateFiles(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    assert files.ca is not None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            authority = _read_pair(files.ca, folder / "ca.key")
            if authority is None or authority.certificate.not_valid_after_utc - now < SERVER_LIFETIME:
                authority = _make_authority(now)
                _write_pair(authority, files.ca, folder / "ca.key")
            server = _read_pair(files.cert, files.key)
            if server is None or not _still_good(server, authority, now):
                _write_pair(_make_server(authority, now), files.cert, files.key)
    except OSError as error:
        raise ConfigurationError(f"certificates in {folder}: {error.strerror or error}") from None
    return files


def server_context(files: CertificateFiles, minimum: str) -> ssl.SSLContext:
    """TLS for the server, of the version `minimum` (`TLSv1.3` or `TLSv1.2`) or newer.

    The curves are OpenSSL's own choice, X25519 first: Python 3.11 can set only one. Raises ConfigurationError.
    """
    _check_key_file(files.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion[minimum.replace(".", "_")]
    context.set_ciphers(_TLS_1_2_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(files.cert, files.key, password=_no_password)
    except ssl.SSLError as error:
        raise ConfigurationError(_load_problem(files, error)) from None
    except OSError as error:
        raise ConfigurationError(f"certificate {files.cert}: {error.strerror or error}") from None
    _warn_if_expired(files.cert)
    return context


# -- making


def _make_authority(now: datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wireproto development authority")])
    builder = _builder(name, name, key, now, AUTHORITY_LIFETIME)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(for_authority=True), critical=True)
    # The authority's key lies on a developer's disk: it must be good for this machine's names only.
    permitted: list[x509.GeneralName] = [x509.DNSName(name) for name in _HOST_NAMES]
    permitted += [x509.IPAddress(ipaddress.ip_network(address)) for address in ("127.0.0.0/8", "::1/128")]
    builder = builder.add_extension(x509.NameConstraints(permitted, None), critical=True)
    return _Pair(builder.sign(key, hashes.SHA256()), key)


def _make_server(authority: _Pair, now: datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    builder = _builder(name, authority.certificate.subject, key, now, SERVER_LIFETIME)
    names: list[x509.GeneralName] = [x509.DNSName(host) for host in _HOST_NAMES]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in _ADDRESSES]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(for_authority=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = builder.add_extension(issuer, critical=False)
    return _Pair(builder.sign(authority.key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now - _CLOCK_SKEW + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, for_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not for_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=for_authority,
        crl_sign=for_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _still_good(server: _Pair, authority: _Pair, now: datetime) -> bool:
    """Whether the server's certificate is of this authority and has time left."""
    certificate = server.certificate
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except Exception:  # the library raises several kinds, and any of them means no
        return False
    return certificate.not_valid_before_utc <= now and certificate.not_valid_after_utc - now > RENEW_BEFORE_END


# -- files


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Two servers that start at once must not mix their files."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read_pair(certificate_path: Path, key_path: Path) -> _Pair | None:
    """A certificate and its key; None if either is not there, or if they do not belong together."""
    if not certificate_path.exists() or not key_path.exists():
        return None
    try:
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        key = load_pem_private_key(key_path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f"certificates {certificate_path}, {key_path}: damaged ({error}); remove both to have them made again"
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or _public_bytes(key.public_key()) != _public_bytes(
        certificate.public_key()
    ):
        return None
    return _Pair(certificate, key)


def _public_bytes(key: object) -> bytes:
    assert hasattr(key, "public_bytes")
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _write_pair(pair: _Pair, certificate_path: Path, key_path: Path) -> None:
    """Write the key first: a certificate without its key would be of no use to anybody."""
    key = pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write(key_path, key, 0o600)
    _write(certificate_path, pair.certificate.public_bytes(Encoding.PEM), 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        file.write(content)
    temporary.replace(path)


# -- what can be wrong with the user's own


def _no_password() -> str:
    """A server that starts by itself cannot be asked for one."""
    raise ConfigurationError("the private key is encrypted; wireproto takes it without a password, from a file of 0600")


def _check_key_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigurationError(f"private key {path}: {error.strerror or error}") from None
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        log.warning("private key %s can be read by other users; run: chmod 600 %s", path, path)


def _load_problem(files: CertificateFiles, error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"private key {files.key}: does not belong to certificate {files.cert}"
    return f"certificate {files.cert} or key {files.key}: not a PEM certificate or key ({error.reason or error})"


def _warn_if_expired(path: Path) -> None:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    if certificate.not_valid_after_utc < datetime.now(UTC):
        log.warning(
            "certificate %s ran out on %s: clients will refuse it", path, certificate.not_valid_after_utc.date()
        )
