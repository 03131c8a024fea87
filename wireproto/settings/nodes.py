"""The shards whose nodes run already: names, nodes or Sentinels, and weights, in text and in TOML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeGuard

from wireproto.core.names import NAME_RULE, is_name
from wireproto.errors import ConfigurationError
from wireproto.settings.node_urls import check_node_url, has_password, is_sentinel_url, read_sentinel_url

_NEXT_SHARD: Final = re.compile(r",(?=\s*[A-Za-z0-9._-]{0,64}=)")
"""The commas between shards: those in a URL of Sentinels have no `NAME=` behind them."""
_WEIGHT: Final = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")
_TEXT_FORM: Final = (
    "must look like NAME=URL, with ;replica=URL for each further node of the shard and ;weight=NUMBER for its share"
    " (in a password ',' is written %2C and ';' %3B)"
)


@dataclass(frozen=True, slots=True)
class ShardAddress:
    """A shard whose nodes run already: its name on the ring, the URL of a node, its share of the keys, further nodes.

    Which of the nodes is the master is asked of them; their order is only a hint. The URL may name Sentinels instead,
    which know the nodes. Raises ConfigurationError, which never quotes a URL: it may hold a password.
    """

    name: str
    url: str = field(repr=False)
    weight: float = 1.0
    replicas: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise ConfigurationError(f"the name of a node must be {NAME_RULE}")
        try:
            self._check_urls()
        except ValueError as error:
            raise ConfigurationError(f"node {self.name}: {error}") from None
        if not 0.01 <= self.weight <= 1000:
            raise ConfigurationError(f"node {self.name}: the weight must be between 0.01 and 1000")

    @property
    def has_sentinels(self) -> bool:
        """Whether the URL names Sentinels."""
        return is_sentinel_url(self.url)

    @property
    def node_urls(self) -> tuple[str, ...]:
        """The URLs of the nodes; none where Sentinels know them."""
        return () if self.has_sentinels else (self.url, *self.replicas)

    @property
    def has_password(self) -> bool:
        """Whether a password stands in one of the URLs."""
        return any(map(has_password, (self.url, *self.replicas)))

    def _check_urls(self) -> None:
        """Raises ValueError."""
        if self.has_sentinels:
            read_sentinel_url(self.url)
            if self.replicas:
                raise ValueError("Sentinels know the replicas; none may be named beside them")
        for url in self.node_urls:
            check_node_url(url)
        if len(set(self.node_urls)) < len(self.node_urls):
            raise ValueError("the same URL is given twice")


def read_nodes(text: str) -> tuple[ShardAddress, ...]:
    """Shards with commas between them. Raises ValueError or ConfigurationError."""
    return tuple(_read_shard(part.strip()) for part in _NEXT_SHARD.split(text))


def _read_shard(text: str) -> ShardAddress:
    """A shard from `NAME=URL` and what may stand behind it, in any order: `;replica=URL`, `;weight=2`."""
    name, _, rest = text.partition("=")
    url, *parts = rest.split(";")
    replicas: list[str] = []
    weights: list[float] = []
    for part in parts:
        key, _, value = part.partition("=")
        if key == "replica" and value:
            replicas.append(value)
        elif key == "weight" and _WEIGHT.fullmatch(value):
            weights.append(float(value))
        else:
            raise ValueError(_TEXT_FORM)
    has_stray_comma = "," in rest and not is_sentinel_url(url)
    if not url or has_stray_comma or len(weights) > 1:
        raise ValueError(_TEXT_FORM)
    return ShardAddress(name, url, weights[0] if weights else 1.0, tuple(replicas))


def nodes_from_table(table: Mapping[str, object]) -> tuple[ShardAddress, ...]:
    """Shards from the TOML table `[nodes]`.

    Its lines are `name = "url"`, `name = ["url", "url"]` or `name = {url = "...", replicas = ["..."], weight = 2}`.
    Raises ConfigurationError.
    """
    return tuple(_shard_from_entry(name, value) for name, value in table.items())


def _shard_from_entry(name: str, value: object) -> ShardAddress:
    """A shard from one line of the table."""
    if isinstance(value, list) and value:
        value = {"url": value[0], "replicas": value[1:]}
    parts = value if isinstance(value, dict) else {"url": value}
    url, replicas, weight = parts.get("url"), parts.get("replicas", []), parts.get("weight", 1)
    form = f'node {name}: must be "URL", ["URL", "URL"] or {{url = "URL", replicas = ["URL"], weight = 2}}'
    if not parts.keys() <= {"url", "replicas", "weight"} or not isinstance(url, str) or not _are_texts(replicas):
        raise ConfigurationError(form)
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise ConfigurationError(form)
    return ShardAddress(name, url, weight, tuple(replicas))


def _are_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def check_nodes(value: object) -> None:
    """Refuse what is no tuple of shards, and two shards of one name: the ring knows shards by their names alone."""
    if not isinstance(value, tuple) or not all(isinstance(shard, ShardAddress) for shard in value):
        raise ValueError("must be a tuple of shard addresses")
    names = [shard.name for shard in value]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"must not name a node twice: {', '.join(twice)}")
    _check_masters(value)


def _check_masters(shards: Sequence[ShardAddress]) -> None:
    """Refuse two shards of one master: what a Sentinel says of it is for one shard. Raises ValueError."""
    shard_of: dict[tuple[tuple[str, int], str], str] = {}
    for shard in shards:
        if shard.has_sentinels:
            url = read_sentinel_url(shard.url)
            for sentinel in url.sentinels:
                other = shard_of.setdefault((sentinel, url.master_name), shard.name)
                if other != shard.name:
                    raise ValueError(f"must not give two shards the same master: {other}, {shard.name}")


def have_password(nodes: Sequence[ShardAddress]) -> bool:
    """Whether a password stands in a URL of one of the shards."""
    return any(shard.has_password for shard in nodes)


def show_nodes(nodes: Sequence[ShardAddress]) -> str:
    """The names of the shards."""
    return ", ".join(shard.name for shard in nodes) or "none"
