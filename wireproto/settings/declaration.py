"""Every setting, declared once: a field of `Settings`.

Its flag, its environment variable, its TOML key, its line in --help, its checks and its row in the documentation's
table are derived from the field.
"""

# ruff: noqa: RUF009 - the defaults that `_setting` makes are immutable

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from wireproto.core.signing_keys import MAX_LIFETIME
from wireproto.errors import ConfigurationError
from wireproto.settings.kinds import (
    API_KEY,
    DAY,
    ENCRYPTION_KEYS,
    GIB,
    HOST,
    HOUR,
    KIB,
    MIB,
    NAME,
    NODES,
    PATH,
    PROGRAM,
    REDIS_MEMORY,
    Kind,
    choice,
    duration,
    integer,
    integer_or_auto,
    is_loopback,
    namespace_numbers,
    processes,
    size,
    whole_seconds,
)
from wireproto.settings.namespace_numbers import NamespaceNumbers
from wireproto.settings.nodes import ShardAddress

PREFIX: Final = "WIREPROTO_"
CONFIG_VARIABLE: Final = PREFIX + "CONFIG"

_EVICTION: Final = choice(
    *("allkeys-lfu", "allkeys-lru", "allkeys-random"),
    *("volatile-lfu", "volatile-lru", "volatile-random", "volatile-ttl", "noeviction"),
)

# The groups of --help. Settings of STARTED contradict nodes that run already.
_LISTEN, _TLS, _NODES, STARTED = "Listening", "TLS", "Nodes", "Nodes that are started here"
_CLIENTS, _TIMES, _LIMITS, _OTHER = "Clients", "Timeouts", "Limits", "State and log"


