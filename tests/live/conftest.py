"""Servers for the live tests: one for all tests of a worker that leave it as they found it, others on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.loading_process import LoadingProcess
from tests.live.running import RunningServer


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with four nodes. Tests that kill something start their own."""
    running = RunningServer(tmp_path_factory.mktemp("server"))
    yield running
    assert running.stop() == 0


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """Starts servers with flags of the test's own; they are ended with it."""
    started: list[RunningServer] = []

    def start(*flags: str, **keywords: dict[str, str]) -> RunningServer:
        folder = tmp_path / f"server-{len(started)}"
        folder.mkdir()
        started.append(RunningServer(folder, *flags, **keywords))
        return started[-1]

    yield start
    for running in started:
        running.stop()


@pytest.fixture
def start_children(server: RunningServer, tmp_path: Path) -> Iterator[Callable[..., list[LoadingProcess]]]:
    """Starts processes that want values, and begin together; they are ended with the test."""
    children: list[LoadingProcess] = []

    def start(what: str, *more: str, count: int = 3) -> list[LoadingProcess]:
        children.extend(LoadingProcess(what, server.plain_url(), tmp_path, *more) for _ in range(count))
        for child in children:
            child.expect("ready")
        for child in children:
            child.start()
        return children

    yield start
    for child in children:
        child.end()
