"""The experiments by name: each is a module, which this table lists."""

from __future__ import annotations

import argparse
from typing import Final, Protocol

from bench.chaos.findings import Finding
from bench.hostile import endings, endless_pipeline, half_open, hoarders, overload, reloads, soak


class Experiment(Protocol):
    """What a module of an experiment has."""

    NAME: str
    """Under which it is asked for."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Declare its own options, which no other experiment has."""

    def run(self, options: argparse.Namespace) -> list[Finding]:
        """Do it. Raises StartError or another OSError or RuntimeError when it cannot be done."""


_MODULES: Final[tuple[Experiment, ...]] = (half_open, hoarders, endless_pipeline, overload, endings, reloads, soak)
EXPERIMENTS: Final[dict[str, Experiment]] = {module.NAME: module for module in _MODULES}
"""In the order in which they are done."""
