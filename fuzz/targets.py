"""The targets by name, and their kept inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent
NAMES: Final = ("requests", "replies", "resp", "tokens")


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that reads bytes of others."""

    name: str
    check: Callable[[bytes], None]
    """Raises for bytes that make it do what it must not."""
    words: tuple[bytes, ...]
    """What its input is often made of."""

    @property
    def kept(self) -> Path:
        """The folder of the inputs that are kept in the repository."""
        return FOLDER / "corpus" / self.name

    @property
    def found(self) -> Path:
        """The folder of the inputs with which runs on this machine have reached something new."""
        return FOLDER / "found" / self.name / "inputs"

    @property
    def faults(self) -> Path:
        """The folder of the inputs that are to be looked into."""
        return FOLDER / "found" / self.name / "faults"


def target(name: str) -> Target:
    """The target of that name."""
    module = import_module(f"fuzz.{name}")
    return Target(name, module.check, module.WORDS)
