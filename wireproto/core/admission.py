"""What a client that has logged in may ask for: verbs by their permission, keys by their prefix."""

from __future__ import annotations

from collections.abc import Collection

from wireproto.core.access import Access
from wireproto.core.verbs import Argument, VerbSpec


class Admission:
    """An access, in the form in which requests are held against it."""

    __slots__ = ("permissions", "prefixes")

    def __init__(self, access: Access) -> None:
        self.permissions = frozenset(access.allow)
        self.prefixes: tuple[bytes, ...] = access.key_prefixes
        """A key begins with one of them; if there are none, any key will do."""

    def denial(self, spec: VerbSpec, arguments: list[bytes], options: Collection[str]) -> str:
        """Why a request is denied; empty if it is not."""
        if spec.permission and spec.permission not in self.permissions:
            return f"this API key does not allow {spec.verb.name}"
        for option, permission in spec.option_permissions.items():
            if option in options and permission not in self.permissions:
                return f"this API key does not allow {spec.verb.name} with {option}"
        if self.prefixes and spec.arguments[:1] == (Argument.KEY,) and not arguments[0].startswith(self.prefixes):
            return "this API key does not allow keys that begin like this"
        return ""
