"""What the examples share: a table of without and with, and sentences that say whether it held.

Nothing here has to be understood to read an example.
"""

from __future__ import annotations

import argparse
import math
import secrets
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from wireproto.errors import WireprotoError

_LABEL = 52
_COLUMN = 14


class Report:
    """Collects what a program has measured, and prints it."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._rows: list[tuple[str, str, str]] = []
        self._checks: list[tuple[bool, str]] = []

    def row(self, label: str, without: object, with_it: object) -> None:
        """A line of the table; None leaves a place empty."""
        self._rows.append((label, _text(without), _text(with_it)))

    def check(self, holds: bool, sentence: str) -> None:
        """Something that has to hold of the "with" part."""
        self._checks.append((holds, sentence))

    def finish(self) -> int:
        """Print it all. The exit code: 0 if every check holds."""
        print(f"{self._title}\n")
        for label, without, with_it in [("", "without", "with"), *self._rows]:
            print(f"  {label:{_LABEL}}{without:>{_COLUMN}}{with_it:>{_COLUMN}}".rstrip())
        print()
        for holds, sentence in self._checks:
            print(f"  {'holds' if holds else 'DOES NOT HOLD'}: {sentence}")
        return 0 if all(holds for holds, _sentence in self._checks) else 1


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value)


def milliseconds(seconds: float) -> str:
    """For the table."""
    return f"{seconds * 1000:,.1f} ms"


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all do not pass; 0 if there is none."""
    return sorted(values or [0.0])[max(0, math.ceil(len(values) * percent / 100) - 1)]


def numbers(description: str | None, **defaults: int) -> argparse.Namespace:
    """Whole numbers from the command line: `users=1000` becomes `--users`. `description`: its first line is shown."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=_positive, default=default, help=f"default: {default}")
    return parser.parse_args()


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("a whole number from 1")
    return int(text)


def own_prefix(name: str) -> str:
    """What the keys of this run begin with, so that no run meets what another has left behind."""
    return f"example:{name}:{secrets.token_hex(4)}:"


def start(main: Callable[[], int]) -> NoReturn:
    """Run a program. Exit code 0: it held; 1: it did not; 2: the cache could not be asked."""
    try:
        code = main()
    except WireprotoError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        print(
            "Does `make run` run, and are WIREPROTO_URL and WIREPROTO_CA set? See examples/README.md", file=sys.stderr
        )
        code = 2
    sys.exit(code)
