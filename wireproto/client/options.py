"""How a client is told where to connect, as whom, and how patient to be: arguments, a URL, or the environment."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, TypedDict
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

from wireproto.errors import ArgumentError, ConfigurationError

DEFAULT_PORT: Final = 7379
_SCHEMES: Final[Mapping[str, bool]] = {"wireproto": True, "wireproto+plain": False}
_FORM: Final = "wireproto://KEY@host:port?ca=path, or wireproto+plain:// for a connection without TLS"
_PATHS: Final[Mapping[str, str]] = {
    "ca": "WIREPROTO_CA",
    "certificate": "WIREPROTO_CLIENT_CERT",
    "certificate_key": "WIREPROTO_CLIENT_KEY",
}
"""Options that are files, and their variables."""
_NO_UNITS: Final = "must be a number of seconds, more than 0"


class OptionArguments(TypedDict, total=False):
    """What `Client` and `AsyncClient` take by name; see `ClientOptions`."""

    host: str
    port: int
    tls: bool
    api_key: str | bytes | None
    ca: str | Path | None
    certificate: str | Path | None
    certificate_key: str | Path | None
    verify: bool
    timeout: float
    connect_timeout: float
    retries: int
    pool_size: int
    max_in_flight: int
    max_in_flight_bytes: int


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """Where to connect, as whom, and how patient to be. Raises ConfigurationError for what cannot work.

    `from_sources` reads them from a URL and the environment too.
    """

    host: str = "localhost"
    port: int = DEFAULT_PORT
    tls: bool = True
    """Without it everything, the API key too, can be read by whoever sits on the way."""
    api_key: bytes | None = field(default=None, repr=False)
    """The key that the server gave out, or a token (a JWT) in its place."""
    ca: Path | None = None
    """A PEM file with the authority that signed the server's certificate, instead of those that the system trusts."""
    certificate: Path | None = None
    """A PEM file with the client's own certificate, for servers that ask for one. It may log in without an API key."""
    certificate_key: Path | None = None
    """The certificate's private key, without a password; None if it stands in the same file."""
    verify: bool = True
    """Dangerous when False: the client then gives its API key to anybody who answers at this address."""
    timeout: float = 5.0
    """Seconds for a call with all its retries, unless the call says otherwise."""
    connect_timeout: float = 5.0
    """Seconds for one attempt to connect, shake hands and log in."""
    retries: int = 2
    """How often a call is sent again when that is harmless, within its time-out."""
    pool_size: int = 8
    """`Client` only: connections at most. More threads than these take turns."""
    max_in_flight: int = 1024
    """`AsyncClient` only: requests without an answer at most; more of them wait. A server takes 4,096."""
    max_in_flight_bytes: int = 8 * 1024 * 1024
    """`AsyncClient` only: the same in bytes of requests."""

    def __post_init__(self) -> None:
        if not self.host:
            raise ConfigurationError("host must not be empty")
        for name in ("timeout", "connect_timeout"):
            check_seconds(name, getattr(self, name))
        for name, low, high in (
            ("port", 1, 65535),
            ("retries", 0, 100),
            ("pool_size", 1, 10_000),
            ("max_in_flight", 1, 4096),
            ("max_in_flight_bytes", 1, 1 << 30),
        ):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise ConfigurationError(f"{name} must be a whole number from {low} to {high}")
        if self.api_key is not None and not 0 < len(self.api_key) <= 4096:
            raise ConfigurationError("the API key must have 1 to 4096 bytes")
        if self.certificate is None and self.certificate_key is not None:
            raise ConfigurationError("certificate_key needs a certificate too")

    @property
    def address(self) -> str:
        """Host and port, as people write them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def from_sources(
        cls,
        url: str | None = None,
        arguments: OptionArguments | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> ClientOptions:
        """Arguments before the URL, the URL before the environment, the environment before the defaults.

        `WIREPROTO_URL` counts only where neither a URL nor a host is given: another server's key is not for this one.
        Raises ConfigurationError; its text never quotes a URL, which may hold a key.
        """
        given: dict[str, Any] = dict(arguments or {})
        unknown = given.keys() - {option.name for option in fields(cls)}
        if unknown:
            raise ConfigurationError(f"no such option: {', '.join(sorted(unknown))}")
        found = _from_environment(environment)
        from_environment = environment.get("WIREPROTO_URL") if url is None and "host" not in given else None
        if url is not None:
            found |= _named("the URL", url)
        elif from_environment:
            found |= _named("WIREPROTO_URL", from_environment)
        return cls(**found | {name: _converted(name, value) for name, value in given.items()})

    def with_arguments(self, **arguments: Any) -> ClientOptions:
        """These options with some of them changed."""
        return replace(self, **{name: _converted(name, value) for name, value in arguments.items()})


def holds_api_key(url: str) -> bool:
    """Whether something stands before the `@` of a URL: an API key, or what was meant to be one."""
    return "@" in url.partition("?")[0]


def check_seconds(name: str, value: object) -> None:
    """Raises ConfigurationError unless `value` is a positive, finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigurationError(f"{name} {_NO_UNITS}")


