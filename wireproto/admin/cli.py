"""The operator's command line: `wireproto COMMAND ...`.

Each command is a module of this package with a function `register`, which adds its parser and says, by
`set_defaults(run=...)`, what is to be done with the arguments: a function that returns the exit code.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, Final, Protocol

from wireproto import __version__
from wireproto.admin import doctor, keyring, keys, rewrap, tokens
from wireproto.errors import ConfigurationError

EXIT_CONFIGURATION: Final = 2


class Command(Protocol):
    """A module of this package that is a command."""

    def register(self, commands: Any) -> None:
        """Add the command to argparse's subparsers."""


COMMANDS: Final[tuple[Command, ...]] = (doctor, keyring, keys, rewrap, tokens)


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command; its exit code. 2 when settings, files or arguments cannot work."""
    parser = argparse.ArgumentParser(prog="wireproto", description="Keys, secrets and checks of a wireproto server.")
    parser.add_argument("--version", action="version", version=f"wireproto {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.register(commands)
    arguments = parser.parse_args(argv)
    try:
        code: int = arguments.run(arguments)
        return code
    except ConfigurationError as error:
        print(f"wireproto: {error}", file=sys.stderr)
        return EXIT_CONFIGURATION


if __name__ == "__main__":
    sys.exit(main())
