"""The Redis nodes that run already: their names, URLs and weights, in text and in TOML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from wireproto.core.names import NAME_RULE, is_name
from wireproto.errors import ConfigurationError

_USER: Final = r"(?:[^/?#\[\]\x00-\x20\x7f-\U0010ffff]*@)?"
_HOST: Final = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])"
_TLS_OPTIONS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_OPTION: Final = rf"(?:db=[0-9]{{1,5}}|(?:username|password|{'|'.join(_TLS_OPTIONS)})=[^&=@#\x00-\x20\x7f-\U0010ffff]+)"
_URL: Final = re.compile(
    rf"(?:rediss?://{_USER}{_HOST}(?::(?P<port>[0-9]{{1,5}}))?(?:/[0-9]{{0,5}})?"
    rf"|unix://{_USER}/[^?#\x00-\x20\x7f-\U0010ffff]+)(?:\?{_OPTION}(?:&{_OPTION})*)?"
)
"""What redis-py, which reads the URL later, takes in the sense in which it was meant.

redis-py takes more: it drops what stands behind a '#', ignores options that it does not know, and reads
`redis://user:12?word@host` as port 12 of a host `user`.
"""
_URL_FORM: Final = (
    "the URL must look like redis://[[user]:password@]host[:port][/database], rediss://... or unix:///path,"
    f" perhaps with ?db=, username=, password=, {'=, '.join(_TLS_OPTIONS)}=;"
    " in a password ',' is written %2C, ';' %3B, '/' %2F, '?' %3F, '#' %23, '[' %5B, ']' %5D"
)
_WEIGHT: Final = re.compile(r"weight=([0-9]{1,6}(?:\.[0-9]{1,6})?)")


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """A Redis node that runs already: its name on the ring, its URL, and its share of the keys.

    Raises ConfigurationError, which never quotes the URL: it may hold a password.
    """

    name: str
    url: str = field(repr=False)
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise ConfigurationError(f"the name of a node must be {NAME_RULE}")
        match = _URL.fullmatch(self.url)
        if match is None:
            raise ConfigurationError(f"node {self.name}: {_URL_FORM}")
        if match["port"] and not 1 <= int(match["port"]) <= 65535:
            raise ConfigurationError(f"node {self.name}: the port must be between 1 and 65535")
        if not 0.01 <= self.weight <= 1000:
            raise ConfigurationError(f"node {self.name}: the weight must be between 0.01 and 1000")


def read_nodes(text: str) -> tuple[NodeAddress, ...]:
    """Nodes with commas between them. Raises ValueError or ConfigurationError."""
    return tuple(_read_node(part.strip()) for part in text.split(","))


def _read_node(text: str) -> NodeAddress:
    """A node from `NAME=URL` or `NAME=URL;weight=2`."""
    name, _, rest = text.partition("=")
    url, has_weight, weight = rest.partition(";")
    if not url:
        raise ValueError("must look like NAME=URL or NAME=URL;weight=2 (a ',' in a password is written %2C)")
    if not has_weight:
        return NodeAddress(name, url)
    match = _WEIGHT.fullmatch(weight)
    if match is None:
        raise ValueError("must end with the URL or with ;weight=NUMBER (a ';' in a password is written %3B)")
    return NodeAddress(name, url, float(match[1]))


def nodes_from_table(table: Mapping[str, object]) -> tuple[NodeAddress, ...]:
    """Nodes from the TOML table `[nodes]`: `name = "url"` or `name = {url = "...", weight = 2}`.

    Raises ConfigurationError.
    """
    return tuple(_node_from_entry(name, value) for name, value in table.items())


def _node_from_entry(name: str, value: object) -> NodeAddress:
    """A node from one line of the table."""
    parts = value if isinstance(value, dict) else {"url": value}
    url, weight = parts.get("url"), parts.get("weight", 1)
    form = f'node {name}: must be "URL" or {{url = "URL", weight = 2}}'
    if not parts.keys() <= {"url", "weight"} or not isinstance(url, str):
        raise ConfigurationError(form)
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise ConfigurationError(form)
    return NodeAddress(name, url, weight)


def check_nodes(value: object) -> None:
    """Refuse what is no tuple of nodes, and two nodes of one name: the ring knows nodes by their names alone."""
    if not isinstance(value, tuple) or not all(isinstance(node, NodeAddress) for node in value):
        raise ValueError("must be a tuple of node addresses")
    names = [node.name for node in value]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"must not name a node twice: {', '.join(twice)}")


def show_nodes(nodes: tuple[NodeAddress, ...]) -> str:
    """The names of the nodes."""
    return ", ".join(node.name for node in nodes) or "none"
