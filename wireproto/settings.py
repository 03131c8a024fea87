"""The server's settings: declared once, read from flags, the environment and a TOML file, in this order of precedence.

A field of `Settings` is the one declaration of a setting. Its flag, its environment variable, its TOML key, its line in
--help, its checks and its row in the documentation's table are derived from it. Secrets have no flag and no TOML key:
a command line can be read by every user of the machine.
"""

from __future__ import annotations

import argparse
import difflib
import ipaddress
import re
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from wireproto import __version__
from wireproto.core.tokens import MAX_LIFETIME, api_key_problem, is_name
from wireproto.errors import ConfigurationError

PREFIX: Final = "WIREPROTO_"
CONFIG_VARIABLE: Final = PREFIX + "CONFIG"
OTHER_VARIABLES: Final = frozenset(PREFIX + name for name in ("URL", "CA", "TIMEOUT", "COMPILE"))
"""Variables of the client and of the build: they may be set on the same machine and mean nothing here."""

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
DAY: Final = 24 * 3600

_SIZE_UNITS: Final = {"": 1, "b": 1, "kib": KIB, "mib": MIB, "gib": GIB}
_DURATION_UNITS: Final = {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600}
_EVICTION_POLICIES: Final = (
    *("allkeys-lfu", "allkeys-lru", "allkeys-random"),
    *("volatile-lfu", "volatile-lru", "volatile-random", "volatile-ttl", "noeviction"),
)


# --- Nodes ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """A Redis node that runs already: its name on the ring, its URL, and its share of the keys."""

    name: str
    url: str = field(repr=False)
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise ConfigurationError("the name of a node must be 1-64 letters, digits, '.', '_' and '-'")
        problem = _url_problem(self.url)
        if problem is None and not 0.01 <= self.weight <= 1000:
            problem = "the weight must be between 0.01 and 1000"
        if problem is not None:
            raise ConfigurationError(f"node {self.name}: {problem}")


def _url_problem(url: str) -> str | None:
    """Why `url` cannot be a node's URL, or None. The text never quotes the URL, which may hold a password."""
    # Imported here: only a server with nodes of its own to reach pays for it.
    from redis.connection import parse_url

    try:
        parts = parse_url(url)
    except ValueError:
        return "the URL must look like redis://[[user]:password@]host[:port][/database], rediss://... or unix:///path"
    if not parts.get("path" if url.startswith("unix:") else "host"):
        return "the URL names no host, or no socket's path"
    known = {"host", "port", "db", "username", "password", "path", "connection_class"}
    if any(name not in known and not name.startswith("ssl_") for name in parts):
        return "the URL has an option that is not supported"
    database = url.partition("?")[0].partition("://")[2].partition("/")[2]
    if not url.startswith("unix:") and database and not (database.isascii() and database.isdigit()):
        return "the URL's database must be a number"
    return None


def _read_node(text: str) -> NodeAddress:
    """A node from `NAME=URL` or `NAME=URL;weight=2`."""
    name, found, rest = text.strip().partition("=")
    url, has_weight, weight = rest.partition(";")
    if not found or not url:
        raise ValueError("must look like NAME=URL or NAME=URL;weight=2")
    if not has_weight:
        return NodeAddress(name, url)
    match = re.fullmatch(r"weight=([0-9]{1,6}(?:\.[0-9]{1,6})?)", weight)
    if match is None:
        raise ValueError("must end with the URL or with ;weight=NUMBER (a ';' in a password is written %3B)")
    return NodeAddress(name, url, float(match[1]))


def _read_nodes(text: str) -> tuple[NodeAddress, ...]:
    """Nodes with commas between them."""
    return tuple(_read_node(part) for part in text.split(","))


