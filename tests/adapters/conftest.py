"""Real servers for the adapters, whose shared clients are closed after every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.conftest import server
from tests.live.running import RunningServer
from wireproto import Client
from wireproto.adapters.clients import close_clients
from wireproto.admin.cli import main

__all__ = ["server"]


@pytest.fixture(scope="session")
def encrypted_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that encrypts what is written."""
    folder = tmp_path_factory.mktemp("encrypted")
    assert main(["keyring", "add", "--state-folder", str(folder / "state")]) == 0
    running = RunningServer(folder)
    yield running
    assert running.stop() == 0


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client[bytes]]:
    """A client of the server, to see what is stored."""
    with Client(server.url()) as made:
        yield made


@pytest.fixture(autouse=True)
def closed_clients() -> Iterator[None]:
    """The next test connects anew."""
    yield
    close_clients()
