"""A line on the terminal that tells how far a run is. Where standard error is no terminal, nothing is shown."""

from __future__ import annotations

import sys

from bench.measuring import Progress


def shown(title: str) -> Progress:
    """A progress display for the run of that title."""

    def show(seconds: float, requests_per_second: float) -> None:
        tell(f"{title}: {seconds:.1f} s, {requests_per_second:,.0f} requests/s")

    return show


def tell(text: str) -> None:
    """Put this on the line."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def clear() -> None:
    """Take the line away."""
    tell("")
