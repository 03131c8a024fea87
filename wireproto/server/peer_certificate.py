"""What a client's certificate says, once OpenSSL has verified it: its names, and its end."""

from __future__ import annotations

import ssl
from typing import Any

_NAMES_OF_MACHINES = ("DNS", "URI")


def certificate_names(certificate: dict[str, Any]) -> list[str]:
    """The names in what `getpeercert` gives: first the DNS names and URIs, as they stand, then the common names."""
    names = [text for kind, text in certificate.get("subjectAltName", ()) if kind in _NAMES_OF_MACHINES]
    common = [text for part in certificate.get("subject", ()) for kind, text in part if kind == "commonName"]
    return list(dict.fromkeys([*names, *common]))


def certificate_end(certificate: dict[str, Any]) -> int:
    """The second (Unix time) from which on it is not valid."""
    return ssl.cert_time_to_seconds(certificate["notAfter"])