def call_timeout(timeout: float | None, default: float) -> float:
    """The seconds for one call. Raises ArgumentError for what is no time."""
    if timeout is None:
        return default
    if not 0 < timeout < math.inf:
        raise ArgumentError(f"timeout {_NO_UNITS}")
    return timeout


def _converted(name: str, value: Any) -> Any:
    if name == "api_key" and isinstance(value, str):
        return value.encode()
    if name in _PATHS and isinstance(value, str):
        return Path(value)
    return value


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if key := environment.get("WIREPROTO_API_KEY"):
        found["api_key"] = key.encode()
    for name, variable in _PATHS.items():
        if path := environment.get(variable):
            found[name] = Path(path)
    if seconds := environment.get("WIREPROTO_TIMEOUT"):
        found["timeout"] = _seconds("WIREPROTO_TIMEOUT", seconds)
    return found


def _seconds(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ConfigurationError(f"{name} {_NO_UNITS}") from None
    check_seconds(name, value)
    return value


def _whole(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise ConfigurationError(f"{name} must be a whole number")
    return int(text)


def _path(_name: str, text: str) -> Path:
    return Path(text)


_URL_OPTIONS: Final = {
    "ca": ("ca", _path),
    "cert": ("certificate", _path),
    "key": ("certificate_key", _path),
    "timeout": ("timeout", _seconds),
    "connect_timeout": ("connect_timeout", _seconds),
    "retries": ("retries", _whole),
    "pool_size": ("pool_size", _whole),
    "max_in_flight": ("max_in_flight", _whole),
}
"""What may stand behind the `?`: the option, and how it is read."""


def _named(source: str, url: str) -> dict[str, Any]:
    """The options in a URL. Raises ConfigurationError, which names the source and not the URL."""
    try:
        return _from_url(url)
    except ValueError:
        raise ConfigurationError(f"{source} must look like {_FORM}") from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{source}: {error}") from None


def _from_url(url: str) -> dict[str, Any]:
    """The options in a URL. Raises ValueError or ConfigurationError."""
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.hostname or parts.path not in ("", "/") or parts.fragment:
        raise ValueError
    port = DEFAULT_PORT if parts.port is None else parts.port
    found: dict[str, Any] = {"tls": _SCHEMES[parts.scheme], "host": parts.hostname, "port": port}
    if parts.username and parts.password:
        raise ConfigurationError("it has a user and a password; the API key alone stands before the @")
    if credential := parts.username or parts.password:
        found["api_key"] = unquote_to_bytes(credential)
    for name, text in parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)):
        if name not in _URL_OPTIONS:
            raise ConfigurationError(f"its option must be one of {', '.join(_URL_OPTIONS)}")
        option, read = _URL_OPTIONS[name]
        found[option] = read(name, text)
    return found
