"""Where a server listens."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import closing
from typing import Any

import pytest

from wireproto.errors import ConfigurationError
from wireproto.server.serving import ListeningSockets
from wireproto.settings import Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_loopback_is_loopback(host: str) -> None:
    with closing(ListeningSockets.bind(Settings(host=host, port=0, plain_port=0))) as sockets:
        assert sockets.plain is not None
        for listening in (sockets.tls, sockets.plain):
            assert ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def test_a_localhost_that_leads_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    everywhere: list[Any] = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("0.0.0.0", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: everywhere)
    with pytest.raises(ConfigurationError, match=r"host localhost leads to 0\.0\.0\.0, which is not loopback"):
        ListeningSockets.bind(Settings(host="localhost", port=0, plain_port=0))
