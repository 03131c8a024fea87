"""Where settings come from: flags go before the environment, that before the TOML file, and that before the defaults.

Every value is read by the grammar of its kind, whatever its source, and also where a better source replaces it: a
mistake in the file is found while a flag hides it.
"""

from __future__ import annotations

import argparse
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from wireproto import __version__
from wireproto.errors import ConfigurationError
from wireproto.private_files import check_keeps_secret
from wireproto.settings.declaration import (
    CONFIG_VARIABLE,
    PREFIX,
    SETTINGS,
    STARTED,
    Setting,
    SettingError,
    Settings,
)
from wireproto.settings.kinds import NODES, suggest

OTHER_VARIABLES: Final = frozenset(
    PREFIX + name for name in ("URL", "CA", "CLIENT_CERT", "CLIENT_KEY", "TIMEOUT", "COMPILE")
)
"""Variables of the client and of the build: they may be set on the same machine and mean nothing here."""

_EPILOG: Final = f"""\
Every flag can be given as an environment variable (in brackets) or as a key of the TOML file, whose name is the flag's
with '_' for '-'. Flags go before the environment, and the environment before the file.

  sizes    4096, 64KiB, 8MiB          times    10ms, 5s, 10m, 1h, or seconds
  nodes    NAME=redis://[[user]:password@]host[:port][/database] or rediss://..., with ;weight=2 for twice the keys and
           ;replica=URL for each further node of the shard; which of them is the master is asked of them.
           NAME=sentinel://[[user]:password@]host[:port][,host[:port]...]/master-name, or sentinels://... for TLS, asks
           Sentinels; the nodes' own ?username=, password=, db= and tls=yes or no stand behind it.
           In the file: [nodes] and lines of NAME = "URL", NAME = ["URL", "URL"] or
           NAME = {{url = "URL", replicas = ["URL"], weight = 2}}
  numbers of namespaces    shop=1,logs=0; in the file also a table
  secrets  The API key is read from {PREFIX}API_KEY only; without it the first start makes one and shows it.
           {PREFIX}ENCRYPTION_KEYS has keys that encrypt values, instead of a file (wireproto keyring --help).
           Nodes that have passwords are given in {PREFIX}NODES, or in a file that only its owner can read: a command
           line can be read by every user of the machine, so passwords are refused there.

examples:
  wireproto-server                                    start nodes here, with a certificate for development
  wireproto-server --node a=redis://10.0.0.1:6379 --node b=redis://10.0.0.2:6379
  wireproto-server --config wireproto.toml --check    check the settings, start nothing
"""


class _Found:
    """The values found so far, and where each was found."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}

    def add(self, setting: Setting, value: Any, source: str) -> None:
        """Take a value; what was found in a source of lower precedence gives way."""
        self.values[setting.name] = value
        self.sources[setting.name] = source

    def settings(self) -> Settings:
        """The settings of these values. Raises ConfigurationError where they contradict each other."""
        if self.values.get("nodes"):
            for setting in SETTINGS:
                if setting.group == STARTED and setting.name in self.values:
                    source, nodes = self.sources[setting.name], self.sources["nodes"]
                    raise ConfigurationError(f"{source}: is for nodes that are started here and contradicts {nodes}")
        try:
            return Settings(**self.values)
        except SettingError as error:
            source = self.sources.get(error.name, f"setting {error.name}")
            raise ConfigurationError(f"{source}: {error.reason}") from None


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[Settings, bool]:
    """The settings, and whether they are only to be checked (`--check`).

    Raises ConfigurationError, which names the source, the key and the reason. `--help` and `--version` raise
    SystemExit(0), as is argparse's custom.
    """
    flags = _parse_flags(argv)
    config = flags.pop("config", environ.get(CONFIG_VARIABLE))
    check_only = flags.pop("check")
    found = _Found()
    if config:
        _add_file(found, Path(config))
    _add_environment(found, environ)
    _add_flags(found, flags)
    return found.settings(), check_only


def _read(setting: Setting, text: str, source: str) -> Any:
    """The value that `text` stands for. Empty text takes back an optional setting, unless that is a secret."""
    if not text and setting.optional and not setting.kind.secret:
        return None
    return _checked(setting, text, source, lambda: setting.kind.read(text))


def _checked(setting: Setting, given: object, source: str, read: Callable[[], Any]) -> Any:
    """What `read` makes of what was given, checked."""
    try:
        value = read()
        setting.kind.check(value)
    except ValueError as error:
        raise ConfigurationError(f"{source}: {setting.quoted(given)} {error}") from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{source}: {error}") from None
    return value


# --- The TOML file ----------------------------------------------------------------------------------------------------


def _add_file(found: _Found, path: Path) -> None:
    """Take the settings of a TOML file."""
    by_name = {setting.name: setting for setting in SETTINGS}
    content, status = _load(path)
    for key, value in content.items():
        source = f"file {path}, key {key}"
        name = key.replace("-", "_")
        setting = by_name.get(name)
        if setting is None:
            known = [item.toml_key for item in SETTINGS if item.toml_key]
            raise ConfigurationError(f"{source}: there is no such setting{suggest(name, known)}")
        if name in found.values:
            raise ConfigurationError(f"{source}: is given twice, with '-' and with '_'")
        found.add(setting, _read_toml(setting, value, source), source)
        if setting.kind.holds_secret(found.values[setting.name]):
            check_keeps_secret(source, path, status)


def _load(path: Path) -> tuple[dict[str, Any], os.stat_result]:
    """The content of a TOML file, and who may read it."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file), os.fstat(file.fileno())
    except OSError as error:
        raise ConfigurationError(f"file {path}: {error.strerror or error}") from None
    except RecursionError:
        raise ConfigurationError(f"file {path}: is nested too deeply") from None
    except ValueError as error:
        raise ConfigurationError(f"file {path}: is not TOML: {error}") from None


