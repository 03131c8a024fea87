"""The server's certificate and its key, and the authority of the clients' certificates."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import MD5, SHA1
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from wireproto.admin.checks.findings import Case, Finding, duration, ok, problem, warning
from wireproto.private_files import sharing_problem, sharing_remedy
from wireproto.settings.kinds import is_loopback

OLD: Final = 2 / 3
"""The part of a certificate's life after which it should have been replaced."""
SHORTEST_RSA: Final = 2048
_ANY_ADDRESS: Final = ("0.0.0.0", "::")  # noqa: S104 - nothing is bound here
_RENEW: Final = "put a new one in its place; a server that runs takes it by itself"


def reach(case: Case) -> list[Finding]:
    """Whether what was made for this machine alone is shown to others."""
    settings = case.settings
    if is_loopback(settings.host):
        return [ok("host", f"{settings.host} can be reached from this machine only")]
    if settings.cert is not None:
        return [ok("host", f"{settings.host} can be reached by others, with a certificate of your own")]
    text = (
        f"{settings.host} can be reached by others, who are shown a development certificate that is good for localhost"
    )
    remedy = "give cert and key, or listen on 127.0.0.1"
    if getattr(settings, "development_secrets", "loopback") == "anywhere":
        return [warning("host", text, remedy)]
    return [problem("host", text, remedy)]


def server_certificate(case: Case) -> list[Finding]:
    """The certificate and the key that clients are shown."""
    settings = case.settings
    if settings.cert is not None and settings.key is not None:
        return _pair(case, settings.cert, settings.key, is_own=True)
    cert, key = settings.certs_folder / "server.pem", settings.certs_folder / "server.key"
    if not cert.exists():
        return [ok("certificate", f"none yet in {settings.certs_folder}; the first start makes one for development")]
    return _pair(case, cert, key, is_own=False) + _shared(settings.certs_folder / "ca.key")


def client_authority(case: Case) -> list[Finding]:
    """The authority of the clients' certificates, if there is one."""
    path = getattr(case.settings, "client_ca", None)
    if path is None:
        return []
    subject = f"client authority {path}"
    certificates = _certificates(subject, path)
    if isinstance(certificates, Finding):
        return [certificates]
    found = [finding for one in certificates for finding in _age(case, subject, one, renews_itself=False)]
    for certificate in certificates:
        if not _is_authority(certificate):
            text = "it holds a certificate that is no authority, so no client's can be verified by it"
            found.append(problem(subject, text, "name the authority that signed the clients' certificates"))
    return found


def _pair(case: Case, cert: Path, key: Path, *, is_own: bool) -> list[Finding]:
    subject = f"certificate {cert}"
    certificates = _certificates(subject, cert)
    if isinstance(certificates, Finding):
        return [certificates]
    certificate = certificates[0]
    found = _age(case, subject, certificate, renews_itself=not is_own)
    found += _names(case, subject, certificate, is_own=is_own) + _signature(subject, certificate)
    private = _private_key(key)
    if isinstance(private, Finding):
        return [*found, private]
    if private.public_key() != certificate.public_key():
        text = f"it does not belong to certificate {cert}"
        found.append(problem(f"private key {key}", text, "name the two that were made together in cert and key"))
    return found + _kind(key, private) + _shared(key)


def _certificates(subject: str, path: Path) -> list[x509.Certificate] | Finding:
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        return problem(subject, f"it cannot be read: {error.strerror}", "name a file that the server can read")
    except ValueError:
        return problem(subject, "it holds no PEM certificate", "convert it, or restore it")
    return found


def _private_key(path: Path) -> PrivateKeyTypes | Finding:
    subject = f"private key {path}"
    try:
        return load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        return problem(subject, f"it cannot be read: {error.strerror}", "name a file that the server can read")
    except TypeError:
        remedy = f"write it without a password, into a file of mode 0600: openssl pkey -in {path} -out plain.key"
        return problem(subject, "it is encrypted, and nobody types the password at a start", remedy)
    except ValueError:
        return problem(subject, "it holds no PEM private key", "restore it")


def _age(case: Case, subject: str, certificate: x509.Certificate, *, renews_itself: bool) -> list[Finding]:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    now = datetime.fromtimestamp(case.now, UTC)
    remedy = "start the server, which makes a new one" if renews_itself else _RENEW
    if now >= end:
        return [problem(subject, f"it ran out on {end.date()}: clients refuse it", remedy)]
    if now < begin:
        return [problem(subject, f"it is not valid before {begin.date()}: clients refuse it", "set the clock, or wait")]
    left = f"it runs out on {end.date()}, in {duration((end - now).total_seconds())}"
    if (now - begin) / (end - begin) >= OLD:
        return [warning(subject, left, remedy)]
    return [ok(subject, left)]


def _names(case: Case, subject: str, certificate: x509.Certificate, *, is_own: bool) -> list[Finding]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        text = "it has no names (subjectAltName), and clients do not look at its common name"
        return [problem(subject, text, "have it made with the names that clients connect to")]
    dns = names.get_values_for_type(x509.DNSName)
    addresses = names.get_values_for_type(x509.IPAddress)
    shown = ", ".join([*dns, *map(str, addresses)])
    host = case.settings.host
    # Behind a proxy, or listening everywhere, it is for names that are not known here.
    elsewhere = not is_own or is_loopback(host) or host in _ANY_ADDRESS or _address(host) is None
    if elsewhere or _address(host) in addresses:
        return [ok(subject, f"it is good for {shown}")]
    text = f"it is good for {shown}, and not for {host}, where the server listens"
    return [warning(subject, text, "have clients connect by one of these names")]


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _signature(subject: str, certificate: x509.Certificate) -> list[Finding]:
    if isinstance(certificate.signature_hash_algorithm, MD5 | SHA1):
        text = f"it is signed with {certificate.signature_hash_algorithm.name}, which can be forged"
        return [problem(subject, text, "have it made anew, with SHA-256")]
    return []


def _kind(path: Path, key: PrivateKeyTypes) -> list[Finding]:
    subject = f"private key {path}"
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return [ok(subject, f"ECDSA, {key.curve.name}")]
    if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
        return [ok(subject, type(key).__name__.removesuffix("PrivateKey"))]
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= SHORTEST_RSA:
        return [ok(subject, f"RSA, {key.key_size} bits")]
    bits = f" of {key.key_size} bits" if isinstance(key, rsa.RSAPrivateKey) else ""
    return [problem(subject, f"a key{bits} that can be broken", "have one made of the kind ECDSA P-256")]


def _shared(path: Path) -> list[Finding]:
    if not path.exists():
        return []
    status = path.stat()
    reason = sharing_problem(status)
    return [] if reason is None else [problem(f"private key {path}", reason, sharing_remedy(path, status))]


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False
