"""Where the Sentinels of a shard are, and the Redis URLs of what they are asked about. It connects to nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from wireproto.errors import ConfigurationError
from wireproto.settings.node_urls import read_sentinel_url


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """The Sentinels that watch a master, and how to greet them and the nodes that they name.

    User, password and `tls` are the Sentinels'; what begins with `node_` is the nodes'. The `ssl_` options are both's.
    """

    sentinels: tuple[tuple[str, int], ...]
    """Host, an IPv6 address without brackets, and port of each."""
    master_name: str
    username: str | None
    password: str | None = field(repr=False)
    tls: bool
    node_username: str | None
    node_password: str | None = field(repr=False)
    node_tls: bool
    database: int
    ssl_options: tuple[tuple[str, str], ...]

    @classmethod
    def from_url(cls, url: str) -> SentinelAddress:
        """An address from `sentinel://` or `sentinels://`. Raises ConfigurationError, which never quotes the URL."""
        try:
            parts = read_sentinel_url(url)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
        options = parts.options
        return cls(
            sentinels=parts.sentinels,
            master_name=parts.master_name,
            username=parts.username,
            password=parts.password,
            tls=parts.tls,
            node_username=options.get("username"),
            node_password=options.get("password"),
            node_tls=options["tls"] == "yes" if "tls" in options else parts.tls,
            database=int(options.get("db", 0)),
            ssl_options=tuple((name, value) for name, value in options.items() if name.startswith("ssl_")),
        )

    def node_url(self, host: str, port: int) -> str:
        """The URL of a node that a Sentinel names. Raises ConfigurationError for what is no host or no port."""
        url = self._url(self.node_tls, self.node_username, self.node_password, host, port)
        return f"{url}/{self.database}{self._query(self.node_tls)}"

    def sentinel_url(self, host: str, port: int) -> str:
        """The URL of a Sentinel, for redis-py. Raises ConfigurationError for what is no host or no port."""
        return f"{self._url(self.tls, self.username, self.password, host, port)}{self._query(self.tls)}"

    def _url(self, tls: bool, username: str | None, password: str | None, host: str, port: int) -> str:
        if not host or not 1 <= port <= 65535:
            # Without a host, redis-py would take localhost.
            raise ConfigurationError("an address without a host, or with a port that is none")
        user = "" if password is None else f"{quote(username or '', safe='')}:{quote(password, safe='')}@"
        place = f"[{quote(host, safe=':')}]" if ":" in host else quote(host, safe="")
        return f"{'rediss' if tls else 'redis'}://{user}{place}:{port}"

    def _query(self, tls: bool) -> str:
        return f"?{urlencode(self.ssl_options, safe='/')}" if tls and self.ssl_options else ""