class SettingError(ConfigurationError):
    """A setting's value cannot work: `name` is the setting, `reason` says why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"setting {name}: {reason}")
        self.name = name
        self.reason = reason


def _setting(default: Any, kind: Kind, group: str, meaning: str) -> Any:
    """A field of `Settings`. A secret is not shown; a node hides its URL by itself."""
    return field(default=default, repr=not kind.environment_only, metadata={"declared": (kind, group, meaning)})


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be chosen about a server. A value that cannot work raises SettingError."""

    host: str = _setting("127.0.0.1", HOST, _LISTEN, "address to listen on")
    port: int = _setting(7379, integer(0, 65535), _LISTEN, "TLS port; 0 picks a free one")
    plain_port: int | None = _setting(
        None, integer(0, 65535), _LISTEN, "port without TLS, on a loopback address only; 0 picks a free one"
    )

    workers: int = _setting(
        0, processes(1024), _LISTEN, "processes that serve, behind one address; auto is one per core"
    )

    cert: Path | None = _setting(None, PATH, _TLS, "certificate chain (PEM); without it one is made for development")
    key: Path | None = _setting(None, PATH, _TLS, "private key of the certificate (PEM)")
    tls_minimum: str = _setting("TLSv1.3", choice("TLSv1.3", "TLSv1.2"), _TLS, "oldest TLS version to accept")
    certs_folder: Path = _setting(Path("certs"), PATH, _TLS, "folder of the development certificates")
    client_certificates: str = _setting(
        "off", choice("off", "optional", "required"), _TLS, "whether clients show a certificate, which can log them in"
    )
    client_ca: Path | None = _setting(None, PATH, _TLS, "authority of the clients' certificates (PEM)")
    development_secrets: str = _setting(
        "loopback",
        choice("loopback", "anywhere"),
        _TLS,
        "where a certificate and an API key will do that were made at the first start",
    )

    nodes: tuple[ShardAddress, ...] = _setting(
        (),
        NODES,
        _NODES,
        "a shard whose Redis nodes run already; once per shard, or with commas; without it nodes are started",
    )
    pool_size: int = _setting(1, integer(1, 64), _NODES, "connections to each node")
    ring_seed: int = _setting(0, integer(0, 2**32 - 1), _NODES, "seed of the ring's hash; another seed moves the keys")
    reads: str = _setting(
        "master", choice("master", "replica"), _NODES, "where a READ goes that has not the option replica"
    )
    max_replica_lag: float = _setting(
        1.0, duration(0.3, HOUR), _NODES, "a replica that may be further behind is not read"
    )
    sync: int = _setting(
        0,
        integer(0, 8),
        _NODES,
        "replicas that must have a write before it is answered, unless the request says how many",
    )
    namespace_sync: NamespaceNumbers = _setting(
        (), namespace_numbers(0, 8), _NODES, "the same for single namespaces, such as shop=1,logs=0"
    )
    sync_timeout: float = _setting(1.0, duration(0.01, 60), _NODES, "for replicas to have a write; then NOSYNC")
    failover_grace: float = _setting(
        0.0, duration(0, 60), _NODES, "how long requests wait for a new master before they are answered DOWN"
    )

    shards: int = _setting(4, integer(1, 1024), STARTED, "Redis nodes to start")
    replicas: int = _setting(0, integer(0, 8), STARTED, "replicas to start for each shard")
    sentinels: int | None = _setting(
        None,
        integer_or_auto(0, 9),
        STARTED,
        "Sentinels to start, which make a replica the master; auto is 3 where there are replicas",
    )
    sentinel_down_after: float = _setting(
        1.0, duration(0.1, HOUR), STARTED, "how long a master must be silent for the Sentinels started here"
    )
    redis_server: str | None = _setting(
        None, PROGRAM, STARTED, "Redis-compatible program to start; without it the bundled one"
    )
    node_memory: str = _setting("256mb", REDIS_MEMORY, STARTED, "memory of each node, in Redis's own units")
    eviction: str = _setting("allkeys-lfu", _EVICTION, STARTED, "what a full node evicts")

    namespace: str = _setting("default", NAME, _CLIENTS, "namespace of the API key that is made or set")
    api_key: str | None = _setting(None, API_KEY, _CLIENTS, "the API key to accept, in place of the stored ones")
    token_lifetime: int = _setting(900, whole_seconds(1, MAX_LIFETIME), _CLIENTS, "how long a token is valid")

    handshake_timeout: float = _setting(5.0, duration(0.01, HOUR), _TIMES, "from accept to the end of the handshake")
    auth_timeout: float = _setting(10.0, duration(0.01, HOUR), _TIMES, "from the handshake to AUTH")
    frame_timeout: float = _setting(30.0, duration(0.01, DAY), _TIMES, "from the first byte of a frame to its end")
    idle_timeout: float = _setting(600.0, duration(0.01, DAY), _TIMES, "a connection without requests is closed")
    stall_timeout: float = _setting(30.0, duration(0.01, DAY), _TIMES, "a client that reads no replies is closed")
    node_timeout: float = _setting(1.0, duration(0.001, HOUR), _TIMES, "for a node's answer")
    node_connect_timeout: float = _setting(1.0, duration(0.001, HOUR), _TIMES, "to connect to a node")
    drain_timeout: float = _setting(8.0, duration(0, HOUR), _TIMES, "for open requests when the server stops")

    max_connections: int = _setting(10_000, integer(1, 1_000_000), _LIMITS, "connections at once")
    max_key: int = _setting(1024, size(1, 1024), _LIMITS, "bytes of a key")
    max_value: int = _setting(MIB, size(1, 64 * MIB), _LIMITS, "bytes of a value")
    max_frame_overhead: int = _setting(512, size(64, 64 * KIB), _LIMITS, "bytes of a frame outside its arguments")
    max_frame_before_auth: int = _setting(8 * KIB, size(KIB, MIB), _LIMITS, "bytes of a frame before AUTH")
    max_in_flight: int = _setting(4096, integer(1, 1_000_000), _LIMITS, "requests in flight on one connection")
    max_in_flight_bytes: int = _setting(8 * MIB, size(KIB, GIB), _LIMITS, "their bytes")
    max_unread_bytes: int = _setting(8 * MIB, size(KIB, GIB), _LIMITS, "bytes of replies that a client has not read")
    max_client_memory: int = _setting(
        GIB, size(MIB, 1024 * GIB), _LIMITS, "bytes that all clients make the server hold; workers share them equally"
    )
    max_node_queue: int = _setting(65_536, integer(1, 10_000_000), _LIMITS, "requests waiting for one node")
    max_node_queue_bytes: int = _setting(64 * MIB, size(KIB, 16 * GIB), _LIMITS, "their bytes")
    max_node_delay: float = _setting(
        0.25,
        duration(0, HOUR),
        _LIMITS,
        "how long requests wait for those before them at a node, else BUSY; 0: ever",
    )

    state_folder: Path = _setting(
        Path(".wireproto"), PATH, _OTHER, "folder of the API keys' hashes and the signing key"
    )
    keyring: Path | None = _setting(
        None, PATH, _OTHER, "file of the keys that encrypt values; without it keyring.json in the state folder, if any"
    )
    encryption_keys: str | None = _setting(
        None,
        ENCRYPTION_KEYS,
        _OTHER,
        "the keys that encrypt values, in place of a keyring: ID=BASE64[@NAMESPACE], with commas; the first one seals",
    )
    audit_log: Path | None = _setting(
        None, PATH, _OTHER, "file of JSON lines that tell who came in and who was refused; without it the log has them"
    )
    log_level: str = _setting("info", choice("debug", "info", "warning", "error"), _OTHER, "how much to log")

    def __post_init__(self) -> None:
        for setting in SETTINGS:
            setting.check(getattr(self, setting.name))
        self._check_together()

    @property
    def sentinel_count(self) -> int:
        """How many Sentinels are to be started."""
        if self.sentinels is None:
            return 3 if self.replicas else 0
        return self.sentinels

    def _check_together(self) -> None:
        """Refuse values that are right alone and wrong together."""
        if self.cert is None and self.key is not None:
            raise SettingError("key", "needs the setting cert too")
        if self.key is None and self.cert is not None:
            raise SettingError("cert", "needs the setting key too")
        if self.client_certificates != "off" and self.client_ca is None:
            raise SettingError("client_certificates", "needs the setting client_ca too")
        if self.client_certificates == "off" and self.client_ca is not None:
            raise SettingError("client_ca", "does nothing unless client_certificates is optional or required")
        self._check_reach()
        if self.plain_port and self.plain_port == self.port:
            raise SettingError("plain_port", "must differ from port")
        if self.max_node_queue_bytes < self.max_value + self.max_key + self.max_frame_overhead:
            raise SettingError("max_node_queue_bytes", "must have room for one request of max_value")
        if self.keyring is not None and self.encryption_keys is not None:
            raise SettingError("keyring", "contradicts encryption_keys: all keys must be in one place")
        if self.sentinels and not self.replicas:
            raise SettingError("sentinels", "needs the setting replicas too: without them there is nothing to promote")

    def _check_reach(self) -> None:
        """Refuse to be reached by other machines with what is for this machine alone."""
        if is_loopback(self.host):
            return
        if self.plain_port is not None:
            raise SettingError(
                "plain_port",
                f"refused, because host {self.host!r} is not a loopback address and API keys would travel in the clear",
            )
        if self.cert is None and not self.may_use_development_secrets:
            raise SettingError(
                "host",
                f"{self.host!r} is not a loopback address, and the development certificate is for those alone;"
                " give cert and key, or for a lab development_secrets = anywhere",
            )

    @property
    def may_use_development_secrets(self) -> bool:
        """Whether a certificate and an API key will do that the server has made by itself."""
        return self.development_secrets == "anywhere" or is_loopback(self.host)


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
        """Its flag: `--max-key`. Only nodes are named one by one; secrets have none."""
        if self.kind.environment_only:
            return None
        return "--node" if self.kind is NODES else "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Its environment variable: `WIREPROTO_MAX_KEY`."""
        return PREFIX + self.name.upper()

    @property
    def toml_key(self) -> str | None:
        """Its key in the TOML file: `max_key`. Secrets have none."""
        return None if self.kind.environment_only else self.name

    @property
    def optional(self) -> bool:
        """Whether it may be left out altogether."""
        return self.default is None

    @property
    def shown_default(self) -> str:
        """Its default, as a person would write it."""
        return self.kind.absent if self.default is None else self.kind.show(self.default)

    def check(self, value: Any) -> None:
        """Raise SettingError if `value` cannot be its value."""
        if value is None and self.optional:
            return
        try:
            self.kind.check(value)
        except ValueError as error:
            raise SettingError(self.name, f"{self.quoted(value)} {error}") from None

    def quoted(self, value: object) -> str:
        """How an error speaks of a value: a secret is not quoted, and nothing at length."""
        if self.kind.secret:
            return "the value"
        shown = repr(value)
        return shown if len(shown) <= 80 else f"{shown[:80]}..."


SETTINGS: Final[tuple[Setting, ...]] = tuple(
    Setting(item.name, item.default, *item.metadata["declared"]) for item in fields(Settings)
)


def settings_table() -> str:
    """The settings as a Markdown table."""
    lines = ["| flag | environment variable | TOML key | default | meaning |", "|---|---|---|---|---|"]
    lines.append(f"| `--config FILE` | `{CONFIG_VARIABLE}` | | none | TOML file to read settings from |")
    for setting in SETTINGS:
        flag = f"`{setting.flag} {setting.kind.metavar}`" if setting.flag else "(never on a command line)"
        key = f"`{setting.toml_key}`" if setting.toml_key else "(never in a file)"
        lines.append(f"| {flag} | `{setting.variable}` | {key} | {setting.shown_default} | {setting.meaning} |")
    return "\n".join(lines) + "\n"
