"""What the benchmark finds on the machine and makes for the programs that it starts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from wireproto.server.certificate_making import make_authority, make_server

PEER_PROGRAMS = ("haproxy", "nutcracker", "redis-server")


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A new authority, and one file with a certificate for localhost and its key."""
    now = datetime.now(UTC)
    authority = make_authority(ec.generate_private_key(ec.SECP256R1()), now)
    pair = make_server(authority, now)
    ca, certificate = folder / "ca.pem", folder / "server.pem"
    ca.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    key = pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    certificate.write_bytes(pair.certificate.public_bytes(Encoding.PEM) + key)
    return ca, certificate


def missing_programs() -> tuple[str, ...]:
    """Which of the peers' programs are not installed; `make bench-peers` installs them."""
    return tuple(name for name in PEER_PROGRAMS if _which(name) is None)


def found_program(name: str) -> str:
    """The path of a peer's program. Raises FileNotFoundError with advice."""
    found = _which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed; run: make bench-peers")
    return found


def _which(name: str) -> str | None:
    """Debian keeps services in folders that only root has on its PATH."""
    return shutil.which(
        name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    )


@cache
def program_version(program: str, flag: str) -> str:
    """The first number with dots that a program tells of itself, such as `7.0.15`."""
    told = subprocess.run([program, flag], capture_output=True, text=True, check=False)
    match = re.search(r"\d+(?:\.\d+)+", told.stdout + told.stderr)
    return match[0] if match else "unknown"
