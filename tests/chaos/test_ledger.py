"""The ledger's clients against real servers, some of which are killed, stopped, or given wrong values."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.chaos.ledger import Ledger, LedgerClient, Load
from bench.chaos.linearizability import check
from tests.live.fake_node import RealNode
from tests.live.running import REPOSITORY, RunningServer, wait_until
from wireproto import AsyncClient

Starter = Callable[..., RunningServer]


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


async def begun(client: LedgerClient, count: int) -> None:
    """Wait until so many more requests have succeeded."""
    so_far = len(client.ledger.entries)
    await until(lambda: sum(entry.succeeded for entry in client.ledger.entries[so_far:]) >= count)


def nothing_is_wrong(ledger: Ledger) -> bool:
    return ledger.wrong_answers() == [] and ledger.bugs() == [] and check(ledger.history()) == []


@pytest.mark.parametrize("many_writers", [False, True])
async def test_a_healthy_server_keeps_its_word(server: RunningServer, many_writers: bool) -> None:
    load = Load(clients=8, keys=20, delete_share=0.1, many_writers=many_writers, prefix=f"healthy-{many_writers}")
    client = LedgerClient(server.url(), load)
    ledger = await client.run(operations=3000)
    assert len(ledger.entries) == 3000
    assert {outcome for _, outcome in ledger.counts()} == {"OK", "MISS"}
    assert {verb for verb, _ in ledger.counts()} == {"READ", "WRITE", "DELETE"}
    assert ledger.unanswered() == []
    assert nothing_is_wrong(ledger)
    final = await client.final_values()
    assert ledger.lost_writes(final) == []
    assert final.keys() == set(load.names)
    writers = {
        entry.key: {other.client for other in ledger.entries if other.key == entry.key and other.verb != "READ"}
        for entry in ledger.entries
    }
    assert (max(map(len, writers.values())) > 1) is many_writers
    await client.clear()
    assert set((await client.final_values()).values()) == {None}


async def test_it_stops_when_it_is_told(server: RunningServer) -> None:
    stop = asyncio.Event()
    client = LedgerClient(server.plain_url(), Load(clients=4, keys=8, prefix="stopped", pause=60.0))
    running = asyncio.ensure_future(client.run(stop))
    await begun(client, 4)
    stop.set()
    ledger = await asyncio.wait_for(running, 5)
    assert len(ledger.entries) == 4
    assert all(entry.succeeded for entry in ledger.entries)


async def test_it_stops_when_the_time_is_over(server: RunningServer) -> None:
    started = time.monotonic()
    ledger = await LedgerClient(server.plain_url(), Load(clients=2, keys=4, prefix="timed")).run(seconds=0.2)
    assert 0.2 <= time.monotonic() - started < 5
    assert all(started <= entry.started <= entry.ended for entry in ledger.entries if entry.ended is not None)
    assert len(ledger.entries) > 10


async def test_options_are_passed_on_to_writes(server: RunningServer) -> None:
    load = Load(clients=2, keys=2, write_share=1.0, write_options={"ex": 1000}, prefix="options", value_size=500)
    await LedgerClient(server.plain_url(), load).run(operations=20)
    async with AsyncClient(server.plain_url()) as client:
        found = await client.read(load.names[0], with_ttl=True)
    assert found is not None
    assert found.ttl is not None
    assert 900 < found.ttl <= 1000
    assert len(found.value) == 500


async def test_what_is_no_answer_of_a_server_is_raised(server: RunningServer) -> None:
    load = Load(clients=2, keys=2, write_options={"no_such_option": 1}, prefix="raised")
    with pytest.raises(TypeError, match="no_such_option"):
        await LedgerClient(server.plain_url(), load).run(seconds=30)


async def test_a_value_put_there_by_others_is_found(server: RunningServer) -> None:
    load = Load(clients=4, keys=1, write_share=0.0, prefix="injected")
    client = LedgerClient(server.plain_url(), load)
    async with AsyncClient(server.plain_url()) as other:
        running = asyncio.ensure_future(client.run(seconds=20))
        await begun(client, 50)
        await other.write(load.names[0], b"somebody:9|0|1|")
        await begun(client, 50)
        client_stopped = time.monotonic()
        await other.delete(load.names[0])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    faults = client.ledger.wrong_answers()
    assert {fault.reason for fault in faults} == {"a value of another key, b'somebody:9'"}
    assert all(fault.entry.started < client_stopped for fault in faults)
    (violation,) = check(client.ledger.history())
    assert "never written" in violation.reason


async def test_a_server_that_hangs_owes_answers_but_breaks_no_promise(start_server: Starter) -> None:
    server = start_server()
    load = Load(clients=8, keys=16, timeout=0.4, prefix="hanging")
    client, stop = LedgerClient(server.plain_url(), load), asyncio.Event()
    running = asyncio.ensure_future(client.run(stop))
    await begun(client, 200)
    stopped = time.monotonic()
    server.process.send_signal(signal.SIGSTOP)
    await until(lambda: len([entry for entry in client.ledger.unanswered() if entry.ended is not None]) >= 8)
    server.process.send_signal(signal.SIGCONT)
    await begun(client, 200)
    stop.set()
    ledger = await running
    owed = [entry for entry in ledger.unanswered() if entry.ended is not None]
    assert {entry.outcome for entry in owed} <= {"TIMEOUT", "LOST"}
    assert len(owed) >= 8
    assert ledger.late(0.3, time.monotonic())[0][1] >= 0.1
    outage = ledger.outage(stopped)
    assert outage.seconds is not None
    assert outage.seconds >= 0.4
    assert nothing_is_wrong(ledger)
    assert all(not lost.certain for lost in ledger.lost_writes(await client.final_values()))


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[RealNode]]:
    """Two nodes without persistence: a killed one has lost everything."""
    started = [RealNode(tmp_path), RealNode(tmp_path)]
    yield started
    for node in started:
        node.kill()


async def test_a_node_that_has_forgotten_everything_is_found_out(start_server: Starter, nodes: list[RealNode]) -> None:
    server = start_server("--node", f"a={nodes[0].url}", "--node", f"b={nodes[1].url}")
    # Few writes, so that many keys are read before they are written again.
    load = Load(clients=8, keys=40, write_share=0.05, prefix="killed")
    client, stop = LedgerClient(server.plain_url(), load), asyncio.Event()
    async with AsyncClient(server.plain_url()) as asking:
        struck = [key for key in load.names if (await asking.where(key)).node == "a"]
    running = asyncio.ensure_future(client.run(stop))
    await begun(client, 4000)
    killed = time.monotonic()
    nodes[0].kill()
    await until(lambda: any(entry.outcome == "DOWN" for entry in client.ledger.entries))
    await asyncio.to_thread(nodes[0].start)
    await until(lambda: client.ledger.outage(killed, struck).first_write is not None)
    stop.set()
    ledger = await running
    assert ledger.unanswered() == []  # the server has answered: that the node is down, or the answer lost
    assert 0 < len(struck) < load.keys
    faults = ledger.wrong_answers()
    assert {fault.reason for fault in faults} == {"there was no value, where one had been acknowledged before"}
    assert {fault.entry.key for fault in faults} <= set(struck)
    assert {violation.key for violation in check(ledger.history())} >= {fault.entry.key for fault in faults}
    lost = ledger.lost_writes(await client.final_values())
    assert {one.entry.key for one in lost} <= set(struck)
    assert any(one.certain and one.final is None for one in lost)
    others = ledger.outage(killed, set(load.names) - set(struck)).seconds
    own = ledger.outage(killed, struck).seconds
    assert others is not None
    assert own is not None
    assert own > others


def run_command(server: RunningServer, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.chaos.ledger", *flags]
    environment = {**os.environ, "WIREPROTO_URL": server.url()}
    return subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def test_the_command_prints_a_table_and_is_content(server: RunningServer) -> None:
    flags = ["--operations", "2000", "--clients", "4", "--keys", "10", "--deletes", "0.1", "--check"]
    output, errors = (process := run_command(server, *flags)).communicate(timeout=30)
    assert process.returncode == 0, output + errors
    assert re.search(r"^WRITE +OK +[\d,]+$", output, re.MULTILINE)
    assert re.search(r"^2,000 requests in ", output, re.MULTILINE)
    assert "0 wrong answers" in output
    assert "0 keys that are not linearizable" in output


def test_the_command_stops_at_a_signal_and_fails_when_answers_are_missing(start_server: Starter) -> None:
    server = start_server()
    process = run_command(server, "--seconds", "60", "--clients", "4", "--keys", "10", "--timeout", "0.5")
    wait_until(lambda: server.stats()["connections"]["open"] == 5, timeout=10)  # type: ignore[index]
    server.process.kill()
    process.terminate()
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 1, output + errors
    assert "not readable in the end" in output


def test_the_command_says_what_it_cannot_do() -> None:
    command = [sys.executable, "-m", "bench.chaos.ledger", "--url", "http://localhost"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("ledger: ")
