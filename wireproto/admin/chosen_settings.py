"""The settings that a server has, for commands that work on the same files and nodes: the same flags, and the same
precedence of flags, environment and TOML file."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from wireproto.settings import SETTINGS, Settings, parse

_BY_NAME = {setting.name: setting for setting in SETTINGS}


def add_settings_flags(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """Give a command `--config`, and the flags of these settings."""
    group = parser.add_argument_group("the server's settings")
    group.add_argument("--config", metavar="FILE", help="the server's TOML file [WIREPROTO_CONFIG]")
    for name in names:
        setting = _BY_NAME[name]
        assert setting.flag is not None
        group.add_argument(
            setting.flag,
            dest=f"setting_{name}",
            metavar=setting.kind.metavar,
            action="append",
            help=f"{setting.meaning} [{setting.variable}]".replace("%", "%%"),
        )


def chosen_settings(arguments: argparse.Namespace) -> Settings:
    """The settings of a command line that has such flags. Raises ConfigurationError."""
    argv: list[str] = [] if arguments.config is None else [f"--config={arguments.config}"]
    for name, setting in _BY_NAME.items():
        argv += [f"{setting.flag}={text}" for text in getattr(arguments, f"setting_{name}", None) or ()]
    return parse(argv, os.environ)[0]
