"""Real servers for the adapters, whose shared clients are closed after every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.conftest import server, start_server
from wireproto.adapters.clients import close_clients

__all__ = ["server", "start_server"]


@pytest.fixture(autouse=True)
def closed_clients() -> Iterator[None]:
    yield
    close_clients()
