"""What the server's TLS is made of, read from its files once: what is checked is what is used, by every worker.

The certificates are public. The private key must be a file that nobody else can use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wireproto.errors import ConfigurationError
from wireproto.server.certificates import CertificateFiles
from wireproto.server.key_files import read_private_key


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """The content of the files, PEM. `files` is where it comes from, for what there is to say about it."""

    files: CertificateFiles
    certificate: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None = None

    @classmethod
    def read(cls, files: CertificateFiles) -> TlsMaterial:
        """What stands in the files. Raises ConfigurationError if one cannot be read, or the key by others."""
        certificate = read_public(files.cert, "certificate")
        key = _read(files.key, "private key", read_private_key)
        client_ca = None if files.client_ca is None else read_public(files.client_ca, "client authority")
        return cls(files, certificate, key, client_ca)

    def to_json(self) -> dict[str, Any]:
        """This material as a JSON object."""
        files = self.files
        return {
            "files": [
                None if path is None else str(path) for path in (files.ca, files.cert, files.key, files.client_ca)
            ],
            "content": [_text(content) for content in (self.certificate, self.key, self.client_ca)],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TlsMaterial:
        """The material in a JSON object that `to_json` has made."""
        paths: list[Any] = [None if path is None else Path(path) for path in value["files"]]
        content: list[Any] = [None if text is None else text.encode("latin-1") for text in value["content"]]
        return cls(CertificateFiles(*paths), *content)


def _text(content: bytes | None) -> str | None:
    # Of each byte one character: PEM is ASCII, but what stands around it need not be.
    return None if content is None else content.decode("latin-1")


def read_public(path: Path, what: str) -> bytes:
    """The content of a file that anybody may read. Raises ConfigurationError."""
    return _read(path, what, Path.read_bytes)


def _read(path: Path, what: str, read: Callable[[Path], bytes]) -> bytes:
    """The bytes of a file. Raises ConfigurationError."""
    try:
        return read(path)
    except OSError as error:
        raise ConfigurationError(f"{what} {path}: {error.strerror or error}") from None
