"""Which certificate the server uses, and how it stays fresh while the server runs."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from wireproto.errors import ConfigurationError
from wireproto.server.certificates import CertificateFiles, ensure_development_certificates, server_context
from wireproto.settings import Settings

CERTIFICATE_CHECK: Final = 3600.0
"""Seconds between two looks at whether the certificate is due for renewal, or has been replaced."""

log = logging.getLogger("wireproto.server")


def certificate_files(settings: Settings) -> CertificateFiles:
    """The user's certificate, or one made for development. Raises ConfigurationError."""
    if settings.cert is not None and settings.key is not None:
        return CertificateFiles(None, settings.cert, settings.key)
    return ensure_development_certificates(settings.certs_folder, datetime.now(UTC))


async def keep_certificate_fresh(
    settings: Settings, files: CertificateFiles, use: Callable[[ssl.SSLContext], None]
) -> None:
    """Renew a development certificate in time, and have any certificate used whose file has changed.

    Connections that are open keep theirs. What cannot be loaded is logged, and the old one stays.
    """
    loaded = files.cert.stat().st_mtime_ns
    while True:
        await asyncio.sleep(CERTIFICATE_CHECK)
        try:
            certificate_files(settings)
            changed = files.cert.stat().st_mtime_ns
            if changed != loaded:
                use(server_context(files, settings.tls_minimum))
                loaded = changed
                log.info("certificate %s has been loaded again", files.cert)
        except (ConfigurationError, OSError) as error:
            log.error("the certificate stays as it is: %s", error)
