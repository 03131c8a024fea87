"""Certificates that ran out, are getting old, have no names, or have a key that is not theirs or not secret."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from tests.admin.cases import bad, case, levels
from wireproto.admin.checks import certificates
from wireproto.server.certificates import ensure_development_certificates

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAY = 86400.0
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def write(
    folder: Path,
    *,
    key: Any = EC_KEY,
    names: tuple[str, ...] = ("cache.example",),
    encryption: KeySerializationEncryption | None = None,
) -> dict[str, Path]:
    """A certificate for 90 days and its key, as the settings name them."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cache.example")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(BEGIN).not_valid_after(BEGIN + timedelta(days=90))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(map(x509.DNSName, names)), critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    cert, key_path = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(builder.sign(key, algorithm).public_bytes(Encoding.PEM))
    key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()))
    key_path.chmod(0o600)
    return {"cert": cert, "key": key_path}


def found(folder: Path, day: float, **settings: Any) -> list[str]:
    return bad(certificates.server_certificate(case(folder, now=BEGIN.timestamp() + day * DAY, **settings)))


def test_the_ages_of_a_certificate(tmp_path: Path) -> None:
    files = write(tmp_path)
    subject = f"certificate {files['cert']}"
    assert found(tmp_path, 1, **files) == []
    assert found(tmp_path, 59.9, **files) == []
    (line,) = found(tmp_path, 60, **files)
    assert line.startswith(f"warning  {subject}: it runs out on 2026-04-01, in 30 days; ")
    (line,) = found(tmp_path, 90, **files)
    assert line.startswith(f"problem  {subject}: it ran out on 2026-04-01: clients refuse it; ")
    (line,) = found(tmp_path, -1, **files)
    assert line.startswith(f"problem  {subject}: it is not valid before 2026-01-01: ")


def test_names(tmp_path: Path) -> None:
    (line,) = found(tmp_path, 1, **write(tmp_path, names=()))
    assert line.startswith("problem  ")
    assert "no names (subjectAltName)" in line
    files = write(tmp_path)
    assert found(tmp_path, 1, **files, host="0.0.0.0") == []
    (line,) = found(tmp_path, 1, **files, host="10.0.0.7")
    assert "it is good for cache.example, and not for 10.0.0.7, where the server listens" in line


@pytest.mark.parametrize(
    ("key", "level"),
    [
        (EC_KEY, []),
        (ed25519.Ed25519PrivateKey.generate(), []),
        (rsa.generate_private_key(65537, 2048), []),
        (rsa.generate_private_key(65537, 1024), ["problem  private key"]),
    ],
    ids=["ecdsa", "ed25519", "rsa-2048", "rsa-1024"],
)
def test_kinds_of_keys(tmp_path: Path, key: Any, level: list[str]) -> None:
    assert [line[:20] for line in found(tmp_path, 1, **write(tmp_path, key=key))] == level


def test_a_key_that_is_not_its_own_not_secret_or_not_there(tmp_path: Path) -> None:
    files = write(tmp_path)
    key = files["key"]
    key.chmod(0o644)
    assert found(tmp_path, 1, **files) == [
        f"problem  private key {key}: other users can use it (mode 0644); run: chmod 600 {key}"
    ]
    other = tmp_path / "other"
    other.mkdir()
    another = write(other, key=ec.generate_private_key(ec.SECP256R1()))["key"]
    (line,) = found(tmp_path, 1, cert=files["cert"], key=another)
    assert f"private key {another}: it does not belong to certificate {files['cert']}" in line
    write(tmp_path, encryption=BestAvailableEncryption(b"password"))
    (line,) = found(tmp_path, 1, **files)
    assert "it is encrypted" in line
    key.write_text("nonsense")
    (line,) = found(tmp_path, 1, **files)
    assert "it holds no PEM private key" in line
    key.unlink()
    (line,) = found(tmp_path, 1, **files)
    assert "it cannot be read: No such file or directory" in line
    files["cert"].write_text("nonsense")
    (line,) = found(tmp_path, 1, **files)
    assert "it holds no PEM certificate" in line


def test_the_development_certificate(tmp_path: Path) -> None:
    assert found(tmp_path, 1) == []
    ensure_development_certificates(tmp_path / "certs", BEGIN)
    assert found(tmp_path, 1) == []
    (line,) = found(tmp_path, 100)
    assert line.endswith("; start the server, which makes a new one")
    os.chmod(tmp_path / "certs" / "ca.key", 0o640)
    (line,) = found(tmp_path, 1)
    assert line.startswith(f"problem  private key {tmp_path}/certs/ca.key: other users can use it")


def test_development_secrets_beyond_loopback(tmp_path: Path) -> None:
    assert levels(certificates.reach(case(tmp_path))) == ["ok"]
    assert levels(certificates.reach(case(tmp_path, host="0.0.0.0", **write(tmp_path)))) == ["ok"]

    class Reachable:
        host, cert, development_secrets = "10.0.0.7", None, "loopback"

    given = case(tmp_path)
    object.__setattr__(given, "settings", Reachable)
    assert levels(certificates.reach(given)) == ["problem"]
    Reachable.development_secrets = "anywhere"
    assert levels(certificates.reach(given)) == ["warning"]


def test_the_authority_of_clients(tmp_path: Path) -> None:
    class WithAuthority:
        client_ca = tmp_path / "certs" / "ca.pem"

    ensure_development_certificates(tmp_path / "certs", BEGIN)
    given = case(tmp_path, now=BEGIN.timestamp() + DAY)
    assert certificates.client_authority(given) == []
    object.__setattr__(given, "settings", WithAuthority)
    assert levels(certificates.client_authority(given)) == ["ok"]
    WithAuthority.client_ca = tmp_path / "certs" / "server.pem"
    assert levels(certificates.client_authority(given)) == ["ok", "problem"]
    WithAuthority.client_ca = tmp_path / "none.pem"
    assert levels(certificates.client_authority(given)) == ["problem"]
