"""What the commands about keys have in common: where the state folder is, and how values on their lines are read."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime
from typing import Any

from wireproto.errors import ConfigurationError
from wireproto.settings import Settings, parse
from wireproto.settings.kinds import Kind


def add_state_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags by which `settings_of` finds what the server finds."""
    parser.add_argument("--config", metavar="FILE", help="the server's TOML file [WIREPROTO_CONFIG]")
    parser.add_argument("--state-folder", metavar="PATH", help="the server's state folder [WIREPROTO_STATE_FOLDER]")


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The server's settings, found as the server finds them. Raises ConfigurationError."""
    flags: list[str] = []
    for name in ("config", "state_folder"):
        given = getattr(arguments, name)
        if given is not None:
            flags.append(f"--{name.replace('_', '-')}={given}")
    return parse(flags, os.environ)[0]


def read_flag(flag: str, kind: Kind, text: str | None) -> Any:
    """The value of a flag, by the grammar of the settings; None if it is not given. Raises ConfigurationError."""
    if text is None:
        return None
    try:
        value = kind.read(text)
        kind.check(value)
    except ValueError as error:
        raise ConfigurationError(f"{flag}: {text[:80]!r} {error}") from None
    return value


def say(line: str) -> None:
    """Tell the operator something that is not what was asked for: standard output is for that."""
    print(line, file=sys.stderr)


def shown_time(seconds: int | None, absent: str) -> str:
    """A time in Unix seconds as a person reads it; 0 is one that is not known."""
    if not seconds:
        return absent
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows of text in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
