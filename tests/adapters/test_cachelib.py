"""The cache for cachelib: cachelib's own tests, and what they do not ask."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from tests.adapters.cachelib_tests import (
    ClearTests,
    CommonTests,
    DeleteManyWithPrefixTests,
    HasTests,
    SerializerTests,
)
from tests.live.running import RunningServer
from wireproto.adapters.cachelib import WireprotoCache


class TestTheirs(CommonTests, ClearTests, HasTests, DeleteManyWithPrefixTests, SerializerTests):
    """All that cachelib asks of a cache."""

    @pytest.fixture(autouse=True)
    def cache_factory(self, server: RunningServer) -> None:
        def factory(**keywords: Any) -> WireprotoCache:
            prefix = keywords.pop("key_prefix", "") + secrets.token_hex(8)
            return WireprotoCache(server.url(), key_prefix=prefix, clear_within=0, **keywords)

        self.cache_factory = factory
