"""What a check has found, and how bad that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from wireproto.server.logs import one_line
from wireproto.settings import Settings


class Level(Enum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, and can go wrong or be abused."""
    PROBLEM = "problem"
    """It does not work, or anybody can abuse it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line for the operator. No text holds a secret."""

    level: Level
    subject: str
    text: str
    remedy: str = ""

    def line(self) -> str:
        """As a person reads it."""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return one_line(f"{self.level.value:<8} {self.subject}: {self.text}{remedy}")

    def to_json(self) -> dict[str, str]:
        """As a program reads it."""
        return {
            "level": self.level.value,
            "check": one_line(self.subject),
            "text": one_line(self.text),
            "remedy": one_line(self.remedy),
        }


@dataclass(frozen=True, slots=True)
class Case:
    """What there is to look at: the settings, the file that they are from, the environment, the time (Unix seconds)."""

    settings: Settings
    config: Path | None
    environment: Mapping[str, str]
    now: float


def ok(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, subject, text)


def warning(subject: str, text: str, remedy: str) -> Finding:
    """Something is better changed."""
    return Finding(Level.WARNING, subject, text, remedy)


def problem(subject: str, text: str, remedy: str) -> Finding:
    """Something must be changed."""
    return Finding(Level.PROBLEM, subject, text, remedy)


def duration(seconds: float) -> str:
    """A length of time as people say it."""
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:.0f} days"
    return f"{seconds / 3600:.0f} hours" if seconds >= 2 * 3600 else f"{seconds / 60:.0f} minutes"
