"""What the server does beside serving: it keeps its certificate fresh."""

from __future__ import annotations

import asyncio
import logging
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from wireproto.server import certificate_care
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
    monkeypatch.setattr(certificate_care, "CERTIFICATE_CHECK", 0.01)
    settings = Settings(certs_folder=tmp_path)
    nearly_over = datetime.now(UTC) - timedelta(days=70)
    files = ensure_development_certificates(tmp_path, nearly_over)
    first = server_context(files, "TLSv1.3")
    used = [first]
    watching = asyncio.create_task(certificate_care.keep_certificate_fresh(settings, files, used.append))
    try:
        await eventually(lambda: used[-1] is not first)
        renewed = used[-1]
        good = files.cert.read_bytes()
        files.cert.write_text("damaged")
        await eventually(lambda: "stays as it is" in caplog.text)
        assert used[-1] is renewed
        files.cert.write_bytes(good)
        os.utime(files.cert, ns=(1, 1))
        await eventually(lambda: used[-1] is not renewed)
    finally:
        watching.cancel()
