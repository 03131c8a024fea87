"""Every micro benchmark runs and has a name of its own; results can be written, shown and compared."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.arguments import parser
from bench.compare import compare
from bench.document import micro_document, read_document
from bench.micro.blocks import Benchmark, measure
from bench.micro.run import CONCERNS, ROUNDS, run


@pytest.mark.parametrize("concern", CONCERNS)
def test_every_benchmark_gives_figures(concern: str) -> None:
    told: list[str] = []
    results = run([concern], 0.001, told.append)
    names = [result.name for result in results]
    assert names * ROUNDS == told
    assert len(set(names)) == len(names)
    assert all(name.startswith(f"{concern}: ") for name in names)
    for result in results:
        assert 0 < result.min_ns <= result.median_ns, result
        assert result.operations >= result.blocks >= ROUNDS


def test_without_names_all_are_run() -> None:
    assert parser().parse_args(["micro"]).names == list(CONCERNS)
    assert parser().parse_args(["micro", "ring"]).names == ["ring"]
    with pytest.raises(SystemExit):
        parser().parse_args(["micro", "frame"])


def test_what_is_prepared_and_cleared_up_is_not_timed() -> None:
    work = range(20_000)
    calls: list[tuple[str, int]] = []

    def noted(what: str, times: int) -> None:
        calls.append((what, times))
        sum(work)

    busy = Benchmark(
        "busy", lambda times: None, before=lambda n: noted("before", n), after=lambda n: noted("after", n), most=1
    )
    assert measure(busy, 0.01).min_ns < 50_000  # the sum takes 200 us
    assert calls[:2] == [("before", 1), ("after", 1)]


def test_the_pieces_of_a_long_value_cost_no_more_than_those_of_a_short_one() -> None:
    per_chunk = {
        result.name: result.min_ns for result in run(["frames"], 0.001, lambda name: None) if "KiB" in result.name
    }
    short, long = (next(ns for name, ns in per_chunk.items() if f" {kib} KiB" in name) for kib in (64, 1024))
    assert long < 2 * short


def test_a_result_is_written_and_shown_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.json"
    monkeypatch.setattr(sys, "argv", ["bench", "micro", "session", "--seconds", "0.001", "--json", str(path)])
    assert main() == 0
    assert "session: READ, 50 in flight" in capsys.readouterr().out
    before = read_document(path)
    assert {result["build"] for result in before["micro"]} <= {"pure", "compiled"}
    after = json.loads(path.read_text())
    for result in after["micro"]:
        result["ns_per_operation"] = {name: 2 * ns for name, ns in result["ns_per_operation"].items()}
    rows = [line for line in compare(before, after).splitlines() if line.startswith("session: ")]
    assert len(rows) == 6
    assert all(row.count(" 2.000") == 2 for row in rows)
    assert "in common" in compare(before, micro_document([], {}))
