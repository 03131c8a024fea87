"""The shared memory in which the workers of a server count what clients with a quota use (`core.quota_table`)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from wireproto.core.api_keys import ApiKeyRecord
from wireproto.core.quota_table import PlacedQuota, QuotaPlaces, QuotaTable, table_size
from wireproto.core.quotas import quotas_of
from wireproto.server.shared_memory import mapped, nameless_file

PLACES: Final = 65_536
"""Clients that may have a quota. 4 MiB for each worker, of which only the pages that are used take room."""


def quota_table(descriptor: int, workers: int, worker: int) -> QuotaTable:
    """The table in a file that was inherited, as this worker sees it. Raises OSError."""
    return QuotaTable(mapped(descriptor, table_size(workers, PLACES)), workers, PLACES, worker)


class SharedQuotas:
    """The table of a server, for the one process that knows all API keys. Raises OSError."""

    def __init__(self, workers: int) -> None:
        self.descriptor = nameless_file("quotas")
        self.table = quota_table(self.descriptor, workers, 0)
        self._places = QuotaPlaces(self.table)

    def assign(self, records: Iterable[ApiKeyRecord]) -> dict[str, PlacedQuota]:
        """What all workers are to hold clients to. Raises ConfigurationError if too many clients have a quota."""
        return self._places.assign(quotas_of(records, time.time()))

    def retire(self, worker: int) -> None:
        """A worker has ended, and with it its connections; what it let pass stays counted."""
        self._places.retire(worker)
