"""cachelib's own tests for every kind of cache, to be mixed into a class that has a `cache_factory`."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from tests.adapters.hosts import tests_of

_NAMES = ("clear", "common", "delete_many_with_prefix", "has", "serializer")


def _loaded() -> dict[str, Any]:
    """They import each other as top-level modules; afterwards there are no such names any more."""
    folder = str(tests_of("cachelib"))
    servers = ModuleType("xprocess")
    servers.ProcessStarter = object  # type: ignore[attr-defined]  # it starts servers that are not needed here
    before = set(sys.modules)
    sys.path.insert(0, folder)
    sys.modules.setdefault("xprocess", servers)
    try:
        return {name: importlib.import_module(name) for name in _NAMES}
    finally:
        sys.path.remove(folder)
        for name in ("conftest", "xprocess", *_NAMES):
            if name not in before:
                del sys.modules[name]


_modules = _loaded()
ClearTests: Any = _modules["clear"].ClearTests
CommonTests: Any = _modules["common"].CommonTests
DeleteManyWithPrefixTests: Any = _modules["delete_many_with_prefix"].DeleteManyWithPrefixTests
HasTests: Any = _modules["has"].HasTests
SerializerTests: Any = _modules["serializer"].SerializerTests
