"""The examples, each as a person runs it, against one server: what it says of "with" has to hold."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from examples.common import Report, percentile
from tests.live.running import REPOSITORY, RunningServer

EXAMPLES = REPOSITORY / "examples"
PROGRAMS: dict[str, tuple[str, list[str]]] = {
    "shared_data": (
        "--users 100",
        [
            r"changes lost, of 200 +\d+ +0$",
            r"price that the next reader gets +100 +101$",
            r"the late write of the old price +stored +CONFLICT$",
        ],
    ),
    "api_rate_limiting": ("--users 200 --limit 20", [r"requests allowed +\d+ +20$"]),
    "sessions": (
        "--users 40",
        [r"carts lost +40 +0$", r"saves that were told to look again +0 +40$", r"used for 2.0 s +lives$"],
    ),
    "dynamic_content": ("--users 300 --seconds 1", [r"renderings +\d\d+ +\d$"]),
    "search_results": ("--users 200", [r"searches of the database +\d{3} +35$"]),
    "product_listings": (
        "--users 100",
        [r"loads of the database +\d+ +1$", r"an old price behind the DELETE +\d+ +0$"],
    ),
    "real_time_analytics": ("--users 100 --events 10", [r"events counted +\d+ +1,000$"]),
    "game_state": (
        "--users 80",
        [
            r"moves that were overwritten +\d+ +0$",
            r"moves counted in the score +\d+ +80$",
            r"the same turn, at most +\d +1$",
            r"ends its own too late +is gone +lasts$",
        ],
    ),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One for all of them."""
    running = RunningServer(tmp_path_factory.mktemp("server"))
    yield running
    assert running.stop() == 0


def run(url: str, name: str, arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program as its page says."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WIREPROTO_")}
    return subprocess.run(
        [sys.executable, "-m", f"examples.{name}", *arguments.split()],
        env={**clean, "WIREPROTO_URL": url, "PYTHONUTF8": "1"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=50,
        check=False,
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_an_example_promises(server: RunningServer, name: str) -> None:
    arguments, lines = PROGRAMS[name]
    done = run(server.url(), name, arguments)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert done.stdout.count("  holds: ") >= 2, said
    for line in lines:
        assert re.search(line, done.stdout, re.MULTILINE), f"{line}\n{said}"


def test_every_example_is_tested_and_listed() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")} - {"__init__", "common"}
    assert names == PROGRAMS.keys()
    page = (EXAMPLES / "README.md").read_text()
    for name in names:
        assert f"]({name}.py)" in page
        assert f"python -m examples.{name} --users 1000" in (EXAMPLES / f"{name}.py").read_text()


def test_where_there_is_no_server_an_example_says_so() -> None:
    done = run("wireproto+plain://key@127.0.0.1:1", "game_state", "--users 8")
    assert done.returncode == 2
    assert "make run" in done.stderr


def test_what_does_not_hold_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("A title")
    report.row("things", 1000, None)
    report.check(True, "one")
    assert report.finish() == 0
    report.check(False, "another")
    assert report.finish() == 1
    assert "  DOES NOT HOLD: another\n" in capsys.readouterr().out


@pytest.mark.parametrize(("percent", "expected"), [(0, 1.0), (50, 2.0), (99, 4.0), (100, 4.0)])
def test_percentiles(percent: float, expected: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], percent) == expected
    assert percentile([], percent) == 0.0
