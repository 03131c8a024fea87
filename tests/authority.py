"""An authority of the tests' own, which signs whatever certificate a test needs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    """The files of a certificate and its key."""

    certificate: Path
    key: Path
    end: datetime


class Authority:
    """Its own certificate is in `ca`."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._number = 0
        now = datetime.now(UTC)
        made = self._sign(self._name, self._key, now - 10 * DAY, now + 10 * DAY, is_authority=True)
        self.ca = folder / f"{name}.pem"
        self.ca.write_bytes(made.public_bytes(Encoding.PEM))

    def issue(
        self,
        *,
        dns: Sequence[str] = (),
        uris: Sequence[str] = (),
        common_name: str = "",
        begin: timedelta = -DAY,
        life: timedelta = 2 * DAY,
        raw_names: bytes | None = None,
    ) -> Issued:
        """A certificate with these names, which begins so long from now. `raw_names` is a subjectAltName in DER."""
        self._number += 1
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])
        names: x509.ExtensionType | None = None
        if raw_names is not None:
            names = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, raw_names)
        elif dns or uris:
            alternatives = [*map(x509.DNSName, dns), *map(x509.UniformResourceIdentifier, uris)]
            names = x509.SubjectAlternativeName(alternatives)
        start = datetime.now(UTC).replace(microsecond=0) + begin
        certificate = self._sign(subject, key, start, start + life, names=names)
        stem = f"{self.ca.stem}-{self._number}"
        issued = Issued(self._folder / f"{stem}.crt", self._folder / f"{stem}.key", start + life)
        issued.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        with open(os.open(issued.key, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return issued

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        begin: datetime,
        end: datetime,
        *,
        is_authority: bool = False,
        names: x509.ExtensionType | None = None,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())
