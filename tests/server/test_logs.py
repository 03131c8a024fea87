"""Log lines that nobody can forge, and that tell nothing which was sent."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis.exceptions import AuthenticationError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from wireproto.errors import ConfigurationError
from wireproto.server.logs import LONGEST_LINE, LineFormatter, kind_of, log_loop_problem, one_line
from wireproto.server.node_words import kind_of_refusal, why_no_answer
from wireproto.server.surroundings import ProcessSurroundings

SECRET = "s3cr3t-value"
FORGED = f"{SECRET}\n2026-01-01 00:00:00,000 WARNING wireproto.audit: forged"


class Written(logging.Handler):
    """Keeps what would have been written."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(LineFormatter(worker=3))
        self.text: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.text.append(self.format(record))


@pytest.fixture
def written() -> Iterator[list[str]]:
    handler, root = Written(), logging.getLogger("wireproto")
    root.addHandler(handler)
    yield handler.text
    root.removeHandler(handler)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ümläuts and 漢字", "plain text, ümläuts and 漢字"),
        ("a\nb\r\x00\x1b[31m\x7f\x85", "a\\nb\\r\\x00\\x1b[31m\\x7f\\x85"),
        ("line\u2028separator, \u202e turned, \ud800 half", "line\\u2028separator, \\u202e turned, \\ud800 half"),
        ("key wp_abcdefgh_" + "a2" * 20 + "_01234567.", "key (hidden)."),
        ("token eyJhbGciOiJI.eyJpc3MiOiJ3.c2lnbmF0dXJl.", "token (hidden)."),
        (
            "rediss://user:pa@ss@h:1/0 redis://:p@h redis://u@h",
            "rediss://(hidden)@h:1/0 redis://(hidden)@h redis://u@h",
        ),
        ("redis://h?db=1&password=x%20y&ssl_cert_reqs=none", "redis://h?db=1&password=(hidden)&ssl_cert_reqs=none"),
        ("x" * (LONGEST_LINE + 1), "x" * LONGEST_LINE + "..."),
    ],
)
def test_one_line(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_a_record_is_one_line_whatever_is_in_it(written: list[str]) -> None:
    logging.getLogger("wireproto.nodes").warning("node %s: %s", "a", FORGED)
    (line,) = written
    assert "\n" not in line
    assert line.endswith("WARNING wireproto.nodes [worker 3]: node a: " + FORGED.replace("\n", "\\n"))


def raised(cause: Callable[[], Any]) -> Exception:
    try:
        cause()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def in_a_chain() -> None:
    try:
        {}[FORGED]
    except KeyError:
        raise RuntimeError(FORGED) from raised(lambda: int(FORGED))


def in_a_group() -> None:
    raise ExceptionGroup(FORGED, [raised(lambda: int(FORGED)), raised(in_a_chain)])


def with_a_note() -> None:
    error = ValueError()
    error.add_note(FORGED)
    raise error


QUOTING: dict[str, Callable[[], Any]] = {
    "KeyError": lambda: {}[FORGED],
    "ValueError": lambda: int(FORGED),
    "UnicodeDecodeError": lambda: (FORGED.encode() + b"\xff").decode(),
    "UnicodeEncodeError": lambda: (FORGED + "\ud800").encode(),
    "AttributeError": lambda: getattr(object, FORGED),
    "ModuleNotFoundError": lambda: __import__(FORGED),
    "FileNotFoundError": lambda: os.stat(FORGED),
    "RuntimeError": in_a_chain,
    "ExceptionGroup": in_a_group,
    "SyntaxError": lambda: compile(FORGED, FORGED, "exec"),
    "AssertionError": with_a_note,
}
QUOTING["ValueError with a note"] = QUOTING.pop("AssertionError")


@pytest.mark.parametrize("kind", QUOTING)
def test_a_bug_is_told_without_what_was_sent(kind: str, written: list[str]) -> None:
    error = raised(QUOTING[kind])
    problem = ProcessSurroundings(*[None] * 4).report_bug(error)  # type: ignore[arg-type]
    first, *trace = "\n".join(written).split("\n")
    assert f": {problem}: {kind.partition(' ')[0]}" in first
    assert any(f"in {name}" in line for line in trace for name in ("raised", "test_"))
    assert all(line.startswith("  ") for line in trace), "a traceback is indented, and no line of it can be forged"
    assert SECRET not in "\n".join(written)


def test_the_words_of_our_own_errors_and_of_the_system_are_told() -> None:
    assert kind_of(ConfigurationError("file x:\nno")) == "wireproto.errors.ConfigurationError: file x:\\nno"
    assert kind_of(raised(lambda: os.stat("/none/x"))) == "FileNotFoundError: No such file or directory"
    assert kind_of(OSError("who knows")) == "OSError"


def test_a_recursion_is_told_briefly(written: list[str]) -> None:
    def deeper(turns: int) -> int:
        return deeper(turns + 1) if turns % 2 else shallower(turns)

    def shallower(turns: int) -> int:
        return deeper(turns + 1)

    error = raised(lambda: deeper(0))
    logging.getLogger("wireproto.server").error("x", exc_info=error)
    assert "RecursionError" in written[0]
    assert written[0].count("\n") < 300


async def test_what_an_event_loop_says_by_itself_holds_no_objects(written: list[str]) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_loop_problem)
    loop.call_soon(int, FORGED)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert "wireproto.server [worker 3]: Exception in callback" in written[0]
    assert written[0].endswith("\n  ValueError")
    assert SECRET not in written[0]


