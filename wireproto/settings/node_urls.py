"""The URLs of nodes, and of the Sentinels that know where nodes are: what they may look like, and what stands in them.

No error quotes a URL: it may hold a password.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from wireproto.core.names import NAME_RULE, is_name

SENTINEL_PORT: Final = 26379

_TEXT: Final = r"/?#\[\]\x00-\x20\x7f-\U0010ffff"
"""What must be escaped in a user or a password, as the inside of a negated set."""
_USER: Final = rf"(?:[^{_TEXT}]*@)?"
_HOST: Final = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])"
_TLS_OPTIONS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_ANY_TLS_OPTION: Final = "|".join(_TLS_OPTIONS)
_VALUE: Final = r"[^&=@#\x00-\x20\x7f-\U0010ffff]+"
_DATABASE: Final = r"db=[0-9]{1,5}"
_OPTION: Final = rf"(?:{_DATABASE}|(?:username|password|{_ANY_TLS_OPTION})={_VALUE})"
_NODE: Final = re.compile(
    rf"(?:rediss?://{_USER}{_HOST}(?::(?P<port>[0-9]{{1,5}}))?(?:/[0-9]{{0,5}})?"
    rf"|unix://{_USER}/[^?#\x00-\x20\x7f-\U0010ffff]+)(?:\?{_OPTION}(?:&{_OPTION})*)?"
)
"""What redis-py, which reads the URL later, takes in the sense in which it was meant.

redis-py takes more: it drops what stands behind a '#', ignores options that it does not know, and reads
`redis://user:12?word@host` as port 12 of a host `user`.
"""

# Commas stand between the Sentinels, and between shards: here they are for nothing else.
_HOST_AND_PORT: Final = rf"{_HOST}(?::[0-9]{{1,5}})?"
_SENTINEL_OPTION: Final = (
    rf"(?:{_DATABASE}|tls=(?:yes|no)|(?:username|password|{_ANY_TLS_OPTION})={_VALUE.replace('[^', '[^,')})"
)
_SENTINEL: Final = re.compile(
    rf"(?P<scheme>sentinels?)://(?:(?P<username>[^:,{_TEXT}]*):(?P<password>[^,{_TEXT}]+)@)?"
    rf"(?P<sentinels>{_HOST_AND_PORT}(?:,{_HOST_AND_PORT})*)/(?P<name>[^?,{_TEXT}]+)"
    rf"(?:\?(?P<options>{_SENTINEL_OPTION}(?:&{_SENTINEL_OPTION})*))?"
)
_ONE_SENTINEL: Final = re.compile(rf"(?P<host>{_HOST})(?::(?P<port>[0-9]+))?")

_ESCAPES: Final = "in a password ',' is written %2C, ';' %3B, '/' %2F, '?' %3F, '#' %23, '[' %5B, ']' %5D"
_NODE_FORM: Final = (
    "the URL must look like redis://[[user]:password@]host[:port][/database], rediss://... or unix:///path,"
    f" perhaps with ?db=, username=, password=, {'=, '.join(_TLS_OPTIONS)}=,"
    f" or like sentinel://host/master-name; {_ESCAPES}"
)
_SENTINEL_FORM: Final = (
    "the URL must look like sentinel://[[user]:password@]host[:port][,host[:port]...]/master-name or sentinels://...,"
    f" perhaps with ?username=, password=, db=, tls=yes or no, {'=, '.join(_TLS_OPTIONS)}=; {_ESCAPES}"
)
_PORT_RULE: Final = "the port must be between 1 and 65535"


class SentinelUrl(NamedTuple):
    """What stands in a URL of Sentinels, unescaped. `tls` is for the Sentinels; the options are for the nodes."""

    sentinels: tuple[tuple[str, int], ...]
    master_name: str
    username: str | None
    password: str | None
    tls: bool
    options: dict[str, str]


def is_sentinel_url(url: str) -> bool:
    """Whether a URL names Sentinels, and not a node."""
    return url.startswith(("sentinel://", "sentinels://"))


def has_password(url: str) -> bool:
    """Whether a password stands in a URL that was found to be one of a node or of Sentinels."""
    parts = urlsplit(url)
    return bool(parts.password) or "password" in dict(parse_qsl(parts.query))


def check_node_url(url: str) -> None:
    """Refuse what is no URL of a node. Raises ValueError."""
    match = _NODE.fullmatch(url)
    if match is None:
        raise ValueError(_NODE_FORM)
    if match["port"] and not 1 <= int(match["port"]) <= 65535:
        raise ValueError(_PORT_RULE)


def read_sentinel_url(url: str) -> SentinelUrl:
    """What stands in a URL of Sentinels. Raises ValueError."""
    match = _SENTINEL.fullmatch(url)
    if match is None:
        raise ValueError(_SENTINEL_FORM)
    if not is_name(match["name"]):
        raise ValueError(f"the name of the master must be {NAME_RULE}")
    # As redis-py reads the options of a node's URL: once unescaped, '+' for a space.
    pairs = parse_qsl(match["options"] or "")
    options = dict(pairs)
    if len(options) < len(pairs):
        raise ValueError("the URL must not have an option twice")
    if "username" in options and "password" not in options:
        raise ValueError("the option username needs the option password too")
    return SentinelUrl(
        sentinels=tuple(_host_and_port(part) for part in match["sentinels"].split(",")),
        master_name=match["name"],
        username=unquote(match["username"] or "") or None,
        password=unquote(match["password"]) if match["password"] else None,
        tls=match["scheme"] == "sentinels",
        options=options,
    )


def _host_and_port(text: str) -> tuple[str, int]:
    """A host without its brackets, and its port. Raises ValueError."""
    match = _ONE_SENTINEL.fullmatch(text)
    if match is None:
        raise ValueError(_SENTINEL_FORM)
    port = int(match["port"] or SENTINEL_PORT)
    if not 1 <= port <= 65535:
        raise ValueError(_PORT_RULE)
    return match["host"].strip("[]"), port
