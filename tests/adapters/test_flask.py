"""Flask-Caching and Flask-Session with our cache for cachelib, each as its own documentation says."""

from __future__ import annotations

import secrets

import flask
import pytest
from flask_caching import Cache
from flask_session import Session

from tests.live.running import RunningServer
from wireproto import Client
from wireproto.adapters.cachelib import WireprotoCache


@pytest.fixture
def app() -> flask.Flask:
    return flask.Flask("shop")


@pytest.fixture
def prefix() -> str:
    return secrets.token_hex(8) + ":"


@pytest.fixture
def cache(app: flask.Flask, server: RunningServer, prefix: str) -> Cache:
    app.config.update(
        CACHE_TYPE="wireproto.adapters.cachelib.WireprotoCache",
        CACHE_ARGS=[server.url()],
        CACHE_OPTIONS={"key_prefix": prefix, "clear_within": 0},
    )
    return Cache(app)


def test_flask_caching_keeps_views(app: flask.Flask, cache: Cache) -> None:
    asked: list[str] = []

    @app.route("/<name>")
    @cache.cached(timeout=60)
    def view(name: str) -> str:
        asked.append(name)
        return f"hello {name}"

    browser = app.test_client()
    for name in ("anna", "anna", "ben"):
        assert browser.get(f"/{name}").text == f"hello {name}"
    assert asked == ["anna", "ben"]
    cache.clear()
    browser.get("/anna")
    assert asked == ["anna", "ben", "anna"]


def test_flask_caching_keeps_results(app: flask.Flask, cache: Cache) -> None:
    asked: list[int] = []

    @cache.memoize(60)
    def squared(number: int) -> int | None:
        asked.append(number)
        return number**2

    with app.app_context():
        assert [squared(2), squared(2), squared(3)] == [4, 4, 9]
        cache.delete_memoized(squared, 2)
        assert [squared(2), squared(3)] == [4, 9]
        cache.delete_memoized(squared)
        assert squared(3) == 9
    assert asked == [2, 3, 2, 3]


def test_flask_caching_is_told_of_errors_unless_it_wants_to_ignore_them(
    app: flask.Flask, server: RunningServer
) -> None:
    for ignored in (True, False):
        app.config.update(
            CACHE_TYPE="wireproto.adapters.cachelib.WireprotoCache",
            CACHE_ARGS=[server.url()],
            CACHE_IGNORE_ERRORS=ignored,
        )
        made = Cache(app).cache
        assert isinstance(made, WireprotoCache)
        assert made.ignore_delete_many_errors is ignored


def test_flask_session(app: flask.Flask, server: RunningServer, client: Client[bytes], prefix: str) -> None:
    app.config.update(SESSION_TYPE="cachelib", SESSION_CACHELIB=WireprotoCache(server.url(), key_prefix=prefix))
    Session(app)

    @app.route("/<name>")
    def view(name: str) -> str:
        before = flask.session.get("name", "nobody")
        flask.session["name"] = name
        return str(before)

    @app.route("/out")
    def out() -> str:
        flask.session.clear()
        return "bye"

    browser, other = app.test_client(), app.test_client()
    assert [browser.get("/anna").text, browser.get("/ben").text] == ["nobody", "anna"]
    assert other.get("/carl").text == "nobody"
    cookie = browser.get_cookie("session")
    assert cookie is not None
    stored = client.read(f"{prefix}session:{cookie.value}", with_ttl=True)
    assert stored is not None
    assert stored.ttl is not None
    assert stored.ttl > 86_400
    browser.get("/out")
    assert client.read(f"{prefix}session:{cookie.value}") is None
    assert browser.get("/dora").text == "nobody"
