"""Certificates: where the server's lie, and the development authority with the server certificate that it makes.

The authority stays for years, and its key for good, so that clients that trust it need not be touched; the server's
certificate is short-lived, and made anew when a third of its life or less is left. ECDSA P-256, at most 89
days: what Mozilla's "modern" profile asks for (https://wiki.mozilla.org/Security/Server_Side_TLS).
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
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
from wireproto.server.key_files import read_private_key

RENEW_BEFORE_END: Final = SERVER_LIFETIME / 3

log = logging.getLogger("wireproto.certificates")


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM files. `ca` is what clients are to trust; None if that is not ours to say.

    `client_ca` has the authorities of the certificates that clients show.
    """

    ca: Path | None
    cert: Path
    key: Path
    client_ca: Path | None = None


def ensure_development_certificates(folder: Path, now: datetime) -> CertificateFiles:
    """The development certificates in `folder`, made or renewed where that is due at the time `now` (with a zone).

    Raises ConfigurationError when the folder cannot be used or a file in it is damaged.
    """
    files = CertificateFiles(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    try:
        _make(folder)
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


def _make(folder: Path) -> None:
    """Make a folder that others may look into, if it is not there: clients read the authority in it. Raises OSError."""
    was_there = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    if not was_there:
        folder.chmod(0o755)


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
        key = load_pem_private_key(read_private_key(path), password=None)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _damaged(path, "it is not a PEM private key without a password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _damaged(path, "it is not an ECDSA key, so it was not made here")
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
        # Whatever the umask: clients of other users are to read the authority.
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
