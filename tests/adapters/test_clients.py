"""What the adapters of a process share."""

from __future__ import annotations

import pytest

from wireproto.adapters.clients import close_clients, shared_client, shared_keyspace
from wireproto.errors import ConfigurationError

URL = "wireproto+plain://key@127.0.0.1:1"


def test_the_same_place_with_the_same_options_is_one_client() -> None:
    client = shared_client(URL, {"timeout": 0.5})
    assert shared_client(URL, {"timeout": 0.5}) is client
    assert shared_client(f"{URL}?timeout=0.5", {}) is client
    assert client.options.timeout == 0.5


def test_another_place_and_other_options_are_another_client() -> None:
    clients = [
        shared_client(URL, {}),
        shared_client("wireproto+plain://other@127.0.0.1:1", {}),
        shared_client("wireproto+plain://key@127.0.0.1:2", {}),
        shared_client(URL, {"timeout": 0.5}),
    ]
    assert len(set(clients)) == 4


def test_without_a_url_it_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIREPROTO_URL", URL)
    assert shared_client(None, {}) is shared_client(URL, {})


def test_an_option_that_there_is_not() -> None:
    with pytest.raises(ConfigurationError, match="no such option: MAX_ENTRIES"):
        shared_client(URL, {"MAX_ENTRIES": 30})


def test_a_keyspace_is_one_for_a_client_and_a_prefix() -> None:
    client = shared_client(URL, {})
    keyspace = shared_keyspace(client, "a", 1.0)
    assert shared_keyspace(client, "a", 1.0) is keyspace
    others = {
        shared_keyspace(client, "b", 1.0),
        shared_keyspace(client, "a", None),
        shared_keyspace(shared_client(URL, {"timeout": 1.0}), "a", 1.0),
    }
    assert len(others | {keyspace}) == 4


def test_closed_clients_are_not_given_out_again() -> None:
    client = shared_client(URL, {})
    close_clients()
    with pytest.raises(ConfigurationError, match="closed"):
        client.read("k")
    assert shared_client(URL, {}) is not client
