"""A distributed cache: a TLS line protocol in front of Redis nodes, and clients for it.

The client classes are loaded on first use, so that the server and the tools that need only `wireproto.errors` do not
pay for `ssl` and `asyncio`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_LAZY = {
    "Client": "wireproto.client.sync",
    "AsyncClient": "wireproto.client.aio",
    "ClientOptions": "wireproto.client.options",
    "Codec": "wireproto.core.codec",
    "Leased": "wireproto.core.results",
    "Location": "wireproto.core.locations",
    "NodeOfShard": "wireproto.core.locations",
    "Value": "wireproto.core.results",
    "Versioned": "wireproto.core.results",
    "errors": "wireproto.errors",
    "cached": "wireproto.recipes.cached",
    "RateLimiter": "wireproto.recipes.rate_limiter",
    "AsyncRateLimiter": "wireproto.recipes.rate_limiter",
    "RateLimit": "wireproto.core.rate_windows",
    "SessionStore": "wireproto.recipes.session_store",
    "AsyncSessionStore": "wireproto.recipes.session_store",
    "Session": "wireproto.core.sessions",
}

__all__ = [
    "AsyncClient",
    "AsyncRateLimiter",
    "AsyncSessionStore",
    "Client",
    "ClientOptions",
    "Codec",
    "Leased",
    "Location",
    "NodeOfShard",
    "RateLimit",
    "RateLimiter",
    "Session",
    "SessionStore",
    "Value",
    "Versioned",
    "__version__",
    "cached",
    "errors",
]

if TYPE_CHECKING:
    from wireproto import errors
    from wireproto.client.aio import AsyncClient
    from wireproto.client.options import ClientOptions
    from wireproto.client.sync import Client
    from wireproto.core.codec import Codec
    from wireproto.core.locations import Location, NodeOfShard
    from wireproto.core.rate_windows import RateLimit
    from wireproto.core.results import Leased, Value, Versioned
    from wireproto.core.sessions import Session
    from wireproto.recipes.cached import cached
    from wireproto.recipes.rate_limiter import AsyncRateLimiter, RateLimiter
    from wireproto.recipes.session_store import AsyncSessionStore, SessionStore


def __getattr__(name: str) -> Any:
    """Load a public name on first use. Raises AttributeError for any other name."""
    from importlib import import_module

    module_name = _LAZY.get(name)
    if module_name is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(module_name)
    value = module if name == "errors" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
