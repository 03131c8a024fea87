"""What a machine allows."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tests.admin.cases import bad, case, levels
from wireproto.admin.checks import machine
from wireproto.server.listener import BACKLOG
from wireproto.settings import ShardAddress

MIB = 2**20


def put(root: Path, name: str, content: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_descriptors(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
        assert levels(machine.descriptors(case(tmp_path, max_connections=400))) == ["ok"]
        assert bad(machine.descriptors(case(tmp_path, max_connections=1000, shards=2, replicas=1))) == [
            "warning  descriptors: a process may open 512 files here, and needs 1068 for max_connections 1000; "
            "ulimit -n 1068 (under systemd: LimitNOFILE=1068), or lower max_connections"
        ]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_memory(tmp_path: Path) -> None:
    given = case(tmp_path, workers=2, shards=2, replicas=1, node_memory="100mb", max_client_memory=64 * MIB)
    assert levels(machine.memory(given, 1000 * MIB)) == ["ok"]
    assert levels(machine.memory(given, 584 * MIB)) == ["warning"]
    assert bad(machine.memory(given, 577 * MIB)) == [
        "problem  memory: 578 MiB may be used (workers 114 MiB, clients 64 MiB, nodes 400 MiB), and there are 577; "
        "lower node_memory, shards or workers: the system ends what takes too much"
    ]
    elsewhere = case(tmp_path, workers=2, nodes=(ShardAddress("a", "redis://h"),), max_client_memory=64 * MIB)
    assert levels(machine.memory(elsewhere, 200 * MIB)) == ["ok"]


@pytest.mark.parametrize(
    ("text", "count"),
    [("256mb", 256 * MIB), ("2GB", 2 * 2**30), ("1k", 1000), ("3kb", 3072), ("7m", 7 * 10**6), ("9", 9)],
)
def test_redis_writes_memory_like_this(text: str, count: int) -> None:
    assert machine._redis_bytes(text) == count


def test_the_memory_of_a_container_counts_if_it_is_less(tmp_path: Path) -> None:
    assert machine.memory_of_machine(tmp_path) is None
    put(tmp_path, "proc/meminfo", "MemTotal:  1024 kB\nMemFree: 1 kB\n")
    assert machine.memory_of_machine(tmp_path) == MIB
    limit = put(tmp_path, "sys/fs/cgroup/memory.max", "max\n")
    assert machine.memory_of_machine(tmp_path) == MIB
    limit.write_text("4096\n")
    assert machine.memory_of_machine(tmp_path) == 4096
    assert machine.memory_of_machine() is not None


def test_core_dumps(tmp_path: Path) -> None:
    pattern = tmp_path / "core_pattern"
    for text, expected in (
        ("core\n", "ok"),
        ("|/usr/lib/systemd/systemd-coredump %P\n", "ok"),
        ("|/usr/share/apport/apport -p%p\n", "warning"),
    ):
        pattern.write_text(text)
        assert levels(machine.core_dumps(case(tmp_path), pattern)) == [expected]
    assert levels(machine.core_dumps(case(tmp_path), tmp_path / "none")) == ["ok"]


@pytest.mark.parametrize(("state", "found"), [(0, ["ok"]), (5, ["warning"]), (None, [])])
def test_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: int | None, found: list[str]) -> None:
    monkeypatch.setattr(machine, "_clock_state", lambda: state)
    assert levels(machine.clock(case(tmp_path))) == found


def test_the_kernel_can_be_asked_for_its_clock() -> None:
    assert machine._clock_state() in (None, *range(6))


def test_the_backlog(tmp_path: Path) -> None:
    assert machine.backlog(case(tmp_path), tmp_path) == []
    most = put(tmp_path, "proc/sys/net/core/somaxconn", f"{BACKLOG}\n")
    assert levels(machine.backlog(case(tmp_path), tmp_path)) == ["ok"]
    most.write_text("128\n")
    assert bad(machine.backlog(case(tmp_path), tmp_path)) == [
        f"warning  backlog: the kernel lets 128 clients wait to be accepted, and the server asks for {BACKLOG}; "
        f"sysctl -w net.core.somaxconn={BACKLOG}"
    ]


def test_nodes_to_start(tmp_path: Path) -> None:
    assert levels(machine.nodes_to_start(case(tmp_path), tmp_path)) == ["ok"]
    assert machine.nodes_to_start(case(tmp_path, nodes=(ShardAddress("a", "redis://h"),))) == []
    assert levels(machine.nodes_to_start(case(tmp_path, redis_server="no-such-program"))) == ["problem"]
    overcommit = put(tmp_path, "proc/sys/vm/overcommit_memory", "0\n")
    assert levels(machine.nodes_to_start(case(tmp_path, replicas=1), tmp_path)) == ["ok", "warning"]
    overcommit.write_text("1\n")
    assert levels(machine.nodes_to_start(case(tmp_path, replicas=1), tmp_path)) == ["ok"]


def test_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert levels(machine.user(case(tmp_path))) == ["warning"]
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert machine.user(case(tmp_path)) == []
