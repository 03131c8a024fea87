"""The audit log: whole lines, whoever writes, moves or fills the file; and no more of them than can be read."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import resource
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from wireproto.errors import ConfigurationError
from wireproto.server.audit_log import LONGEST_TEXT, MOST_COUNTED, PAUSE, AuditLog, check_audit_log

NOON = 1_769_860_800.25
CLIENT = {"peer": "10.0.0.9:1", "client": "shop", "namespace": "orders", "key_id": "k", "token_id": None}


class Clock:
    """Calls what was to be called later, when a test says so."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.due.append((seconds, call))

    def tick(self) -> None:
        due, self.due = self.due, []
        for seconds, call in due:
            assert seconds == PAUSE
            call()


def audit_log(path: Path | None, clock: Clock | None = None, worker: int | None = None) -> AuditLog:
    return AuditLog(path, worker, (clock or Clock()).later, lambda: NOON)


def lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_text()
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_a_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit_log(path, worker=2).write("authenticated", {**CLIENT, "method": "api_key"})
    expected = (
        '{"time": "2026-01-31T12:00:00.250Z", "event": "authenticated", "peer": "10.0.0.9:1", "client": "shop", '
        '"namespace": "orders", "key_id": "k", "method": "api_key", "worker": 2}\n'
    )
    assert path.read_text() == expected
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_that_stands_in_it_makes_another_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    forged = '"}\n{"event": "authenticated"}\u2028\x1b[2J' + "x" * 1000
    audit_log(path).write("refused", {"peer": forged, "reason": b"bytes\n"})
    (line,) = lines(path)
    assert line["peer"].startswith('"}\\n{"event": "authenticated"}\\u2028\\x1b[2J')
    assert len(line["peer"]) == LONGEST_TEXT
    assert "worker" not in line


def test_what_looks_like_a_credential_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    secrets = ("wp_abcdefgh_" + "a" * 40 + "_0123abcd", "eyJhbGciOi.eyJzdWIi.c2ln", "redis://u:pa@ss@h")
    audit_log(path).write("refused", {"reason": " and ".join(secrets)})
    assert lines(path)[0]["reason"] == "(hidden) and (hidden) and redis://(hidden)@h"


def test_a_file_that_was_moved_or_removed_is_made_again(tmp_path: Path) -> None:
    path, moved = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    log = audit_log(path)
    log.write("authenticated", {"peer": "a"})
    path.rename(moved)
    log.write("authenticated", {"peer": "b"})
    path.unlink()
    log.write("authenticated", {"peer": "c"})
    assert [line["peer"] for line in lines(moved)] == ["a"]
    assert [line["peer"] for line in lines(path)] == ["c"]
    os.truncate(path, 0)
    log.write("authenticated", {"peer": "d"})
    assert [line["peer"] for line in lines(path)] == ["d"]


def _write_many(path: Path, worker: int) -> None:
    log = AuditLog(path, worker, Clock().later)
    for number in range(500):
        log.write("authenticated", {"peer": "x" * (number % 200), "client": str(number)})