def _nodes_from_table(table: Mapping[str, object]) -> tuple[NodeAddress, ...]:
    """Nodes from the TOML table `[nodes]`: `name = "url"` or `name = {url = "...", weight = 2}`."""
    nodes = []
    for name, value in table.items():
        parts = {"url": value} if isinstance(value, str) else value
        if not isinstance(parts, dict) or not parts.keys() <= {"url", "weight"}:
            raise ConfigurationError(f'node {name}: must be "url" or {{url = "...", weight = 2}}')
        url, weight = parts.get("url"), parts.get("weight", 1.0)
        if not isinstance(url, str) or isinstance(weight, bool) or not isinstance(weight, int | float):
            raise ConfigurationError(f"node {name}: url must be text and weight a number")
        nodes.append(NodeAddress(name, url, float(weight)))
    return tuple(nodes)


def _check_nodes(nodes: tuple[NodeAddress, ...]) -> None:
    """Refuse two nodes of one name: the ring knows nodes by their names alone."""
    names = [node.name for node in nodes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"must not name a node twice: {', '.join(twice)}")


# --- Kinds of settings ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kind:
    """How the values of a setting are read from text, checked and shown. `read` and `check` raise ValueError."""

    metavar: str
    read: Callable[[str], Any]
    check: Callable[[Any], None]
    show: Callable[[Any], str] = str
    numeric: bool = False
    """TOML may give it as a number too."""
    secret: bool = False
    """The value is never quoted in an error."""
    environment_only: bool = False


def _read_integer(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise ValueError("is not a whole number")
    return int(text)


def _read_size(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,12}) ?([a-z]*)", text.lower())
    if match is None or match[2] not in _SIZE_UNITS:
        raise ValueError("is not a size such as 4096, 64KiB or 8MiB")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def _read_duration(text: str) -> float:
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?([a-z]*)", text.lower())
    if match is None or match[2] not in _DURATION_UNITS:
        raise ValueError("is not a duration such as 10ms, 5s, 10m or a number of seconds")
    return float(match[1]) * _DURATION_UNITS[match[2]]


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
    for unit, factor in (("h", 3600), ("m", 60)):
        if value and value % factor == 0:
            return f"{value / factor:g}{unit}"
    return f"{value:g}s" if value >= 1 else f"{value * 1000:g}ms"


def _range(low: float, high: float, show: Callable[[Any], str], *, whole: bool) -> Callable[[Any], None]:
    """A check for a number between two others, both included."""

    def check(value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise ValueError("must be a whole number" if whole else "must be a number")
        if not low <= value <= high:
            raise ValueError(f"must be between {show(low)} and {show(high)}")

    return check


def _integer(low: int, high: int) -> Kind:
    return Kind("NUMBER", _read_integer, _range(low, high, str, whole=True), numeric=True)


def _size(low: int, high: int) -> Kind:
    return Kind("SIZE", _read_size, _range(low, high, _show_size, whole=True), _show_size, numeric=True)


def _duration(low: float, high: float) -> Kind:
    return Kind("TIME", _read_duration, _range(low, high, _show_duration, whole=False), _show_duration, numeric=True)


def _whole_seconds(low: int, high: int) -> Kind:
    return Kind(
        "TIME", _read_whole_seconds, _range(low, high, _show_duration, whole=True), _show_duration, numeric=True
    )


def _choice(*words: str) -> Kind:
    def check(value: object) -> None:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}{_suggest(str(value), words)}")

    return Kind("WORD", str, check)


def _matching(metavar: str, pattern: str, reason: str) -> Kind:
    def check(value: object) -> None:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(reason)

    return Kind(metavar, str, check)


def _read_path(text: str) -> Path:
    # Path("") is ".", which nobody means by an empty value.
    if not text or "\0" in text:
        raise ValueError("must be a path")
    return Path(text)


def _accept(value: object) -> None:
    """There is nothing left to check."""


def _check_api_key(value: str) -> None:
    problem = api_key_problem(value)
    if problem is not None:
        raise ValueError(problem)


