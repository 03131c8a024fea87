"""The requests that the plain model knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

SHOWN: Final = 40
"""Bytes of an argument that are shown."""


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """One request. `options` holds the number or token of an option, or None for a flag."""

    verb: str
    key: bytes
    value: bytes | None = None
    options: Mapping[str, int | str | None] = field(default_factory=dict)

    def __repr__(self) -> str:
        words = [self.verb, *(_shown(word) for word in (self.key, self.value) if word is not None)]
        words += [name if value is None else f"{name}={value}" for name, value in self.options.items()]
        return " ".join(words)

    def encoded(self, tag: str = "") -> bytes:
        """It as it is sent."""
        words = [f"#{tag} ".encode() if tag else b"", b"%b %d:%b" % (self.verb.encode(), len(self.key), self.key)]
        if self.value is not None:
            words.append(b" %d:%b" % (len(self.value), self.value))
        words += [f" {name}{'' if value is None else f'={value}'}".encode() for name, value in self.options.items()]
        return b"".join((*words, b"\n"))

    def number(self, name: str) -> int:
        """The number that an option has."""
        value = self.options[name]
        assert isinstance(value, int)
        return value

    @property
    def time_to_live(self) -> int | None:
        """In ms; None if it names none."""
        if "px" in self.options:
            return self.number("px")
        return self.number("ex") * 1000 if "ex" in self.options else None


def _shown(argument: bytes) -> str:
    return repr(argument) if len(argument) <= SHOWN else f"{argument[:8]!r}*{len(argument)}"


def request_of(text: str) -> Request:
    """A request as a person writes it: words for the key and the value. A token may be left out, `ver=`."""
    verb, key, *words = text.split()
    value = words.pop(0).encode() if verb == "WRITE" else None
    options: dict[str, int | str | None] = {}
    for word in words:
        name, has_value, given = word.partition("=")
        is_token = name == "ver" or (name == "lease" and verb != "READ")
        options[name] = (given if is_token else int(given)) if has_value else None
    return Request(verb, key.encode(), value, options)
