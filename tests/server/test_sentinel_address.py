"""URLs of Sentinels: what is in them, what is refused, and the URLs that are built for those whom Sentinels name."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from redis.connection import SSLConnection, parse_url

from wireproto.errors import ConfigurationError
from wireproto.server.node_endpoint import NodeEndpoint
from wireproto.server.sentinel_address import SentinelAddress
from wireproto.settings import ShardAddress

SECRET = "hunter2-hunter2-hunter2"


@pytest.mark.parametrize(
    ("url", "sentinels", "expected"),
    [
        ("sentinel://h/m", [("h", 26379)], {"master_name": "m", "username": None, "password": None, "tls": False}),
        ("sentinel://h/m", [("h", 26379)], {"node_username": None, "node_password": None, "node_tls": False}),
        ("sentinel://h/m", [("h", 26379)], {"database": 0, "ssl_options": ()}),
        (
            "sentinel://h:1,10.0.0.1,[::1]:2,[fe80::2]/A-z_0.9",
            [("h", 1), ("10.0.0.1", 26379), ("::1", 2), ("fe80::2", 26379)],
            {"master_name": "A-z_0.9"},
        ),
        ("sentinel://u:p%2C%40@h/m", [("h", 26379)], {"username": "u", "password": "p,@", "node_password": None}),
        ("sentinel://:p@ss:w@h/m", [("h", 26379)], {"username": None, "password": "p@ss:w"}),
        ("sentinels://h/m", [("h", 26379)], {"tls": True, "node_tls": True}),
        ("sentinels://h/m?tls=no", [("h", 26379)], {"tls": True, "node_tls": False}),
        ("sentinel://h/m?tls=yes", [("h", 26379)], {"tls": False, "node_tls": True}),
        (
            "sentinel://a:b@h/m?username=u&password=p%26%3D%2Cx&db=3",
            [("h", 26379)],
            {"username": "a", "password": "b", "node_username": "u", "node_password": "p&=,x", "database": 3},
        ),
        (
            "sentinels://h/m?ssl_ca_certs=/etc/ca.pem&ssl_check_hostname=false",
            [("h", 26379)],
            {"ssl_options": (("ssl_ca_certs", "/etc/ca.pem"), ("ssl_check_hostname", "false"))},
        ),
    ],
)
def test_what_is_in_a_url(url: str, sentinels: list[tuple[str, int]], expected: dict[str, Any]) -> None:
    address = SentinelAddress.from_url(url)
    assert address.sentinels == tuple(sentinels)
    assert {name: getattr(address, name) for name in expected} == expected
    assert ShardAddress("a", url).has_sentinels


@pytest.mark.parametrize(
    "url",
    [
        "",
        "redis://h/m",
        "sentinel:/h/m",
        "SENTINEL://h/m",
        "sentinel://h",
        "sentinel://h/",
        "sentinel:///m",
        "sentinel://,h/m",
        "sentinel://h,/m",
        "sentinel://h,,i/m",
        "sentinel://h:/m",
        "sentinel://h:x/m",
        "sentinel://h:123456/m",
        "sentinel://::1/m",
        "sentinel://h/m/0",
        "sentinel://h/m ",
        "sentinel://h/m#x",
        "sentinel://h/m?",
        "sentinel://h/m?timeout=1",
        "sentinel://h/m?tls=true",
        "sentinel://h/m?db=x",
        f"sentinel://{SECRET}@h/m",
        f"sentinel://u:@h/{SECRET}/",
        f"sentinel://u:{SECRET},x@h/m",
        f"sentinel://u:{SECRET}#x@h/m",
        f"sentinel://u:{SECRET}@h,u:{SECRET}@i/m",
        f"sentinel://h/m?password={SECRET},x",
        f"sentinel://h/m?password={SECRET}@x",
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^the URL must look like sentinel://") as caught:
        SentinelAddress.from_url(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"sentinel://h/{SECRET}{'x' * 64}", "the name of the master must be 1-64 letters, digits, '.', '_' and '-'"),
        ("sentinel://h/a:b", "the name of the master must be 1-64 letters, digits, '.', '_' and '-'"),
        ("sentinel://h/%41", "the name of the master must be 1-64 letters, digits, '.', '_' and '-'"),
        ("sentinel://h:0/m", "the port must be between 1 and 65535"),
        ("sentinel://h,i:65536/m", "the port must be between 1 and 65535"),
        (f"sentinel://h/m?password=a&password={SECRET}", "the URL must not have an option twice"),
        (f"sentinel://h/m?username={SECRET}", "the option username needs the option password too"),
    ],
)
def test_what_else_is_refused(url: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SentinelAddress.from_url(url)
    assert str(caught.value) == reason
    with pytest.raises(ConfigurationError) as caught:
        ShardAddress("a", url)
    assert str(caught.value) == f"node a: {reason}"


def test_passwords_are_not_shown() -> None:
    address = SentinelAddress.from_url(f"sentinel://u:{SECRET}@h/m?password={SECRET}")
    assert SECRET not in repr(address) + str(address)
    assert address.password == address.node_password == SECRET


def test_urls_of_nodes_and_sentinels() -> None:
    address = SentinelAddress.from_url(
        "sentinels://u:p@h/m?username=n&password=%2Fq&db=5&tls=no&ssl_ca_certs=/c%20a.pem"
    )
    assert address.node_url("10.0.0.1", 7000) == "redis://n:%2Fq@10.0.0.1:7000/5"
    assert address.sentinel_url("::1", 1) == "rediss://u:p@[::1]:1?ssl_ca_certs=/c+a.pem"
    assert SentinelAddress.from_url("sentinel://h/m").node_url("h", 1) == "redis://h:1/0"


@pytest.mark.parametrize(("host", "port"), [("", 1), ("h", 0), ("h", 65536)])
def test_what_is_no_address(host: str, port: int) -> None:
    address = SentinelAddress.from_url("sentinel://h/m")
    for build in (address.node_url, address.sentinel_url):
        with pytest.raises(ConfigurationError):
            build(host, port)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
HOSTS = st.sampled_from(["h", "node-1.example.com", "10.0.0.1", "::1", "fe80::1", "fe80::1%eth0"])


@hypothesis_settings(max_examples=50)
@given(TEXTS, TEXTS, TEXTS, TEXTS, HOSTS, st.integers(1, 65535), st.integers(0, 99999), st.booleans(), st.booleans())
def test_the_urls_are_read_as_they_were_meant(
    user: str,
    password: str,
    node_user: str,
    node_password: str,
    host: str,
    port: int,
    database: int,
    tls: bool,
    node_tls: bool,
) -> None:
    escaped = [quote(text, safe="") for text in (user, password, node_user, node_password)]
    url = (
        f"{'sentinels' if tls else 'sentinel'}://{escaped[0]}:{escaped[1]}@h,i/m"
        f"?username={escaped[2]}&password={escaped[3]}&db={database}&tls={'yes' if node_tls else 'no'}"
        "&ssl_cert_reqs=none"
    )
    assert ShardAddress("a", url).has_sentinels
    address = SentinelAddress.from_url(url)

    node = NodeEndpoint.from_url(address.node_url(host, port))
    assert (node.host, node.port, node.path, node.database) == (host, port, None, database)
    assert (node.username, node.password) == (node_user, node_password)
    assert (node.tls is not None) == node_tls

    sentinel = parse_url(address.sentinel_url(host, port))
    assert (sentinel["host"], sentinel["port"]) == (host, port)
    assert (sentinel["username"], sentinel["password"]) == (user, password)
    assert (sentinel.get("connection_class") is SSLConnection, "ssl_cert_reqs" in sentinel) == (tls, tls)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20))
def test_a_path_of_certificates_arrives_whatever_is_in_it(path: str) -> None:
    address = SentinelAddress.from_url(f"sentinels://h/m?ssl_ca_certs={quote(path, safe='')}")
    assert parse_url(address.node_url("h", 1))["ssl_ca_certs"] == path
    assert parse_url(address.sentinel_url("h", 1))["ssl_ca_certs"] == path
