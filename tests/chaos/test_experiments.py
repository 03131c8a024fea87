"""The experiments, in short: that they run, and that what no machine can be too slow for holds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.chaos import cancels, restarts
from bench.chaos.figures import Figure, report
from bench.chaos.restarts import most_in_a_second
from bench.chaos.returning import LOSES, REFUSED, STOPPED, aside_figures, return_times
from bench.chaos.slow_node import BAD, FAULTS, neighbours
from bench.chaos.tcp_nodes import Cluster, proxied_cluster
from bench.owners import owners
from bench.workload import Workload

SLOW, SILENT = "slow, 200 ms", "silent"
FLAGS = ("--node-timeout", "400ms")


def failed(figures: list[Figure]) -> list[Figure]:
    return [figure for figure in figures if figure.held is False]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with proxied_cluster(3, *FLAGS) as made:
        yield made


@pytest.fixture(scope="module")
def key(cluster: Cluster) -> int:
    """The number of a key of the bad node."""
    names = [name for name, _ in owners(cluster.target, Workload(), range(100))]
    return names.index(f"node-{BAD}")


def test_a_bad_node_spoils_no_answer_of_the_others(cluster: Cluster) -> None:
    chosen = {name: FAULTS[name] for name in (SLOW, SILENT)}
    figures = neighbours(cluster, rounds=1, seconds=0.5, all_faults=chosen)
    wrong = [figure for figure in figures if "wrong answers" in figure.what]
    assert [figure.value for figure in wrong] == ["0", "0"]
    told = {figure.what.partition(":")[0]: figure.value for figure in figures if "requests" in figure.what}
    assert "OK" in told[SLOW]
    assert set(told) == {SLOW, SILENT}


def test_a_bad_node_is_set_aside_after_a_few_failures(cluster: Cluster, key: int) -> None:
    figures = aside_figures("short", cluster, BAD, key, FAULTS, length=1.5)
    assert len(figures) == len(FAULTS)
    assert failed(figures) == []
    assert figures[-1].value != "0", "a silent node has failed at least once"


@pytest.mark.parametrize("kind", [STOPPED, LOSES, REFUSED])
def test_a_node_that_heals_is_back_within_a_second(cluster: Cluster, key: int, kind: str) -> None:
    times = return_times(cluster, BAD, key, kind, repetitions=2, waits=(0.3, 0.8))
    print([f"{seconds:.2f}" for seconds in times])
    assert max(times) < 1


def test_all_nodes_restart_under_connected_clients() -> None:
    figures = restarts.run(clients=60, repetitions=2, workers=2, downs=(0.3,))
    # What two restarts do to the memory says nothing.
    assert failed([figure for figure in figures if "memory" not in figure.what]) == []
    answers = next(figure.value for figure in figures if figure.what == "answers")
    assert "MISS" in answers


def test_calls_are_given_up_and_clients_vanish() -> None:
    figures = cancels.run(count=200)
    assert failed(figures) == []
    assert "200 vanished" in next(figure.value for figure in figures if "vanish" in figure.what)


def test_the_most_in_a_second_is_found_in_any_second() -> None:
    samples = [(0.0, [0, 0]), (0.5, [2, 0]), (1.0, [4, 1]), (1.4, [9, 1]), (3.0, [9, 5])]
    assert most_in_a_second(samples) == 7
    assert most_in_a_second(samples[:1]) == 0


def test_a_report_says_what_did_not_hold(capsys: pytest.CaptureFixture[str]) -> None:
    good, told = Figure("e", "good", "1", "1", True), Figure("e", "told", "2", "", None)
    assert report([good, told]) == 0
    assert report([good, Figure("e", "bad", "3", "4", False)]) == 1
    assert "NO" in capsys.readouterr().out.splitlines()[-1]
