"""The keys of functions' results: stable, and never the same for two sets of arguments."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wireproto.core.function_keys import LONGEST_PLAIN, FunctionKeys
from wireproto.errors import ArgumentError, ConfigurationError


def price(article: Any, currency: str = "EUR", *more: Any, net: bool = False, **others: Any) -> None:
    """A function with parameters of every kind."""


class Shop:
    def price(self, article: str) -> None:
        """A method."""


KEYS = FunctionKeys(price, None)
NAME = "cached:tests.core.test_function_keys.price"

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.tuples(inner) | st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types all the way down: 1, 1.0 and True are three arguments."""
    return bool(one == other) and repr(sort(one)) == repr(sort(other))


def sort(value: Any) -> Any:
    if isinstance(value, dict):
        return [(name, sort(value[name])) for name in sorted(value)]
    return type(value)(map(sort, value)) if isinstance(value, list | tuple) else value


def key(*args: Any, **kwargs: Any) -> Any:
    return KEYS.key(args, kwargs)


def test_a_key_tells_the_function_and_its_arguments() -> None:
    assert key("apple") == f"{NAME}(article='apple',currency='EUR',more=(,),net=False,others={{}})"
    assert key(5, "USD", 1.5, net=True, size=None).endswith(
        "(article=5,currency='USD',more=(1.5,),net=True,others={'size':None})"
    )


def test_it_does_not_matter_how_arguments_are_passed() -> None:
    assert key("apple") == key(article="apple") == key("apple", "EUR") == key(currency="EUR", article="apple")
    assert key({"a": 1, "b": 2}) == key({"b": 2, "a": 1})
    with pytest.raises(TypeError):
        key()


@given(VALUES, VALUES)
def test_no_two_arguments_share_a_key(one: Any, other: Any) -> None:
    assert (key(one) == key(other)) is same(one, other)


@given(st.text(), st.text(), st.text(), st.text())
def test_no_text_passes_for_the_text_around_it(a: str, b: str, c: str, d: str) -> None:
    assert (key(a, b) == key(c, d)) is ((a, b) == (c, d))
    assert key(a, b) != key(a, "EUR", b) or b == "EUR"
    keys = FunctionKeys(price, "price:{article}:{currency}")
    assert (keys.key((a, b), {}) == keys.key((c, d), {})) is ((a, b) == (c, d))


def test_a_long_key_ends_with_a_digest() -> None:
    long = key("x" * LONGEST_PLAIN)
    assert long.startswith(f"{NAME}#")
    assert len(long) == len(NAME) + 1 + 64
    assert long != key("y" * LONGEST_PLAIN)
    assert len(FunctionKeys(long_name(500), None).key((1,), {})) < 200


def long_name(length: int) -> Callable[..., None]:
    def function(value: Any) -> None:
        """A function."""

    function.__qualname__ = "f" * length
    return function


class Text(str):
    """A subclass may mean more than its text."""


@pytest.mark.parametrize("value", [object(), uuid.UUID(int=1), Text("a"), {1, 2}, {1: 2}, [object()], price])
def test_arguments_of_other_types_need_a_key(value: Any) -> None:
    with pytest.raises(ArgumentError, match=r"article.*key="):
        key(value)


def test_functions_without_a_name_that_is_the_same_everywhere_need_a_key() -> None:
    def inner(value: int) -> None:
        """It may be another one each time."""

    for function in (inner, lambda value: value):
        with pytest.raises(ConfigurationError, match="key="):
            FunctionKeys(function, None)
        assert FunctionKeys(function, "k:{value}").key((1,), {}) == "k:1"
    function = long_name(3)
    function.__module__ = "__main__"
    with pytest.raises(ConfigurationError):
        FunctionKeys(function, None)


def test_templates() -> None:
    def made(template: str, *args: Any, **kwargs: Any) -> Any:
        return FunctionKeys(price, template).key(args, kwargs)

    assert made("p:{article}", "apple") == "p:apple"
    assert made("p:{0}:{1}", "apple") == "p:apple:EUR"
    assert made("p:{}:{}", "apple") == "p:apple:EUR"
    assert made("{{p}}:{article:05d}", 42) == "{p}:00042"
    assert made("p:{article.hex}:{size}", uuid.UUID(int=1), size="L") == f"p:{'0' * 31}1:L"
    assert made("p:{0}", "a:{b}/ü %") == "p:a%3A%7Bb%7D%2F%C3%BC%20%25"
    assert made("p:{article}", "me@example.org+1") == "p:me@example.org+1"
    assert made("constant", "apple") == "constant"
    assert FunctionKeys(Shop.price, "p:{article}").key((Shop(), "apple"), {}) == "p:apple"
    with pytest.raises(ArgumentError, match="object"):
        made("p:{0}", object())


def test_what_a_template_makes_too_long_ends_with_a_digest() -> None:
    keys = FunctionKeys(price, "p:{article}")
    assert keys.key(("x" * 1021,), {}) == "p:" + "x" * 1021
    assert keys.key(("\ud800",), {}) == "p:%ED%A0%80"
    long, other = keys.key(("ü" * 400,), {}), keys.key(("ü" * 399 + "x",), {})
    assert isinstance(long, bytes)
    assert long.startswith(b"p:%C3%BC%C3%BC")
    assert long != other
    assert len(long) == len(other) == 1024


def test_functions_of_other_kinds() -> None:
    keys = FunctionKeys(functools.partial(price, currency="USD"), "p:{article}:{currency}")
    assert keys.key(("apple",), {}) == "p:apple:USD"
    for function in (functools.partial(price), staticmethod(price), bytes):
        with pytest.raises(ConfigurationError):
            FunctionKeys(function, None)
    with pytest.raises(ConfigurationError, match="staticmethod has to stand above"):
        FunctionKeys(staticmethod(price), "p:{article}")


@pytest.mark.parametrize("template", ["p:{nothing}", "p:{2}", "p:{", "p:{}{}{}"])
def test_templates_that_ask_for_what_no_call_has(template: str) -> None:
    def two(a: int, b: int) -> None:
        """A function."""

    with pytest.raises(ConfigurationError):
        FunctionKeys(two, template)


def test_a_function_of_the_arguments() -> None:
    keys = FunctionKeys(price, lambda article, **others: b"p:%d" % article)
    assert keys.key((5,), {"net": True}) == b"p:5"
