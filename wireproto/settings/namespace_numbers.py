"""A whole number for each of some namespaces: read from text, checked and shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from wireproto.core.names import NAME_RULE, is_name

NamespaceNumbers = tuple[tuple[str, int], ...]
"""Pairs of a namespace and its number, and no mapping: settings can be hashed, and travel to workers as JSON."""

_NUMBER: Final = re.compile(r"[0-9]{1,3}")


def read_numbers(text: str) -> NamespaceNumbers:
    """Numbers from `shop=1,logs=0`; none from empty text. Raises ValueError."""
    found: list[tuple[str, int]] = []
    for part in text.split(",") if text else ():
        name, _, number = part.strip().partition("=")
        if not _NUMBER.fullmatch(number):
            raise ValueError("does not look like shop=1,logs=0")
        found.append((name, int(number)))
    return tuple(found)


def as_numbers(pairs: Iterable[Iterable[Any]]) -> Any:
    """Pairs from JSON or from a table's items, as `NamespaceNumbers`. They are still to be checked."""
    return tuple(tuple(pair) for pair in pairs)


def numbers_check(low: int, high: int) -> Callable[[object], None]:
    """A check for pairs of a namespace and a number between two others, both included."""

    def check(value: object) -> None:
        if not isinstance(value, tuple) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
            raise ValueError("must be a tuple of pairs of a namespace and a number")
        if not all(is_name(name) for name, _ in value):
            raise ValueError(f"has a namespace that is not {NAME_RULE}")
        # The exact type: a bool is an int in Python, and `shop = true` is not 1.
        if not all(type(number) is int and low <= number <= high for _, number in value):
            raise ValueError(f"has a number that is not between {low} and {high}")
        if len(dict(value)) < len(value):
            raise ValueError("names a namespace twice")

    return check


def show_numbers(numbers: NamespaceNumbers) -> str:
    """The numbers as they could be typed."""
    return ",".join(f"{name}={number}" for name, number in numbers) or "none"