def test_workers_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write_many, args=(path, worker)) for worker in (1, 2, 3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    found = lines(path)
    for worker in (1, 2, 3):
        assert [line["client"] for line in found if line["worker"] == worker] == [str(n) for n in range(500)]


# -- denied and limited


def test_a_client_that_is_denied_again_and_again_makes_a_line_a_second(tmp_path: Path) -> None:
    path, clock = tmp_path / "audit.jsonl", Clock()
    log = audit_log(path, clock)
    for verb in ("READ", *["WRITE"] * 998, "DELETE"):
        log.write("denied", {**CLIENT, "verb": verb})
    log.write("limited", {**CLIENT, "reason": "requests"})
    log.write("denied", {"peer": "another", "verb": "READ"})
    assert [(line["event"], line["peer"], line["count"]) for line in lines(path)] == [
        ("denied", "10.0.0.9:1", 1),
        ("limited", "10.0.0.9:1", 1),
        ("denied", "another", 1),
    ]
    clock.tick()
    assert [(line["verb"], line["count"]) for line in lines(path)[3:]] == [("DELETE", 999)]
    log.write("denied", {**CLIENT, "verb": "TOUCH"})
    clock.tick()
    assert [(line["verb"], line["count"]) for line in lines(path)[4:]] == [("TOUCH", 1)]
    clock.tick()
    assert not clock.due, "nothing is left to be told"
    log.write("denied", {**CLIENT, "verb": "READ"})
    assert len(lines(path)) == 6


def test_what_was_counted_is_told_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    log = audit_log(path)
    for _ in range(3):
        log.write("denied", CLIENT)
    log.close()
    assert [line["count"] for line in lines(path)] == [1, 2]


def test_what_is_counted_is_bounded(tmp_path: Path) -> None:
    path, clock = tmp_path / "audit.jsonl", Clock()
    log = audit_log(path, clock)
    for number in range(MOST_COUNTED + 500):
        log.write("denied", {"peer": str(number)})
    assert len(lines(path)) == MOST_COUNTED + 1
    clock.tick()
    assert lines(path)[-1] == {
        "time": "2026-01-31T12:00:00.250Z",
        "event": "denied",
        "reason": "of more connections than are told apart",
        "count": 499,
    }


# -- what can go wrong


@contextmanager
def no_larger_files_than(size: int) -> Iterator[None]:
    """What a full disk does: a write is cut, and the next one fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_loses_lines_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "audit.jsonl"
    log = audit_log(path)
    log.write("authenticated", {"peer": "before"})
    with no_larger_files_than(path.stat().st_size + 10):
        for number in range(5):
            log.write("authenticated", {"peer": str(number)})
    log.write("authenticated", {"peer": "after"})
    first, cut, lost, last = path.read_text().splitlines()
    assert json.loads(first)["peer"] == "before"
    assert cut == '{"time": "'
    assert (json.loads(lost)["event"], json.loads(lost)["count"]) == ("lost", 5)
    assert json.loads(last)["peer"] == "after"
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert messages[0].startswith(f"audit log {path}: ")
    assert messages[1] == "the audit log can be written again; lines lost: 5"


def test_a_folder_that_has_gone_loses_lines_until_it_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = audit_log(folder / "audit.jsonl")
    folder.rename(tmp_path / "away")
    log.write("authenticated", {"peer": "lost"})
    folder.mkdir()
    log.write("authenticated", {"peer": "back"})
    assert [line["event"] for line in lines(folder / "audit.jsonl")] == ["lost", "authenticated"]


def test_paths_that_cannot_be_an_audit_log(tmp_path: Path) -> None:
    check_audit_log(None)
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(tmp_path / "elsewhere")
    os.mkfifo(pipe)
    for path, reason in (
        (tmp_path / "none" / "a", "there is no folder"),
        (tmp_path, "Is a directory"),
        (link, "symbolic links"),
        (pipe, ""),
    ):
        with pytest.raises(ConfigurationError, match=f"audit log {path}: .*{reason}"):
            check_audit_log(path)
    check_audit_log(tmp_path / "good")


def test_without_a_file_the_log_has_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "wireproto.audit")
    log = audit_log(None)
    log.write("refused", {"peer": "10.0.0.9:1", "reason": "the API key is not known\n"})
    log.write("authenticated", {"peer": "10.0.0.9:1", "token_id": None})
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", 'refused {"peer": "10.0.0.9:1", "reason": "the API key is not known\\\\n"}'),
        ("DEBUG", 'authenticated {"peer": "10.0.0.9:1"}'),
    ]


def test_a_line_costs_little(tmp_path: Path) -> None:
    """A thousand logins a second must not take more than a few per cent of a core."""
    log = AuditLog(tmp_path / "audit.jsonl", 1, Clock().later)
    before = time.process_time()
    for _ in range(2000):
        log.write("authenticated", {**CLIENT, "token_id": "abcdefghijklmnop", "method": "api_key"})
    each = (time.process_time() - before) / 2000
    assert each < 200e-6
