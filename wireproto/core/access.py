"""What an API key allows: which verbs, on which keys of its namespace, and how much of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

PERMISSIONS: Final = ("read", "write", "delete", "stats")
"""What can be allowed (`verbs.VerbSpec.permission` says which verb needs which). All of it, unless told otherwise."""
MAX_PREFIXES: Final = 16
PREFIX_RULE: Final = "1-128 printable ASCII characters without spaces, quotes and backslashes"
_PREFIX: Final = re.compile(r"[!#-&(-\[\]-~]{1,128}")
MAX_RATE: Final = 10**12
"""Of requests or bytes a second: more than any server serves."""


@dataclass(frozen=True, slots=True)
class Access:
    """Verbs and keys. Without prefixes it is every key; else those that begin with one of them.

    Raises ValueError for what is no permission and no prefix.
    """

    allow: tuple[str, ...] = PERMISSIONS
    prefixes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.allow or list(self.allow) != [name for name in PERMISSIONS if name in self.allow]:
            raise ValueError(f"allow must be some of {', '.join(PERMISSIONS)}, in this order")
        if len(self.prefixes) > MAX_PREFIXES:
            raise ValueError(f"at most {MAX_PREFIXES} prefixes")
        for prefix in self.prefixes:
            if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
                raise ValueError(f"a prefix must be {PREFIX_RULE}")

    @classmethod
    def of(cls, allow: Iterable[str], prefixes: Iterable[str] = ()) -> Access:
        """Access with the permissions in any order. Raises ValueError."""
        wanted = set(allow)
        if unknown := sorted(wanted - set(PERMISSIONS)):
            raise ValueError(f"there is no permission {unknown[0]!r}, only {', '.join(PERMISSIONS)}")
        return cls(tuple(name for name in PERMISSIONS if name in wanted), tuple(prefixes))

    @property
    def key_prefixes(self) -> tuple[bytes, ...]:
        """The prefixes as keys begin with them."""
        return tuple(prefix.encode("ascii") for prefix in self.prefixes)


@dataclass(frozen=True, slots=True)
class Quota:
    """How much a client may do, over all its connections; None is as much as it likes.

    Raises ValueError for numbers that are none.
    """

    requests: int | None = None
    """A second."""
    bytes: int | None = None
    """A second, of frames and replies together."""
    connections: int | None = None

    def __post_init__(self) -> None:
        for name in ("requests", "bytes", "connections"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or not 1 <= value <= MAX_RATE):
                raise ValueError(f"a quota of {name} must be a whole number from 1 to {MAX_RATE}")

    @classmethod
    def from_json(cls, value: Any) -> Quota:
        """A quota from a JSON object. Raises ValueError."""
        if not isinstance(value, dict) or not value.keys() <= set(cls.__slots__):
            raise ValueError(f"a quota must be an object with some of the fields {', '.join(cls.__slots__)}")
        return cls(**value)


FULL_ACCESS: Final = Access()
NO_QUOTA: Final = Quota()
