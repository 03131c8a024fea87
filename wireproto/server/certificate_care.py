"""Which certificate the server uses, and how a development certificate stays fresh while the server runs."""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from wireproto.errors import ConfigurationError
from wireproto.server.certificates import CertificateFiles, ensure_development_certificates
from wireproto.server.tls_context import check_client_ca, load_tls, make_context
from wireproto.server.tls_material import TlsMaterial
from wireproto.settings import Settings

RENEWAL_CHECK: Final = 3600.0
"""Seconds between two looks at whether a development certificate is due for renewal."""

log = logging.getLogger("wireproto.certificates")


def certificate_files(settings: Settings) -> CertificateFiles:
    """The user's certificate, or one made for development. Raises ConfigurationError."""
    if settings.cert is not None and settings.key is not None:
        return CertificateFiles(None, settings.cert, settings.key, settings.client_ca)
    made = ensure_development_certificates(settings.certs_folder, datetime.now(UTC))
    return replace(made, client_ca=settings.client_ca)


def load_chosen_tls(settings: Settings, files: CertificateFiles) -> TlsMaterial:
    """What stands in the files now, if TLS as the settings want it can be made of it. Raises ConfigurationError."""
    return load_tls(files, settings.tls_minimum, settings.client_certificates)


def chosen_context(settings: Settings, material: TlsMaterial) -> ssl.SSLContext:
    """TLS as the settings want it. Raises ConfigurationError."""
    return make_context(material, settings.tls_minimum, settings.client_certificates)


def check_own_files(settings: Settings) -> None:
    """Look at the files that are the user's own, and make none. Raises ConfigurationError."""
    if settings.cert is not None and settings.key is not None:
        load_chosen_tls(settings, certificate_files(settings))
    elif settings.client_ca is not None:
        check_client_ca(settings.client_ca)


async def keep_certificate_fresh(settings: Settings) -> None:
    """Renew a development certificate in time, until cancelled. Whoever uses it looks at its files by himself."""
    while True:
        await asyncio.sleep(RENEWAL_CHECK)
        try:
            certificate_files(settings)
        except ConfigurationError as error:
            log.error("the development certificate cannot be renewed: %s", error)
