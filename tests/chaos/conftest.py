"""Real servers for the ledger."""

from tests.live.conftest import server, start_server

__all__ = ["server", "start_server"]
