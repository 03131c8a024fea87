"""The shared memory of quotas: another process sees the same counts, and what is not used takes no room."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from wireproto.core.access import NO_QUOTA, Quota
from wireproto.core.api_keys import ApiKeyRecord
from wireproto.core.quotas import Bucket, Meter
from wireproto.server.shared_quotas import SharedQuotas

NOW = 5_000.0
RECORDS = [
    ApiKeyRecord("id-1", "0" * 64, "limited", "ns", 0, quota=Quota(requests=10, connections=2)),
    ApiKeyRecord("id-2", "1" * 64, "free", "ns", 0, quota=NO_QUOTA),
]

WORKER = """
import sys
from wireproto.core.access import Quota
from wireproto.core.quota_table import PlacedQuota
from wireproto.core.quotas import Meter
from wireproto.server.shared_quotas import quota_table
table = quota_table(int(sys.argv[1]), workers=2, worker=1)
meter = Meter(table, PlacedQuota(int(sys.argv[2]), Quota(requests=10, connections=2)))
meter.count_in()
meter.count_in()
print(meter.requests.level(5000.0))
meter.requests.take(7)
"""


@pytest.fixture
def shared() -> Iterator[SharedQuotas]:
    made = SharedQuotas(workers=2)
    yield made
    os.close(made.descriptor)


def test_only_clients_with_a_quota_have_a_place(shared: SharedQuotas) -> None:
    assert {client: placed.quota for client, placed in shared.assign(RECORDS).items()} == {"limited": RECORDS[0].quota}


def test_what_a_worker_let_pass_outlives_it_and_its_connections_do_not(shared: SharedQuotas) -> None:
    placed = shared.assign(RECORDS)["limited"]
    meter = Meter(shared.table, placed)
    assert isinstance(meter.requests, Bucket)
    meter.requests.level(NOW)
    meter.requests.take(1)
    command = [sys.executable, "-c", WORKER, str(shared.descriptor), str(placed.place)]
    done = subprocess.run(command, pass_fds=[shared.descriptor], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "9.0\n"
    assert meter.requests.level(NOW) == 2
    meter.count_in()
    assert meter.has_too_many
    shared.retire(1)
    assert not meter.has_too_many
    assert meter.requests.level(NOW) == 2


def test_places_that_nobody_uses_take_no_room(shared: SharedQuotas) -> None:
    status = os.fstat(shared.descriptor)
    assert status.st_size == 2 * 65_536 * 64
    shared.assign(RECORDS)
    assert os.fstat(shared.descriptor).st_blocks * 512 < 64 * 1024
