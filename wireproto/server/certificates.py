"""Certificates: the user's own, or a development authority and a server certificate made by it.

The authority stays for years, and its key for good, so that clients that trust it need not be touched; the server's
certificate is short-lived, and made anew when a third of its life or less is left. ECDSA P-256, at most 89
days: what Mozilla's "modern" profile asks for (https://wiki.mozilla.org/Security/Server_Side_TLS).
"""

from __future__ import annotations

import fcntl
import logging
import os
import ssl
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from wireproto.errors import ConfigurationError
from wireproto.server.certificate_making import AUTHORITY_NAME, SERVER_LIFETIME, Pair, make_authority, make_server

RENEW_BEFORE_END: Final = SERVER_LIFETIME / 3
_TLS_1_2_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Forward secrecy and authenticated encryption only. TLS 1.3 has nothing else; this does not touch its ciphers."""
_NOT_A_PAIR: Final = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
"""OpenSSL's reasons for a key that is not the certificate's; the last one if the algorithms differ."""

log = logging.getLogger("wireproto.certificates")


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM files. `ca` is what clients are to trust; None if that is not ours to say."""

    ca: Path | None
    cert: Path
    key: Path


def ensure_development_certificates(folder: Path, now: datetime) -> CertificateFiles:
    """The development certificates in `folder`, made or renewed where that is due at the time `now` (with a zone).

    Raises ConfigurationError when the folder cannot be used or a file in it is damaged.
    """
    files = CertificateFiles(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            _ensure(folder, files, now)
    except OSError as error:
        raise ConfigurationError(f"certificates folder {folder}: {error.strerror or error}") from None
    return files


def _ensure(folder: Path, files: CertificateFiles, now: datetime) -> None:
    """Make what is missing or due. An authority whose key has been taken away is good until it has to sign."""
    ca, ca_key = folder / "ca.pem", folder / "ca.key"
    certificate, key = _read_certificate(ca), _read_key(ca_key)
    server, server_key = _read_certificate(files.cert), _read_key(files.key)
    if server is not None and server.issuer != AUTHORITY_NAME:
        raise _damaged(files.cert, "it was not made here")
    lasts = certificate is not None and _lasts(certificate, key, now)
    good = certificate is not None and server is not None and _still_good(server, server_key, certificate, now)
    if lasts and good:
        return
    authority = Pair(certificate, key) if lasts and certificate is not None and key is not None else None
    if authority is None:
        if certificate is not None:
            same = key is not None and _belong_together(certificate, key)
            trusted = "clients that trust the old one go on" if same else "with another key: clients must load it"
            log.warning("the development authority %s is made anew; %s", ca, trusted)
        authority = make_authority(key or ec.generate_private_key(ec.SECP256R1()), now)
        _write_pair(authority, ca, ca_key)
    if server is None or not _still_good(server, server_key, authority.certificate, now):
        _write_pair(make_server(authority, now), files.cert, files.key)


def server_context(files: CertificateFiles, minimum: str) -> ssl.SSLContext:
    """TLS for the server, of the version `minimum` (`TLSv1.3` or `TLSv1.2`) or newer.

    The curves are OpenSSL's own choice, X25519 first: Python 3.11 can set only one, and not X25519. Session tickets are
    OpenSSL's defaults too. Raises ConfigurationError when a file is missing or cannot work; what clients may refuse or
    others may read is logged as a warning.
    """
    content = _read_own(files.cert, "certificate")
    key_content = _read_own(files.key, "private key")
    _warn_if_shared(files.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion[minimum.replace(".", "_")]
    context.set_ciphers(_TLS_1_2_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION

    def no_password() -> str:
        # Without this OpenSSL asks at the terminal, where nobody may be.
        raise ConfigurationError(
            f"private key {files.key}: it is encrypted; write it without a password, into a file of mode 0600: "
            f"openssl pkey -in {files.key} -out plain.key"
        )

    try:
        context.load_cert_chain(files.cert, files.key, password=no_password)
    except ssl.SSLError as error:
        raise ConfigurationError(_load_problem(files, content, key_content, error)) from None
    except OSError as error:
        raise ConfigurationError(f"certificate {files.cert}: {error.strerror or error}") from None
    _warn_of_dates(files.cert, content)
    return context


# -- what is due


def _lasts(authority: x509.Certificate, key: ec.EllipticCurvePrivateKey | None, now: datetime) -> bool:
    """Whether an authority outlives what it would sign now. If its key is there, it must be its key."""
    if key is not None and not _belong_together(authority, key):
        return False
    return authority.not_valid_before_utc <= now and authority.not_valid_after_utc - now >= SERVER_LIFETIME


def _still_good(
    server: x509.Certificate, key: ec.EllipticCurvePrivateKey | None, authority: x509.Certificate, now: datetime
) -> bool:
    """Whether the server's certificate has its key, is of this authority and has time left."""
    if key is None or not _belong_together(server, key):
        return False
    try:
        server.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):  # another issuer, another kind of key, another key
        return False
    return server.not_valid_before_utc <= now and server.not_valid_after_utc - now > RENEW_BEFORE_END


def _belong_together(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bool:
    return certificate.public_key() == key.public_key()


# -- files


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Two servers that start at once must not mix their files."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read_certificate(path: Path) -> x509.Certificate | None:
    """The certificate in a file; None if there is no file. Raises ConfigurationError, OSError."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        raise _damaged(path, "it is not a PEM certificate") from None


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    """The private key in a file; None if there is no file. Raises ConfigurationError, OSError."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _damaged(path, "it is not a PEM private key without a password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _damaged(path, "it is not an ECDSA key, so it was not made here")
    _warn_if_shared(path)
    return key


def _damaged(path: Path, reason: str) -> ConfigurationError:
    """The error for a file that is not overwritten, as it may be somebody's work."""
    remedy = "remove it to have it made again"
    if path.name.startswith("ca"):
        remedy += " (without the old ca.key clients must load the new ca.pem)"
    return ConfigurationError(
        f"certificates folder: {path}: {reason}; restore it, or {remedy}. A certificate of your own is named with "
        "--cert and --key"
    )


def _write_pair(pair: Pair, certificate_path: Path, key_path: Path) -> None:
    """Write the key first: should the start end in between, the next one finds a key, and makes its certificate."""
    key = pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write(key_path, key, 0o600)
    _write(certificate_path, pair.certificate.public_bytes(Encoding.PEM), 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


# -- what can be wrong with the user's own


def _read_own(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{what} {path}: {error.strerror or error}") from None


def _warn_if_shared(key: Path) -> None:
    if key.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        log.warning("private key %s can be read by other users; run: chmod 600 %s", key, key)


def _load_problem(files: CertificateFiles, content: bytes, key_content: bytes, error: ssl.SSLError) -> str:
    """What OpenSSL means, which for most of these says `PEM lib` and not of which file."""
    if error.reason in _NOT_A_PAIR:
        return f"private key {files.key}: does not belong to certificate {files.cert}"
    if b"CERTIFICATE-----" not in content:
        return (
            f"certificate {files.cert}: it holds no PEM certificate; if it is DER: "
            f"openssl x509 -inform der -in {files.cert} -out cert.pem"
        )
    if b"PRIVATE KEY-----" not in key_content:
        return f"private key {files.key}: it holds no PEM private key"
    try:
        x509.load_pem_x509_certificates(content)
    except ValueError:
        return f"certificate {files.cert}: it is damaged"
    if error.reason:
        return f"certificate {files.cert} with key {files.key}: OpenSSL says: {error.reason.lower().replace('_', ' ')}"
    return f"private key {files.key}: it is damaged"


def _warn_of_dates(path: Path, content: bytes) -> None:
    """Clients will say so too, but not where an operator looks."""
    try:
        certificate = x509.load_pem_x509_certificate(content)
    except ValueError:
        return  # OpenSSL has taken it and is the one to ask
    begin, end, now = certificate.not_valid_before_utc, certificate.not_valid_after_utc, datetime.now(UTC)
    if end < now:
        log.warning("certificate %s ran out on %s: clients will refuse it", path, end.date())
    elif begin > now:
        log.warning("certificate %s is not valid before %s: clients will refuse it", path, begin.date())
