"""What a client logs in with: its API key, or the token that it was given for it."""

from __future__ import annotations

from typing import Final

RENEW_AT: Final = 0.75
"""The part of a token's life after which it is renewed."""


class Credentials:
    """What a client can show: its API key, or the token that it was given for it. Shared by its connections.

    An API key with a dot in it is a token that the user brought along; it cannot be traded for another.
    `has_certificate`: a new connection may be logged in by its TLS, without any of them.
    """

    def __init__(self, api_key: bytes | None, *, has_certificate: bool = False) -> None:
        self.api_key = api_key
        self.can_log_in = api_key is not None or has_certificate
        """Whether a new connection may be accepted where an old one no longer is."""
        self._token: tuple[bytes, float] | None = None

    def best(self, now: float) -> bytes | None:
        """The token while it is young, else the API key, if there is one."""
        token = self._token
        return token[0] if token is not None and now < token[1] else self.api_key

    def keep(self, token: bytes, ttl: float, now: float) -> None:
        """Use `token` from now on; it lives `ttl` seconds."""
        self._token = (token, now + RENEW_AT * ttl)

    def forget(self) -> None:
        """The token is of no use any more."""
        self._token = None