def _read_toml(setting: Setting, value: object, source: str) -> Any:
    """A value of a TOML file, by the same grammar as everywhere else."""
    kind = setting.kind
    if setting.toml_key is None:
        raise ConfigurationError(f"{source}: a secret is read from the environment only ({setting.variable})")
    if kind.read_table is not None and isinstance(value, dict):
        read_table = kind.read_table
        return _checked(setting, value, source, lambda: read_table(value))
    if kind is NODES:
        raise ConfigurationError(f"{source}: must be a table of NAME = URL")
    # The exact type: a bool is an int in Python, and `port = true` is not port 1.
    if isinstance(value, str) or (kind.numeric and type(value) in (int, float)):
        return _read(setting, str(value), source)
    forms = "a number or text" if kind.numeric else "text" if kind.read_table is None else "text or a table"
    raise ConfigurationError(f"{source}: must be {forms}")


# --- The environment --------------------------------------------------------------------------------------------------


def _add_environment(found: _Found, environ: Mapping[str, str]) -> None:
    """Take the settings of the environment. A variable of ours that means nothing is an error: a typing mistake."""
    by_variable = {setting.variable: setting for setting in SETTINGS}
    others = {CONFIG_VARIABLE, *OTHER_VARIABLES}
    for name, text in environ.items():
        if not name.startswith(PREFIX) or name in others:
            continue
        source = f"environment variable {name}"
        setting = by_variable.get(name)
        if setting is None:
            known = {*by_variable, *others}
            raise ConfigurationError(f"{source}: there is no such setting{suggest(name, known, PREFIX)}")
        found.add(setting, _read(setting, text, source), source)


# --- The flags --------------------------------------------------------------------------------------------------------


def _add_flags(found: _Found, flags: Mapping[str, Any]) -> None:
    """Take the settings of the command line."""
    for setting in SETTINGS:
        if setting.name in flags:
            given = flags[setting.name]
            source = f"flag {setting.flag}"
            # --node may be given many times.
            value = _read(setting, ",".join(given) if isinstance(given, list) else given, source)
            if setting.kind.holds_secret(value):
                raise ConfigurationError(
                    f"{source}: holds a password, and every user of this machine can read a command line; give it in "
                    f"the environment ({setting.variable}) or in a file of mode 0600 (--config)"
                )
            found.add(setting, value, source)


class _Parser(argparse.ArgumentParser):
    """argparse, with its errors like all others, and without a page of usage before them."""

    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(f"command line: {message}; --help lists the flags")


def _parse_flags(argv: Sequence[str]) -> dict[str, Any]:
    """The flags that were given, as text. Reading the values is left to the grammar that all sources share."""
    known, unknown = _make_parser().parse_known_args(argv)
    if not unknown:
        return vars(known)
    # Only the part before the '=': a mistyped --node may hold a password.
    word = unknown[0].partition("=")[0]
    for setting in SETTINGS:
        if setting.flag is None and word == "--" + setting.name.replace("_", "-"):
            raise ConfigurationError(
                f"command line: {word}: a secret is read from the environment only ({setting.variable})"
            )
    if not word.startswith("-"):
        raise ConfigurationError("command line: a word belongs to no flag")
    flags = [setting.flag for setting in SETTINGS if setting.flag] + ["--config", "--check", "--version", "--help"]
    raise ConfigurationError(f"command line: there is no flag {word}{suggest(word, flags, '--')}")


def _make_parser() -> argparse.ArgumentParser:
    """The parser, with one group per group of settings."""
    parser = _Parser(
        prog="wireproto-server",
        usage="%(prog)s [--config FILE] [--check] [flags]",
        description="A distributed cache: a TLS line protocol in front of Redis nodes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"wireproto {__version__}")
    parser.add_argument("--check", action="store_true", default=False, help="check the settings and stop")
    parser.add_argument("--config", metavar="FILE", help=f"TOML file to read settings from [{CONFIG_VARIABLE}]")
    groups: dict[str, Any] = {}
    for setting in SETTINGS:
        if setting.flag is None:
            continue
        if setting.group not in groups:
            groups[setting.group] = parser.add_argument_group(setting.group)
        groups[setting.group].add_argument(
            setting.flag,
            dest=setting.name,
            metavar=setting.kind.metavar,
            action="append" if setting.kind is NODES else "store",
            help=f"{setting.meaning} [{setting.variable}] (default: {setting.shown_default})".replace("%", "%%"),
        )
    return parser
