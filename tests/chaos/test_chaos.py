"""The experiments of `python -m bench.chaos`, one round each: what must hold does. And how their findings are told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.chaos import conditional_faults, consistency, judging, kills, lease_failovers, partitions
from bench.chaos.entries import OK, Entry
from bench.chaos.findings import Bound, Collected, Figure, Finding
from bench.chaos.record import Ledger
from bench.chaos.table import as_text
from bench.chaos.traffic import Pace, Stalls
from tests.live.running import REPOSITORY

GENTLE = Pace(clients=4, pause=0.01)


def assert_held(finding: Finding) -> None:
    """What must hold does; but times are compared over many rounds only, on a machine that does nothing else."""
    broken = [figure for figure in finding.figures if figure.held is False and figure.name != kills.P99_RATIO]
    assert not broken, as_text([finding])
    assert {figure.name for figure in finding.figures if figure.bound is not None}


def values(finding: Finding, name: str) -> list[float]:
    return next(figure.values for figure in finding.figures if figure.name == name)


async def test_a_killed_master_is_succeeded_and_nobody_is_told_anything_wrong() -> None:
    finding = await kills.run(kills.Plan("kill", 1, pace=GENTLE, before=0.5))
    assert_held(finding)
    assert values(finding, kills.EXTRA) == [0]
    assert values(finding, judging.ACKNOWLEDGED)[0] > 100


async def test_a_master_that_was_stopped_and_goes_on_is_not_written_to() -> None:
    finding = await kills.run(kills.Plan("stop", 1, pace=GENTLE, before=0.5))
    assert_held(finding)
    assert values(finding, kills.OLD_WRITES) == [0]
    assert values(finding, kills.REIGN)[0] > 0
    assert values(finding, judging.SLOWEST)[0] > 900, "it was silent, so somebody has waited for the time-out"


@pytest.mark.usefixtures("network")
async def test_a_master_cut_off_is_left_and_no_write_that_replicas_have_is_lost() -> None:
    finding = await partitions.run(partitions.Plan(1, sync=1, pace=GENTLE))
    assert_held(finding)
    assert values(finding, partitions.EXTRA) == [0]
    assert values(finding, judging.ACKNOWLEDGED)[0] > 100


async def test_many_writers_see_one_register_for_each_key() -> None:
    assert_held(await consistency.run(consistency.Plan(6_000)))


async def test_a_node_that_keeps_what_it_has_is_one_register_and_one_counter_for_each_key_across_faults() -> None:
    finding = await conditional_faults.run(conditional_faults.Plan(3, between=0.7))
    assert_held(finding)
    for done in (conditional_faults.SWAPS, conditional_faults.FILLS):
        assert values(finding, done)[0] > 50


async def test_a_lease_is_used_once_and_not_when_it_has_ended_though_its_master_is_killed() -> None:
    finding = await lease_failovers.run(lease_failovers.Plan(1))
    assert_held(finding)
    assert values(finding, lease_failovers.FILLS)[0] > 50


# -- what is told


def finding_of(*values: float) -> Finding:
    return Finding("kill", "twice", [Figure("lost", list(values), Bound(0)), Figure("took, s", [1.5])], ["a note"])


def test_the_table_says_what_held_and_what_did_not() -> None:
    good, bad = finding_of(0, 0), finding_of(0, 3)
    text = as_text([good])
    assert "| kill " in text
    assert "held" in text
    assert "**NOT**" not in text
    assert "- **kill**: twice.\n  - a note" in text
    assert text.endswith("All that must hold did.")
    text = as_text([good, bad])
    assert text.count("**NOT**") == 1
    assert text.endswith("NOT held: kill")
    assert len({len(line) for line in text.splitlines() if line.startswith("|")}) == 1


@pytest.mark.parametrize(
    ("bound", "values", "held", "words"),
    [
        (Bound(0), [0, 0], True, "none"),
        (Bound(0), [0, 1], False, "none"),
        (Bound(0), [], False, "none"),
        (Bound(3, is_strict=True), [1, 2.9], True, "< 3"),
        (Bound(3, is_strict=True), [3], False, "< 3"),
        (Bound(3), [3], True, "≤ 3"),
        (Bound(3), [float("inf")], False, "≤ 3"),
        (Bound(1.5, of="median"), [1, 1.2, 9], True, "median ≤ 1.5"),
        (Bound(1.5, of="median"), [1, 1.6, 9], False, "median ≤ 1.5"),
    ],
)
def test_bounds(bound: Bound, values: list[float], held: bool, words: str) -> None:
    assert bound.holds(values) is held
    assert str(bound) == words


def test_what_never_happened_can_be_told() -> None:
    figure = Figure("first write", [1.25, float("inf")])
    assert figure.words() == ("1.25", "never", "never")
    document = Finding("kill", "once", [figure]).as_dict()
    assert json.loads(json.dumps(document))["figures"][0]["values"] == [1.25, None]


def test_rounds_are_gathered_by_name() -> None:
    collected = Collected()
    collected.add("lost", 1)
    collected.add("lost", 2)
    collected.outcomes.update(["OK", "OK", "DOWN", ""])
    assert collected.figure("lost").values == [1, 2]
    assert collected.figure("other").words() == ("-", "-", "-")
    assert collected.sum("lost") == 3
    assert collected.answers() == "answers after the fault: OK 2, DOWN 1, no end 1"


# -- what is judged


def entry(started: float, ended: float | None, outcome: str = OK) -> Entry:
    return Entry(0, "WRITE", b"k", b"v", started, ended, outcome)


def test_writes_without_a_promise_may_have_happened_or_not() -> None:
    entries = [entry(0, 1), entry(2, 3), entry(4, 5), entry(2, 3, "DOWN")]
    assert [one.outcome for one in judging.without_promise(entries, 2, 4)] == [OK, "LOST", OK, "DOWN"]
    assert [one.outcome for one in entries] == [OK, OK, OK, "DOWN"], "the ledger stays as it is"


async def test_an_answer_is_late_unless_its_client_was() -> None:
    stalls = Stalls()
    ledger = Ledger([entry(0.0, 0.9), entry(10.0, 11.2), entry(20.0, 21.2), entry(30.0, None)])
    assert judging.late(ledger, 1.0, stalls) == [ledger.entries[3], ledger.entries[1], ledger.entries[2]]
    stalls.note(21.0, 0.25)
    assert stalls.longest == 0.25
    assert judging.late(ledger, 1.0, stalls) == [ledger.entries[3], ledger.entries[1]]


def test_the_p99_is_that_of_a_time() -> None:
    entries = [entry(second, second + 0.001) for second in range(100)] + [entry(1000.0, 1001.0)]
    assert judging.p99(entries, 0, 100) == pytest.approx(1000, rel=0.01)
    assert judging.p99(entries, 0, 2000) == pytest.approx(1000, rel=0.01)
    assert judging.p99(entries, 1000, 2000) == pytest.approx(1_000_000, rel=0.01)


# -- the command


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench.chaos", *words], cwd=REPOSITORY, capture_output=True, text=True, timeout=50
    )


def test_the_command_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    done = command("--operations", "1000", "--seed", "5", "--json", str(tmp_path / "found.json"), "linearizability")
    assert done.returncode == 0, done.stderr
    assert "| linearizability " in done.stdout
    assert done.stdout.endswith("All that must hold did. (seed 5)\n")
    document = json.loads((tmp_path / "found.json").read_text())
    assert document["seed"] == 5
    assert [(one["name"], one["held"]) for one in document["experiments"]] == [("linearizability", True)]


def test_the_command_knows_its_experiments() -> None:
    done = command("kil")
    assert done.returncode == 2
    assert "no experiment is called kil" in done.stderr
