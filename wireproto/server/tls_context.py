"""The server's TLS context: Mozilla's "modern" profile (https://wiki.mozilla.org/Security/Server_Side_TLS)."""

from __future__ import annotations

import logging
import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from wireproto.errors import ConfigurationError
from wireproto.server.certificates import CertificateFiles
from wireproto.server.tls_groups import limit_groups
from wireproto.server.tls_material import TlsMaterial, read_public

_TLS_1_2_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Forward secrecy and authenticated encryption only. TLS 1.3 has nothing else; this does not touch its ciphers."""
_NOT_A_PAIR: Final = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
"""OpenSSL's reasons for a key that is not the certificate's; the last one if the algorithms differ."""
_VERIFY_MODES: Final = {"off": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}

log = logging.getLogger("wireproto.certificates")


def load_tls(files: CertificateFiles, minimum: str, client_certificates: str = "off") -> TlsMaterial:
    """What stands in the files, after a look whether a context can be made of it, and whether clients will like it.

    Raises ConfigurationError.
    """
    material = TlsMaterial.read(files)
    make_context(material, minimum, client_certificates)
    _warn_of_dates(material)
    return material


def server_context(files: CertificateFiles, minimum: str, client_certificates: str = "off") -> ssl.SSLContext:
    """The context made of these files; see `make_context`. Raises ConfigurationError."""
    return make_context(load_tls(files, minimum, client_certificates), minimum, client_certificates)


def make_context(material: TlsMaterial, minimum: str, client_certificates: str = "off") -> ssl.SSLContext:
    """TLS for the server, of the version `minimum` (`TLSv1.3` or `TLSv1.2`) or newer.

    `client_certificates` is `off`, or `optional` or `required`, for which the material must have their authority.
    Raises ConfigurationError when something cannot work.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion[minimum.replace(".", "_")]
    context.set_ciphers(_TLS_1_2_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    limit_groups(context)
    _load_pair(context, material)
    if client_certificates != "off":
        _trust(context, material.files.client_ca, material.client_ca)
        context.verify_mode = _VERIFY_MODES[client_certificates]
        # A session that is resumed is not verified again, so a certificate would be good for hours behind its end.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    return context


def _load_pair(context: ssl.SSLContext, material: TlsMaterial) -> None:
    """Give the context its certificate and key. Raises ConfigurationError."""
    key_file = material.files.key

    def no_password() -> str:
        # Without this OpenSSL asks at the terminal, where nobody may be.
        raise ConfigurationError(
            f"private key {key_file}: it is encrypted; write it without a password, into a file of mode 0600: "
            f"openssl pkey -in {key_file} -out plain.key"
        )

    try:
        with _as_file(material.certificate) as certificate, _as_file(material.key) as key:
            context.load_cert_chain(certificate, key, password=no_password)
    except ssl.SSLError as error:
        raise ConfigurationError(_load_problem(material, error)) from None
    except OSError as error:
        raise ConfigurationError(f"certificate {material.files.cert}: {error.strerror or error}") from None


def check_client_ca(path: Path) -> None:
    """Look whether the file holds authorities. Raises ConfigurationError."""
    _trust(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), path, read_public(path, "client authority"))


def _trust(context: ssl.SSLContext, path: Path | None, authorities: bytes | None) -> None:
    """Have the context trust the authorities of the clients' certificates. Raises ConfigurationError."""
    try:
        # OpenSSL would skip what is not PEM, and stop silently where a certificate is damaged.
        x509.load_pem_x509_certificates(authorities or b"")
        context.load_verify_locations(cadata=(authorities or b"").decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):
        raise ConfigurationError(f"client authority {path}: it holds no PEM certificate, or a damaged one") from None


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path that leads to this content, as OpenSSL takes nothing else; in memory where that can be: it is a secret."""
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        descriptor = os.memfd_create("pem")
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.NamedTemporaryFile() as file:  # of mode 0600
            file.write(content)
            file.flush()
            yield file.name


# -- what can be wrong


def _load_problem(material: TlsMaterial, error: ssl.SSLError) -> str:
    """What OpenSSL means, which for most of these says `PEM lib` and not of which file."""
    files, content = material.files, material.certificate
    if error.reason in _NOT_A_PAIR:
        return f"private key {files.key}: does not belong to certificate {files.cert}"
    if b"CERTIFICATE-----" not in content:
        return (
            f"certificate {files.cert}: it holds no PEM certificate; if it is DER: "
            f"openssl x509 -inform der -in {files.cert} -out cert.pem"
        )
    if b"PRIVATE KEY-----" not in material.key:
        return f"private key {files.key}: it holds no PEM private key"
    try:
        x509.load_pem_x509_certificates(content)
    except ValueError:
        return f"certificate {files.cert}: it is damaged"
    if error.reason:
        return f"certificate {files.cert} with key {files.key}: OpenSSL says: {error.reason.lower().replace('_', ' ')}"
    return f"private key {files.key}: it is damaged"


def _warn_of_dates(material: TlsMaterial) -> None:
    """Clients will say so too, but not where an operator looks."""
    path = material.files.cert
    try:
        certificate = x509.load_pem_x509_certificate(material.certificate)
    except ValueError:
        return  # OpenSSL has taken it and is the one to ask
    begin, end, now = certificate.not_valid_before_utc, certificate.not_valid_after_utc, datetime.now(UTC)
    if end < now:
        log.warning("certificate %s ran out on %s: clients will refuse it", path, end.date())
    elif begin > now:
        log.warning("certificate %s is not valid before %s: clients will refuse it", path, begin.date())
