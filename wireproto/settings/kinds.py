"""The kinds of settings: how a value is read from text, checked and shown."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from wireproto.core.api_keys import api_key_problem
from wireproto.core.keyring import Keyring
from wireproto.core.names import NAME_RULE, is_name
from wireproto.settings.namespace_numbers import as_numbers, numbers_check, read_numbers, show_numbers
from wireproto.settings.nodes import check_nodes, have_password, nodes_from_table, read_nodes, show_nodes

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
HOUR: Final = 3600
DAY: Final = 24 * HOUR

_SIZE_UNITS: Final = {"": 1, "b": 1, "kib": KIB, "mib": MIB, "gib": GIB}
_DURATION_UNITS: Final[dict[str, int | Fraction]] = {
    "ms": Fraction(1, 1000),
    "": 1,
    "s": 1,
    "m": 60,
    "h": HOUR,
    "d": DAY,
}
_AUTO: Final = "auto"


def _unchanged(value: Any) -> Any:
    return value


def _never(value: Any) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Kind:
    """How the values of a setting are read from text, checked and shown. What reads and checks raises ValueError."""

    metavar: str
    read: Callable[[str], Any]
    check: Callable[[Any], None]
    show: Callable[[Any], str] = str
    numeric: bool = False
    """TOML may give it as a number too."""
    secret: bool = False
    """The value is never quoted in an error."""
    environment_only: bool = False
    """It has no flag and no TOML key: other users can read a command line, and files are copied."""
    holds_secret: Callable[[Any], bool] = _never
    """Whether a value holds what a command line must not show, nor a file that others can read."""
    absent: str = "none"
    """How a value is shown that is left out."""
    read_table: Callable[[Mapping[str, Any]], Any] | None = None
    """TOML may give it as a table too."""
    from_json: Callable[[Any], Any] = _unchanged
    """The value, from what JSON has made of it; JSON has no tuples, and a path is text there."""


def suggest(word: str, known: Iterable[str], prefix: str = "") -> str:
    """`; did you mean ...?`, or nothing. A prefix that all have in common is no likeness."""
    names = sorted(name.removeprefix(prefix) for name in known)
    close = difflib.get_close_matches(word.removeprefix(prefix), names, n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else ""


def is_loopback(host: str) -> bool:
    """Whether `host` can be reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# --- Numbers ----------------------------------------------------------------------------------------------------------


def integer(low: int, high: int) -> Kind:
    """A whole number."""
    return Kind("NUMBER", _read_integer, _range(low, high, str, whole=True), numeric=True)


def size(low: int, high: int) -> Kind:
    """A number of bytes."""
    return Kind("SIZE", _read_size, _range(low, high, _show_size, whole=True), _show_size, numeric=True)


def duration(low: float, high: float) -> Kind:
    """A number of seconds."""
    return Kind("TIME", _read_duration, _range(low, high, _show_duration, whole=False), _show_duration, numeric=True)


def whole_seconds(low: int, high: int) -> Kind:
    """A whole number of seconds."""
    check = _range(low, high, _show_duration, whole=True)
    return Kind("TIME", _read_whole_seconds, check, _show_duration, numeric=True)


