"""How a value is stored, as the clients' calls take it by name: declared once for all of them."""

from __future__ import annotations

from typing import TypedDict


class Storing(TypedDict, total=False):
    """For how long, and on how many nodes. None is as good as not given."""

    ex: int | None
    """The time to live in seconds."""
    px: int | None
    """The time to live in milliseconds."""
    keepttl: bool
    """The time to live of the old value."""
    stale: int | None
    """Seconds more for which `read_or_lease` may get the value."""
    sync: int | None
    """The replicas that must have it."""


class WritingMany(Storing, total=False):
    """And on what condition: at most one."""

    nx: bool
    """Only if the key is absent."""
    xx: bool
    """Only if the key is present."""


class Writing(WritingMany, total=False):
    """And on what condition: at most one."""

    version: str
    """Only if the key has this version still; "" is as good as not given, and None is refused."""
    lease: str
    """Only while this lease of the key holds; likewise."""
