"""The experiments that decided something still run, and their folder's page names every one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.kept import lease_commands, listening_sockets, node_connections, requests, ring_tables, snippets

FOLDER = Path(snippets.__file__).parent


@pytest.mark.parametrize(
    ("run", "first_lines"),
    [
        (lambda: snippets.main(0.001), ["a READ, read", "a GET for Redis, by itself", "is there a hash tag"]),
        (lambda: ring_tables.main(500, 0.001), ["4      ring as a table", "16     Maglev", "16     jump hash"]),
        (lambda: listening_sockets.main(2, 1), ["SO_REUSEPORT", "one socket, 2 ms"]),
        (lambda: node_connections.main(0.05), ["one connection for all", "redis-py"]),
        (lambda: requests.main(0.02, 1), ["READ lease= (chosen", "INCR ex=", "WRITE xx"]),
        (lambda: lease_commands.main(0.02, 1), ["GET, and a script", "SET NX GET PX"]),
    ],
    ids=["snippets", "ring_tables", "listening_sockets", "node_connections", "requests", "lease_commands"],
)
def test_it_runs(run: Callable[[], None], first_lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run()
    lines = capsys.readouterr().out.splitlines()
    for beginning in first_lines:
        (line,) = (line for line in lines if line.startswith(beginning))
        assert re.search(r"  [1-9][\d,.]*", line), line


def test_the_page_names_every_experiment() -> None:
    named = set(re.findall(r"python -m bench\.kept\.(\w+)", (FOLDER / "README.md").read_text()))
    assert named == {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
