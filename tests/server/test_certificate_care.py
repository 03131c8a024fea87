"""Which certificate the server uses, and that one made for development stays fresh while it runs."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.authority import Authority
from wireproto.errors import ConfigurationError
from wireproto.server import certificate_care
from wireproto.server.certificate_care import certificate_files, check_own_files, chosen_context, load_chosen_tls
from wireproto.server.certificates import ensure_development_certificates
from wireproto.settings import Settings


async def eventually(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what it waits for tells nobody
            await asyncio.sleep(0.01)


async def test_a_certificate_that_is_due_is_renewed_and_a_damaged_one_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(certificate_care, "RENEWAL_CHECK", 0.01)
    caplog.set_level(logging.INFO)
    settings = Settings(certs_folder=tmp_path)
    nearly_over = datetime.now(UTC) - timedelta(days=70)
    files = ensure_development_certificates(tmp_path, nearly_over)
    old = files.cert.read_bytes()
    caring = asyncio.create_task(certificate_care.keep_certificate_fresh(settings))
    try:
        await eventually(lambda: files.cert.read_bytes() != old)
        files.cert.write_text("damaged")
        await eventually(lambda: "the development certificate cannot be renewed" in caplog.text)
    finally:
        caring.cancel()


def test_the_files_are_the_users_or_those_made_here(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue(dns=["localhost"])
    own = Settings(cert=issued.certificate, key=issued.key, client_ca=authority.ca, client_certificates="required")
    files = certificate_files(own)
    assert (files.ca, files.cert, files.key, files.client_ca) == (None, issued.certificate, issued.key, authority.ca)
    made = certificate_files(
        Settings(certs_folder=tmp_path / "certs", client_ca=authority.ca, client_certificates="optional")
    )
    assert made.ca == tmp_path / "certs" / "ca.pem"
    assert made.client_ca == authority.ca


def test_the_settings_say_what_tls_is_like(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    for choice, minimum in (("optional", "TLSv1.2"), ("required", "TLSv1.3")):
        settings = Settings(
            certs_folder=tmp_path / "certs", client_ca=authority.ca, client_certificates=choice, tls_minimum=minimum
        )
        context = chosen_context(settings, load_chosen_tls(settings, certificate_files(settings)))
        assert context.verify_mode.name == f"CERT_{choice.upper()}"
        assert context.minimum_version.name == minimum.replace(".", "_")


def test_a_check_looks_at_what_is_there_and_makes_nothing(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue(dns=["localhost"])
    check_own_files(Settings(certs_folder=tmp_path / "certs"))
    check_own_files(Settings(cert=issued.certificate, key=issued.key))
    check_own_files(Settings(client_ca=authority.ca, client_certificates="required"))
    assert not (tmp_path / "certs").exists()
    for bad in (
        Settings(cert=issued.certificate, key=issued.certificate),
        Settings(client_ca=issued.key, client_certificates="required"),
        Settings(cert=issued.certificate, key=issued.key, client_ca=issued.key, client_certificates="required"),
    ):
        with pytest.raises(ConfigurationError):
            check_own_files(bad)