_PATH: Final = Kind("PATH", _read_path, _accept)
_PROGRAM: Final = _matching("PATH", r"[^\0]+", "must be a path")
_HOST: Final = _matching("HOST", r"[A-Za-z0-9._:%-]{1,255}", "must be a host's name or an IP address")
_NAME: Final = _matching("NAME", r"[A-Za-z0-9._-]{1,64}", "must be 1-64 letters, digits, '.', '_' and '-'")
_REDIS_MEMORY: Final = _matching("SIZE", r"(?i)[1-9][0-9]{0,11}([kmg]b?)?", "must be a size such as 256mb or 2gb")
_NODES: Final = Kind(
    "NAME=URL[;weight=N]",
    _read_nodes,
    _check_nodes,
    lambda nodes: ", ".join(node.name for node in nodes) or "none",
    secret=True,
)
_API_KEY: Final = Kind("KEY", str, _check_api_key, lambda key: "made at the first start", True, True, True)


# --- The settings -----------------------------------------------------------------------------------------------------


def _setting(default: Any, kind: Kind, group: str, meaning: str) -> Any:
    """A field of `Settings`."""
    return field(default=default, repr=not kind.secret or kind is _NODES, metadata={"declared": (kind, group, meaning)})


_LISTEN, _TLS, _NODE = "Listening", "TLS", "Nodes"
_CLIENTS, _TIMES, _LIMITS, _OTHER = "Clients", "Timeouts", "Limits", "State and log"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be chosen about a server. A value that cannot work raises ConfigurationError."""

    host: str = _setting("127.0.0.1", _HOST, _LISTEN, "address to listen on")
    port: int = _setting(7379, _integer(0, 65535), _LISTEN, "TLS port; 0 picks a free one")
    plain_port: int | None = _setting(
        None, _integer(0, 65535), _LISTEN, "port without TLS, on a loopback address only; 0 picks a free one"
    )

    cert: Path | None = _setting(None, _PATH, _TLS, "certificate chain (PEM); without it one is made for development")
    key: Path | None = _setting(None, _PATH, _TLS, "private key of the certificate (PEM)")
    tls_minimum: str = _setting("TLSv1.3", _choice("TLSv1.3", "TLSv1.2"), _TLS, "oldest TLS version to accept")
    certs_folder: Path = _setting(Path("certs"), _PATH, _TLS, "folder of the development certificates")

    nodes: tuple[NodeAddress, ...] = _setting(
        (), _NODES, _NODE, "a Redis node that runs already; once per node, or with commas; without it nodes are started"
    )
    shards: int = _setting(4, _integer(1, 1024), _NODE, "Redis nodes to start")
    replicas: int = _setting(0, _integer(0, 8), _NODE, "replicas to start for each shard")
    redis_server: str | None = _setting(
        None, _PROGRAM, _NODE, "Redis-compatible program to start; without it the bundled one"
    )
    node_memory: str = _setting("256mb", _REDIS_MEMORY, _NODE, "memory of each started node, in Redis's own units")
    eviction: str = _setting("allkeys-lfu", _choice(*_EVICTION_POLICIES), _NODE, "what a full started node evicts")
    pool_size: int = _setting(1, _integer(1, 64), _NODE, "connections to each node")
    ring_seed: int = _setting(0, _integer(0, 2**32 - 1), _NODE, "seed of the ring's hash; another seed moves the keys")

    namespace: str = _setting("default", _NAME, _CLIENTS, "namespace of the API key that is made or set")
    api_key: str | None = _setting(None, _API_KEY, _CLIENTS, "the API key to accept, in place of the stored ones")
    token_lifetime: int = _setting(900, _whole_seconds(1, MAX_LIFETIME), _CLIENTS, "how long a token is valid")

    handshake_timeout: float = _setting(5.0, _duration(0.01, 3600), _TIMES, "from accept to the end of the handshake")
    auth_timeout: float = _setting(10.0, _duration(0.01, 3600), _TIMES, "from the handshake to AUTH")
    idle_timeout: float = _setting(600.0, _duration(0.01, DAY), _TIMES, "a connection without requests is closed")
    stall_timeout: float = _setting(30.0, _duration(0.01, DAY), _TIMES, "a client that reads no replies is closed")
    node_timeout: float = _setting(1.0, _duration(0.001, 3600), _TIMES, "for a node's answer")
    node_connect_timeout: float = _setting(1.0, _duration(0.001, 3600), _TIMES, "to connect to a node")
    drain_timeout: float = _setting(8.0, _duration(0, 3600), _TIMES, "for open requests when the server stops")

    max_connections: int = _setting(10_000, _integer(1, 1_000_000), _LIMITS, "connections at once")
    max_key: int = _setting(1024, _size(1, 1024), _LIMITS, "bytes of a key")
    max_value: int = _setting(MIB, _size(1, 64 * MIB), _LIMITS, "bytes of a value")
    max_frame_overhead: int = _setting(512, _size(64, 64 * KIB), _LIMITS, "bytes of a frame outside its arguments")
    max_frame_before_auth: int = _setting(8 * KIB, _size(KIB, MIB), _LIMITS, "bytes of a frame before AUTH")
    max_in_flight: int = _setting(4096, _integer(1, 1_000_000), _LIMITS, "requests in flight on one connection")
    max_in_flight_bytes: int = _setting(8 * MIB, _size(KIB, GIB), _LIMITS, "their bytes")
    max_unread_bytes: int = _setting(8 * MIB, _size(KIB, GIB), _LIMITS, "bytes of replies that a client has not read")
    max_node_queue: int = _setting(65_536, _integer(1, 10_000_000), _LIMITS, "requests waiting for one node")
    max_node_queue_bytes: int = _setting(64 * MIB, _size(KIB, 16 * GIB), _LIMITS, "their bytes")

    state_folder: Path = _setting(
        Path(".wireproto"), _PATH, _OTHER, "folder of the API keys' hashes and the signing key"
    )
    log_level: str = _setting("info", _choice("debug", "info", "warning", "error"), _OTHER, "how much to log")

    def __post_init__(self) -> None:
        for setting in SETTINGS:
            value = getattr(self, setting.name)
            if value is not None or not setting.optional:
                _checked(setting, value, f"setting {setting.name}")
        self._check_together()

    def _check_together(self) -> None:
        """Refuse values that are right alone and wrong together."""
        if (self.cert is None) != (self.key is None):
            given, missing = ("key", "cert") if self.cert is None else ("cert", "key")
            raise ConfigurationError(f"setting {given}: needs the setting {missing} too")
        if self.plain_port is not None and not _is_loopback(self.host):
            raise ConfigurationError(
                f"setting plain_port: refused, because host {self.host!r} is not a loopback address"
                " and passwords would travel in the clear"
            )
        if self.plain_port and self.plain_port == self.port:
            raise ConfigurationError("setting plain_port: must differ from port")
        if self.max_node_queue_bytes < self.max_value + self.max_key + self.max_frame_overhead:
            raise ConfigurationError("setting max_node_queue_bytes: must have room for one request of max_value")


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, under every name that it has."""

    name: str
    default: Any
    kind: Kind
    group: str
    meaning: str

    @property
    def flag(self) -> str | None:
        """Its flag: `--max-key`. Only nodes are named one by one."""
        if self.kind.environment_only:
            return None
        return "--node" if self.kind is _NODES else "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Its environment variable: `WIREPROTO_MAX_KEY`."""
        return PREFIX + self.name.upper()

    @property
    def optional(self) -> bool:
        """Whether it may be left out altogether."""
        return self.default is None

    @property
    def shown_default(self) -> str:
        """Its default, as a person would write it."""
        return "none" if self.default is None and not self.kind.secret else self.kind.show(self.default)


