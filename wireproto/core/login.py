"""Whom a connection speaks for: AUTH, its renewal, and the end of a token."""

from __future__ import annotations

from math import ceil
from typing import Final

from wireproto.core.tokens import Identity, TokenAuthority
from wireproto.core.wire import encode_argument
from wireproto.errors import AuthError, ExpiredError

MAX_WRONG_CREDENTIALS: Final = 3


class Login:
    """The identity of one connection. Times are seconds since 1970: tokens carry them."""

    __slots__ = ("_authority", "identity", "wrong_credentials")

    def __init__(self, authority: TokenAuthority) -> None:
        self._authority = authority
        self.identity: Identity | None = None
        self.wrong_credentials = 0

    def authenticate(self, credential: bytes, now: float, token_id: str) -> bytes:
        """The reply to AUTH.

        A credential with a dot is a token; an API key, which holds none, is traded for one with the id `token_id`.
        Raises AuthError, with a `reason` for the log where there is more to say, or ExpiredError.
        """
        token = ""
        try:
            if b"." in credential:
                identity = self._authority.verify(credential, now)
            else:
                token, identity = self._authority.login(credential, now, token_id)
            known = self.identity
            if known is not None and (known.client, known.namespace) != (identity.client, identity.namespace):
                raise AuthError("a connection stays with the client that it was authenticated for")
        except (AuthError, ExpiredError):
            self.wrong_credentials += 1
            raise
        self.identity = identity
        time_left = max(0, ceil(identity.expires_at - now))
        if token:
            return b"OK %b ttl=%d\n" % (encode_argument(token.encode("ascii")), time_left)
        return b"OK ttl=%d\n" % time_left

    @property
    def is_barred(self) -> bool:
        """Whether so many credentials were wrong that the connection is to be closed."""
        return self.wrong_credentials >= MAX_WRONG_CREDENTIALS