def processes(most: int) -> Kind:
    """A number of processes; 0, which is also written `auto`, is one per core."""

    def check(value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise ValueError(f"must be between 1 and {most}, or {_AUTO}")

    return Kind("NUMBER", _read_processes, check, _show_processes, numeric=True)


def integer_or_auto(low: int, high: int) -> Kind:
    """A whole number, or None, which is also written `auto`: then it follows from other settings."""

    def check(value: object) -> None:
        if value is not None and (type(value) is not int or not low <= value <= high):
            raise ValueError(f"must be between {low} and {high}, or {_AUTO}")

    return Kind("NUMBER", _read_integer_or_auto, check, numeric=True, absent=_AUTO)


def _read_integer_or_auto(text: str) -> int | None:
    return None if text.lower() == _AUTO else _read_integer(text)


def _read_processes(text: str) -> int:
    return 0 if text.lower() == _AUTO else _read_integer(text)


def _show_processes(value: int) -> str:
    return str(value) if value else _AUTO


def _read_integer(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,12}", text):
        raise ValueError("is not a whole number")
    return int(text)


def _read_size(text: str) -> int:
    match = re.fullmatch(r"(-?[0-9]{1,12}) ?([a-z]*)", text.lower())
    if match is None or match[2] not in _SIZE_UNITS:
        raise ValueError("is not a size such as 4096, 64KiB or 8MiB")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def _read_duration(text: str) -> float:
    match = re.fullmatch(r"(-?[0-9]{1,9}(?:\.[0-9]{1,9})?) ?([a-z]*)", text.lower())
    if match is None or match[2] not in _DURATION_UNITS:
        raise ValueError("is not a duration such as 10ms, 5s, 10m or a number of seconds")
    return float(Fraction(match[1]) * _DURATION_UNITS[match[2]])


def _read_whole_seconds(text: str) -> int:
    seconds = _read_duration(text)
    if not seconds.is_integer():
        raise ValueError("is not a whole number of seconds")
    return int(seconds)


def _show_size(value: int) -> str:
    """The size in the largest unit that divides it."""
    for unit, factor in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if value and value % factor == 0:
            return f"{value // factor}{unit}"
    return str(value)


def _show_duration(value: float) -> str:
    """The duration in the largest unit that divides it."""
    for unit, factor in (("h", HOUR), ("m", 60)):
        if value and value % factor == 0:
            return f"{value / factor:g}{unit}"
    return f"{value * 1000:g}ms" if 0 < value < 1 else f"{value:g}s"


def _range(low: float, high: float, show: Callable[[Any], str], *, whole: bool) -> Callable[[object], None]:
    """A check for a number between two others, both included. NaN lies between none."""

    def check(value: object) -> None:
        # A bool is an int in Python; True is no port.
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise ValueError("must be a whole number" if whole else "must be a number")
        if not low <= value <= high:
            raise ValueError(f"must be between {show(low)} and {show(high)}")

    return check


# --- Text -------------------------------------------------------------------------------------------------------------


def choice(*words: str) -> Kind:
    """One of a few words."""

    def check(value: object) -> None:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}{suggest(str(value), words)}")

    return Kind("WORD", str, check)


def _matching(metavar: str, pattern: str, reason: str) -> Kind:
    """Text of a certain form."""

    def check(value: object) -> None:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(reason)

    return Kind(metavar, str, check)


def _read_path(text: str) -> Path:
    # Path("") is ".", which nobody means by an empty value.
    if not text:
        raise ValueError("must be a path")
    return Path(text)


def _check_path(value: object) -> None:
    if not isinstance(value, Path) or "\0" in str(value):
        raise ValueError("must be a path")


def _check_name(value: object) -> None:
    if not is_name(value):
        raise ValueError(f"must be {NAME_RULE}")


def _check_api_key(value: object) -> None:
    problem = api_key_problem(value) if isinstance(value, str) else "must be text"
    if problem is not None:
        raise ValueError(problem)


def _check_encryption_keys(value: object) -> None:
    if not isinstance(value, str):
        raise ValueError("must be text")
    Keyring.from_text(value)


def namespace_numbers(low: int, high: int) -> Kind:
    """A whole number for each of some namespaces."""
    return Kind(
        "NAME=NUMBER[,...]",
        read_numbers,
        numbers_check(low, high),
        show_numbers,
        read_table=lambda table: as_numbers(table.items()),
        from_json=as_numbers,
    )


def _path_from_json(value: str | None) -> Path | None:
    return None if value is None else Path(value)


PATH: Final = Kind("PATH", _read_path, _check_path, from_json=_path_from_json)
PROGRAM: Final = _matching("PATH", r"[^\0]+", "must be a path")
HOST: Final = _matching("HOST", r"[A-Za-z0-9._:%-]{1,255}", "must be a host's name or an IP address")
NAME: Final = Kind("NAME", str, _check_name)
REDIS_MEMORY: Final = _matching("SIZE", r"(?i)[1-9][0-9]{0,11}([kmg]b?)?", "must be a size such as 256mb or 2gb")
NODES: Final = Kind(
    "NAME=URL[;...]",
    read_nodes,
    check_nodes,
    show_nodes,
    secret=True,
    holds_secret=have_password,
    read_table=nodes_from_table,
)
API_KEY: Final = Kind("KEY", str, _check_api_key, secret=True, environment_only=True, absent="made at the first start")
ENCRYPTION_KEYS: Final = Kind(
    "ID=BASE64[,...]", str, _check_encryption_keys, secret=True, environment_only=True, absent="those of the keyring"
)