SETTINGS: Final[tuple[Setting, ...]] = tuple(
    Setting(item.name, item.default, *item.metadata["declared"]) for item in fields(Settings)
)


def settings_table() -> str:
    """The settings as a Markdown table."""
    lines = ["| flag | environment variable | TOML key | default | meaning |", "|---|---|---|---|---|"]
    lines.append(f"| `--config` | `{CONFIG_VARIABLE}` | | none | TOML file to read settings from |")
    for setting in SETTINGS:
        flag = f"`{setting.flag} {setting.kind.metavar}`" if setting.flag else "(never on a command line)"
        key = "" if setting.kind.environment_only else f"`{setting.name}`"
        lines.append(f"| {flag} | `{setting.variable}` | {key} | {setting.shown_default} | {setting.meaning} |")
    return "\n".join(lines) + "\n"


# --- Reading them -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Found:
    """The values found so far, and where each was found."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def add(self, setting: Setting, value: Any, source: str) -> None:
        """Take a value; what was found in a source of lower precedence gives way."""
        self.values[setting.name] = value
        self.sources[setting.name] = source


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[Settings, bool]:
    """The settings, and whether they are only to be checked (`--check`).

    Raises ConfigurationError, which names the source, the key and the reason. Flags that argparse does not
    understand, `--help` and `--version` raise SystemExit, as is its custom.
    """
    flags = _parse_flags(argv)
    found = _Found()
    config = flags.pop("config", None) or environ.get(CONFIG_VARIABLE)
    check_only = flags.pop("check")
    if config:
        _add_file(found, Path(config))
    _add_environment(found, environ)
    _add_flags(found, flags)
    _check_node_sources(found)
    return _build(found), check_only


def _build(found: _Found) -> Settings:
    """The settings of the values found. A value that contradicts another is reported with where it came from."""
    try:
        return Settings(**found.values)
    except ConfigurationError as error:
        name, _, reason = str(error).removeprefix("setting ").partition(": ")
        raise ConfigurationError(f"{found.sources.get(name, f'setting {name}')}: {reason}") from None


def _check_node_sources(found: _Found) -> None:
    """Nodes that run already and nodes to start exclude each other."""
    if not found.values.get("nodes"):
        return
    for name in ("shards", "replicas", "redis_server"):
        if name in found.values:
            raise ConfigurationError(
                f"{found.sources[name]}: is for nodes that are started here and contradicts {found.sources['nodes']}"
            )


def _read(setting: Setting, text: str, source: str) -> Any:
    """The value that `text` stands for. Raises ConfigurationError with the source."""
    if setting.optional and not text and not setting.kind.secret:
        return None
    try:
        value = setting.kind.read(text)
    except ValueError as error:
        raise _wrong(setting, text, source, str(error)) from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{source}: {error}") from None
    return _checked(setting, value, source)


def _checked(setting: Setting, value: Any, source: str) -> Any:
    """`value`, if it may be used. Raises ConfigurationError with the source."""
    try:
        setting.kind.check(value)
    except ValueError as error:
        shown = value if isinstance(value, str) or value is None else setting.kind.show(value)
        raise _wrong(setting, shown, source, str(error)) from None
    return value


def _wrong(setting: Setting, value: str | None, source: str, reason: str) -> ConfigurationError:
    """The error for a value, which is quoted unless it is a secret."""
    subject = "the value" if setting.kind.secret else repr(value if value is None else value[:80])
    return ConfigurationError(f"{source}: {subject} {reason}")


def _suggest(word: str, known: Collection[str]) -> str:
    """`; did you mean ...?`, or nothing."""
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


# The TOML file.


def _add_file(found: _Found, path: Path) -> None:
    """Take the settings of a TOML file."""
    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except OSError as error:
        raise ConfigurationError(f"file {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise ConfigurationError(f"file {path}: is not TOML: {error}") from None
    by_name = {setting.name: setting for setting in SETTINGS}
    for key, value in document.items():
        source = f"file {path}, key {key}"
        setting = by_name.get(key.replace("-", "_"))
        if setting is None:
            known = {name for name, item in by_name.items() if not item.kind.environment_only}
            raise ConfigurationError(f"{source}: there is no such setting{_suggest(key.replace('-', '_'), known)}")
        if setting.name in found.values:
            raise ConfigurationError(f"{source}: is given twice, with '-' and with '_'")
        found.add(setting, _read_toml(setting, value, source), source)


def _read_toml(setting: Setting, value: object, source: str) -> Any:
    """A value of a TOML file, by the same grammar as everywhere else."""
    if setting.kind.environment_only:
        raise ConfigurationError(f"{source}: a secret is read from the environment only ({setting.variable})")
    if setting.kind is _NODES:
        if not isinstance(value, dict):
            raise ConfigurationError(f"{source}: must be a table of name = url")
        try:
            return _nodes_from_table(value)
        except ConfigurationError as error:
            raise ConfigurationError(f"{source}: {error}") from None
    if isinstance(value, str):
        return _read(setting, value, source)
    # A bool is an int in Python; `port = true` is not port 1.
    if setting.kind.numeric and isinstance(value, int | float) and not isinstance(value, bool):
        return _read(setting, str(value), source)
    raise ConfigurationError(f"{source}: must be {'a number or text' if setting.kind.numeric else 'text'}")


# The environment.


def _add_environment(found: _Found, environ: Mapping[str, str]) -> None:
    """Take the settings of the environment. A variable of ours that means nothing is an error: it is a typing mistake."""
    by_variable = {setting.variable: setting for setting in SETTINGS}
    for name, text in environ.items():
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE or name in OTHER_VARIABLES:
            continue
        source = f"environment variable {name}"
        setting = by_variable.get(name)
        if setting is None:
            known = {*by_variable, CONFIG_VARIABLE, *OTHER_VARIABLES}
            raise ConfigurationError(f"{source}: there is no such setting{_suggest(name, known)}")
        found.add(setting, _read(setting, text, source), source)


# The flags.


def _add_flags(found: _Found, flags: Mapping[str, Any]) -> None:
    """Take the settings of the command line."""
    for setting in SETTINGS:
        if setting.name in flags:
            given = flags[setting.name]
            source = f"flag {setting.flag}"
            found.add(setting, _read(setting, ",".join(given) if isinstance(given, list) else given, source), source)


def _parse_flags(argv: Sequence[str]) -> dict[str, Any]:
    """The flags that were given, as text. Reading the values is left to the grammar that all sources share."""
    parser = _make_parser()
    known, unknown = parser.parse_known_args(argv)
    if unknown:
        # Only the part before the '=': a mistyped --node may hold a password.
        word = unknown[0].partition("=")[0]
        flags = [setting.flag for setting in SETTINGS if setting.flag] + ["--config", "--check", "--version", "--help"]
        for setting in SETTINGS:
            if setting.kind.environment_only and word == "--" + setting.name.replace("_", "-"):
                parser.error(f"{word}: a secret is read from the environment only ({setting.variable})")
        shown = word if word.startswith("-") else "a word that belongs to no flag"
        parser.error(f"unknown argument: {shown}{_suggest(word, flags)}")
    return vars(known)


def _make_parser() -> argparse.ArgumentParser:
    """The parser, with one group per group of settings."""
    parser = argparse.ArgumentParser(
        prog="wireproto-server",
        description="A distributed cache: a TLS line protocol in front of Redis nodes.",
        epilog="Every flag can be given as an environment variable (in brackets) or as a key of the TOML file;"
        " flags go before the environment, and the environment before the file."
        " Sizes: 4096, 64KiB, 8MiB. Times: 10ms, 5s, 10m, or seconds."
        f" The API key is read from {PREFIX}API_KEY only; without it, the first start makes one and shows it.",
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
            action="append" if setting.kind is _NODES else "store",
            help=f"{setting.meaning} [{setting.variable}] (default: {setting.shown_default})".replace("%", "%%"),
        )
    return parser