PROGRAM = """
import asyncio, logging, sys, threading
from wireproto.server.logs import set_up_logging
set_up_logging("debug")
forged = sys.argv[1]
logging.getLogger("some.library").debug(forged)
logging.getLogger("some.library").warning("of a library: " + forged.partition("\\n")[2])
logging.getLogger("wireproto.x").debug("%d", "not a number " + forged)
logging.getLogger("wireproto.x").debug("ours")
thread = threading.Thread(target=int, args=(forged,))
thread.start()
thread.join()
class Bad:
    def __del__(self):
        int(forged)
Bad()
{}[forged]
"""


def test_what_nobody_catches_is_told_the_same_way() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, FORGED], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 1
    assert SECRET not in done.stderr
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith("2026-01-01")] == []
    for end in (
        "WARNING some.library: of a library: 2026-01-01 00:00:00,000 WARNING wireproto.audit: forged",
        "DEBUG wireproto.x: ours",
        "CRITICAL wireproto.server: uncaught ValueError",
        "CRITICAL wireproto.server: uncaught KeyError",
    ):
        assert any(line.endswith(end) for line in lines), end


# -- what nodes and Sentinels say


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (f"ERR unknown command 'AUTH', with args beginning with: '{SECRET}'", "ERR"),
        ("WRONGPASS invalid username-password pair or user is disabled.", "WRONGPASS"),
        ("NOAUTH", "NOAUTH"),
        ("ERR max number of clients reached", "ERR max number of clients reached"),
        (f"ERR DB index is out of range {SECRET}", "ERR DB index is out of range"),
        (SECRET, "an error"),
        (f"S{SECRET}", "an error"),
        ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "an error"),
        ("", "an error"),
    ],
)
def test_of_a_nodes_error_its_kind_is_told(said: str, told: str) -> None:
    assert kind_of_refusal(said) == told


def test_why_there_was_no_answer() -> None:
    assert why_no_answer(RedisConnectionError("Error 111 connecting to h:1.")) == "Error 111 connecting to h:1."
    assert why_no_answer(TimeoutError()) == "TimeoutError"
    assert why_no_answer(ResponseError(SECRET)) == "it answers with an error (ResponseError)"
    assert why_no_answer(AuthenticationError(SECRET)) == "it answers with an error (AuthenticationError)"
    assert why_no_answer(ValueError(SECRET)) == "it answers what is no answer (ValueError)"


# -- what a process leaves behind


def test_no_core_dumps_and_no_files_for_others(tmp_path: Any) -> None:
    program = (
        "import os, resource, subprocess\n"
        "from wireproto.server.hygiene import keep_to_oneself\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)\n"
        "keep_to_oneself()\n"
        f"open({str(tmp_path / 'made')!r}, 'w').close()\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE), flush=True)\n"
        "subprocess.run(['sh', '-c', 'ulimit -c; umask'])\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert said.stdout.split("\n")[:3] == ["(0, 0)", "0", "0077"]
    assert os.stat(tmp_path / "made").st_mode & 0o777 == 0o600
