"""Where options come from, and which of them win."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wireproto.client.options import ClientOptions, call_timeout
from wireproto.errors import ArgumentError, ConfigurationError


def options(url: str | None = None, environment: dict[str, str] | None = None, **arguments: Any) -> ClientOptions:
    return ClientOptions.from_sources(url, arguments, environment or {})  # type: ignore[arg-type]


def test_defaults() -> None:
    assert options() == ClientOptions()
    assert options().address == "localhost:7379"
    assert options().tls
    assert options().verify


def test_a_url_says_it_all() -> None:
    found = options("wireproto://wp_key@cache.example:1234?ca=/etc/ca.pem&timeout=1.5&pool_size=3&retries=0")
    assert (found.host, found.port, found.tls) == ("cache.example", 1234, True)
    assert (found.api_key, found.ca) == (b"wp_key", Path("/etc/ca.pem"))
    assert (found.timeout, found.pool_size, found.retries) == (1.5, 3, 0)


def test_a_certificate_comes_from_anywhere() -> None:
    environment = {"WIREPROTO_CLIENT_CERT": "env.pem", "WIREPROTO_CLIENT_KEY": "env.key"}
    url = "wireproto://h?cert=url.pem&key=url.key"
    for found, name in (
        (options(None, environment), "env"),
        (options(url, environment), "url"),
        (options(url, environment, certificate="argument.pem", certificate_key=Path("argument.key")), "argument"),
    ):
        assert (found.certificate, found.certificate_key) == (Path(f"{name}.pem"), Path(f"{name}.key"))
    assert options("wireproto://h?cert=both.pem").certificate_key is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("wireproto://h", ("h", 7379, True, None)),
        ("wireproto://h/", ("h", 7379, True, None)),
        ("wireproto+plain://h:1", ("h", 1, False, None)),
        ("wireproto://k%2F%40%3A%25@h", ("h", 7379, True, b"k/@:%")),
        ("wireproto://:key@h", ("h", 7379, True, b"key")),
        ("wireproto://a.b.c@[::1]:5", ("::1", 5, True, b"a.b.c")),
    ],
)
def test_urls(url: str, expected: tuple[str, int, bool, bytes | None]) -> None:
    found = options(url)
    assert (found.host, found.port, found.tls, found.api_key) == expected


def test_an_ipv6_address_is_shown_in_brackets() -> None:
    assert options("wireproto://[::1]:5").address == "[::1]:5"


def test_precedence() -> None:
    environment = {
        "WIREPROTO_URL": "wireproto://from-url@env.example:1?timeout=2",
        "WIREPROTO_API_KEY": "from-env",
        "WIREPROTO_CA": "env.pem",
        "WIREPROTO_TIMEOUT": "3",
    }
    found = options(None, environment)
    assert (found.host, found.api_key, found.timeout, found.ca) == ("env.example", b"from-url", 2.0, Path("env.pem"))
    found = options("wireproto://h", environment)
    assert (found.host, found.port, found.api_key, found.timeout) == ("h", 7379, b"from-env", 3.0)
    found = options("wireproto://url-key@h:5?timeout=4", environment, api_key="argument", port=6)
    assert (found.host, found.port, found.api_key, found.timeout) == ("h", 6, b"argument", 4.0)
    assert options(None, environment, timeout=9).timeout == 9
    assert options(None, environment, ca="x.pem").ca == Path("x.pem")


def test_the_url_of_the_environment_is_not_for_another_host() -> None:
    environment = {"WIREPROTO_URL": "wireproto+plain://secret@env.example:1"}
    found = options(None, environment, host="other.example")
    assert (found.host, found.port, found.tls, found.api_key) == ("other.example", 7379, True, None)


def test_an_empty_variable_is_none() -> None:
    names = ("URL", "API_KEY", "CA", "CLIENT_CERT", "CLIENT_KEY", "TIMEOUT")
    assert options(None, {f"WIREPROTO_{name}": "" for name in names}) == ClientOptions()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h:7379",
        "http://secret@h",
        "redis://secret@h",
        "wireproto:secret@h",
        "wireproto://",
        "wireproto://secret@",
        "wireproto://secret@:5",
        "wireproto://user:secret@h",
        "wireproto://secret@h:0",
        "wireproto://secret@h:99999",
        "wireproto://secret@h:x",
        "wireproto://secret@h/path",
        "wireproto://secret@h#fragment",
        "wireproto://secret@h?nonsense=1",
        "wireproto://secret@h?verify=false",
        "wireproto://secret@h?timeout=soon",
        "wireproto://secret@h?timeout=0",
        "wireproto://secret@h?timeout=inf",
        "wireproto://secret@h?timeout=nan",
        "wireproto://secret@h?pool_size=0",
        "wireproto://secret@h?pool_size=1_0",
        "wireproto://secret@h?ca",
        "wireproto://secret@h?key=only.pem",
        "wireproto://secret@[h",
    ],
)
def test_a_url_that_cannot_work_is_refused_without_being_quoted(url: str) -> None:
    for source, make in (
        ("URL", lambda: options(url)),
        ("WIREPROTO_URL", lambda: options(None, {"WIREPROTO_URL": url})),
    ):
        if not url and source == "WIREPROTO_URL":
            continue
        with pytest.raises(ConfigurationError) as caught:
            make()
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"host": ""},
        {"port": 0},
        {"port": "7379"},
        {"port": True},
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": None},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"connect_timeout": "1"},
        {"retries": -1},
        {"pool_size": 0},
        {"max_in_flight": 5000},
        {"max_in_flight_bytes": 0},
        {"api_key": ""},
        {"api_key": "k" * 4097},
        {"nonsense": 1},
    ],
)
def test_arguments_that_cannot_work_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        options(None, None, **arguments)


def test_a_bad_variable_is_named() -> None:
    with pytest.raises(ConfigurationError, match="WIREPROTO_TIMEOUT"):
        options(None, {"WIREPROTO_TIMEOUT": "soon"})


def test_the_api_key_is_not_shown() -> None:
    assert "secret" not in repr(options("wireproto://secret@h"))


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_a_time_out_that_is_no_time_is_refused(timeout: float) -> None:
    with pytest.raises(ArgumentError):
        call_timeout(timeout, 5.0)


def test_time_outs() -> None:
    assert call_timeout(None, 5.0) == 5.0
    assert call_timeout(0.5, 5.0) == 0.5
