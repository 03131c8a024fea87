"""Functions whose results are kept in the cache."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from types import MethodType
from typing import Any, Generic, ParamSpec, TypeVar, Unpack, cast, overload

from wireproto.client.aio import AsyncClient
from wireproto.client.sync import Client
from wireproto.core.calls import Key
from wireproto.core.function_keys import FunctionKeys, KeyOf
from wireproto.core.load_terms import LoadOptions, LoadTerms
from wireproto.errors import ConfigurationError

P = ParamSpec("P")
R = TypeVar("R")


class Cached(Generic[P, R]):
    """A function whose results are kept; see `cached`."""

    __wrapped__: Callable[P, R]

    def __init__(
        self,
        function: Callable[P, R],
        keys: FunctionKeys,
        client: Client[Any],
        terms: LoadTerms,
        timeout: float | None,
    ) -> None:
        functools.update_wrapper(self, function)
        self._keys = keys
        self._client = client
        self._terms = terms
        self._timeout = timeout

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The kept result, or that of the function."""
        loader = functools.partial(self.__wrapped__, *args, **kwargs)
        key = self._keys.key(args, kwargs)
        return cast(R, self._client._loads.get_or_load(key, loader, self._terms, self._timeout))

    def key(self, *args: P.args, **kwargs: P.kwargs) -> Key:
        """The key under which the result for these arguments is kept."""
        return self._keys.key(args, kwargs)

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Remove the result for these arguments; what is being loaded now is not kept. False: there was none."""
        return self._client.delete(self.key(*args, **kwargs), timeout=self._timeout)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)


class AsyncCached(Generic[P, R]):
    """A coroutine function whose results are kept; see `cached`."""

    __wrapped__: Callable[P, Awaitable[R]]

    def __init__(
        self,
        function: Callable[P, Awaitable[R]],
        keys: FunctionKeys,
        client: AsyncClient[Any],
        terms: LoadTerms,
        timeout: float | None,
    ) -> None:
        functools.update_wrapper(self, function)
        self._keys = keys
        self._client = client
        self._terms = terms
        self._timeout = timeout

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The kept result, or that of the function."""
        loader = functools.partial(self.__wrapped__, *args, **kwargs)
        key = self._keys.key(args, kwargs)
        return cast(R, await self._client._loads.get_or_load(key, loader, self._terms, self._timeout))

    def key(self, *args: P.args, **kwargs: P.kwargs) -> Key:
        """The key under which the result for these arguments is kept."""
        return self._keys.key(args, kwargs)

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Remove the result for these arguments; what is being loaded now is not kept. False: there was none."""
        return await self._client.delete(self.key(*args, **kwargs), timeout=self._timeout)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)


@overload
def cached(
    client: Client[Any],
    *,
    ttl: float,
    key: KeyOf | None = None,
    timeout: float | None = None,
    **options: Unpack[LoadOptions],
) -> Callable[[Callable[P, R]], Cached[P, R]]: ...
@overload
def cached(
    client: AsyncClient[Any],
    *,
    ttl: float,
    key: KeyOf | None = None,
    timeout: float | None = None,
    **options: Unpack[LoadOptions],
) -> Callable[[Callable[P, Awaitable[R]]], AsyncCached[P, R]]: ...
def cached(
    client: Client[Any] | AsyncClient[Any],
    *,
    ttl: float,
    key: KeyOf | None = None,
    timeout: float | None = None,
    **options: Unpack[LoadOptions],
) -> Any:
    """Keep what a function returns for `ttl` seconds; with an `AsyncClient`, a coroutine function.

        @cached(client, ttl=60, key="user:{user_id}")
        def user(user_id: int) -> dict[str, str]: ...

        user.invalidate(5)

    It is called as `Client.get_or_load` calls a loader, and the options are the same; None is not kept, unless there is
    a `missing_ttl`. The client's codec has to take what the function returns, and whoever gets a kept result gets what
    the codec makes of it. `key`: a template with the function's arguments, or a function of them; without it, the
    function's name and its arguments, of simple types: see `wireproto.core.function_keys`. Calls with the same key
    share a result: what a template leaves out makes no difference. A method needs a template or a function, and `key`
    and `invalidate` take `self` too.

    Raises ConfigurationError or ArgumentError for what cannot work.
    """
    terms = LoadTerms(ttl, **options)

    def decorate(function: Callable[..., Any]) -> Any:
        keys = FunctionKeys(function, key)
        if isinstance(client, Client):
            if _is_awaited(function):
                raise ConfigurationError("a coroutine function needs an AsyncClient")
            return Cached(function, keys, client, terms, timeout)
        if not _is_awaited(function):
            raise ConfigurationError("with an AsyncClient, a coroutine function is cached")
        return AsyncCached(function, keys, client, terms, timeout)

    return decorate


def _is_awaited(function: Callable[..., Any]) -> bool:
    """Whether it is a coroutine function, or an object that is called like one."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
