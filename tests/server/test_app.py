"""What the server does beside serving: it keeps its certificate fresh."""

from __future__ import annotations

import asyncio
import logging
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from wireproto.server import app
from wireproto.server.certificates import ensure_development_certificates, server_context
from wireproto.settings import Settings


async def eventually(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what it waits for tells nobody
            await asyncio.sleep(0.01)


async def test_a_certificate_that_is_renewed_or_replaced_is_loaded_and_a_broken_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(app, "CERTIFICATE_CHECK", 0.01)
    settings = Settings(certs_folder=tmp_path)
    nearly_over = datetime.now(UTC) - timedelta(days=70)
    files = ensure_development_certificates(tmp_path, nearly_over)
    first = server_context(files, "TLSv1.3")
    listener = SimpleNamespace(tls=first)
    watching = asyncio.create_task(app.keep_certificate_fresh(settings, files, listener))  # type: ignore[arg-type]
    try:
        await eventually(lambda: listener.tls is not first)
        renewed = listener.tls
        good = files.cert.read_bytes()
        files.cert.write_text("damaged")
        await eventually(lambda: "stays as it is" in caplog.text)
        assert listener.tls is renewed
        files.cert.write_bytes(good)
        os.utime(files.cert, ns=(1, 1))
        await eventually(lambda: listener.tls is not renewed)
    finally:
        watching.cancel()
