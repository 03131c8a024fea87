"""Whom a connection speaks for: AUTH, its renewal, what it may ask for, and the end of it."""

from __future__ import annotations

from collections.abc import Collection
from math import ceil
from typing import Final

from wireproto.core.access import FULL_ACCESS
from wireproto.core.admission import Admission
from wireproto.core.reply_lines import error_line
from wireproto.core.session_context import SessionContext
from wireproto.core.tokens import Identity
from wireproto.core.verbs import VerbSpec
from wireproto.core.wire import encode_argument
from wireproto.errors import AuthError, ExpiredError

MAX_WRONG_CREDENTIALS: Final = 3
LONGEST_NAMES: Final = 200
"""Characters of a certificate's names that the audit log is told."""


class Login:
    """The identity of one connection.

    `now` is seconds of the monotonic clock, by which an identity runs out: a wall clock that is set does not end a live
    connection. Tokens carry seconds since 1970, which the surroundings tell.
    """

    __slots__ = (
        "_authority",
        "_context",
        "_epoch",
        "_expires_at",
        "_peer",
        "admission",
        "identity",
        "wrong_credentials",
    )

    def __init__(self, context: SessionContext, peer: str) -> None:
        self._context = context
        self._authority = context.authority
        self._peer = peer
        self._epoch = 0
        """Of the authority, when the identity was last held against it."""
        self._expires_at = 0.0
        self.identity: Identity | None = None
        """Also after it has run out, as a connection stays with its client."""
        self.admission = Admission(FULL_ACCESS)
        self.wrong_credentials = 0

    @property
    def is_barred(self) -> bool:
        """Whether so many credentials were wrong that the connection is to be closed."""
        return self.wrong_credentials >= MAX_WRONG_CREDENTIALS

    # -- to come in

    def authenticate(self, credential: bytes, now: float) -> bytes:
        """The reply to AUTH. Raises AuthError or ExpiredError.

        A credential with a dot is a token; an API key, which holds none, is traded for one.
        """
        world = self._context.surroundings
        wall_clock = world.wall_clock()
        method = "token" if b"." in credential else "api_key"
        token = ""
        try:
            if method == "token":
                identity = self._authority.verify(credential, wall_clock)
            else:
                token, identity = self._authority.login(credential, wall_clock, world.new_id())
            known = self.identity
            if known is not None and (known.client, known.namespace) != (identity.client, identity.namespace):
                raise AuthError("a connection stays with the client that it was authenticated for")
        except (AuthError, ExpiredError) as error:
            self.wrong_credentials += 1
            self._context.metrics.credentials[getattr(error, "kind", error.code.lower())] += 1
            reason = getattr(error, "reason", str(error))
            world.audit("refused", {"peer": self._peer, "method": method, "reason": reason})
            if not isinstance(error, ExpiredError):
                world.wrong_credential(self._peer)
            raise
        self.accept(identity, method, now, wall_clock)
        time_left = max(0, ceil(identity.expires_at - wall_clock))
        if token:
            return b"OK %b ttl=%d\n" % (encode_argument(token.encode("ascii")), time_left)
        return b"OK ttl=%d\n" % time_left

    def by_certificate(self, names: list[str], expires_at: int, now: float) -> bool:
        """Log in whom a verified certificate with these names is for, until its end; whether it is for anybody."""
        world = self._context.surroundings
        wall_clock = world.wall_clock()
        identity = self._authority.by_certificate(names, wall_clock, expires_at)
        if identity is None:
            reason = f"the certificate is of no known client: {', '.join(names)[:LONGEST_NAMES]}"
            world.audit("refused", {"peer": self._peer, "method": "certificate", "reason": reason})
            return False
        self.accept(identity, "certificate", now, wall_clock)
        return True

    def accept(self, identity: Identity, method: str, now: float, wall_clock: float) -> None:
        """Speak for `identity` from now on, which was proved by `method`. `wall_clock` is the time since 1970."""
        event = "authenticated" if self.identity is None else "renewed"
        self.identity = identity
        self.admission = Admission(identity.access)
        self._epoch = self._authority.epoch
        self._expires_at = now + self._authority.accepted_until(identity) - wall_clock
        self._audit(event, {"method": method})

    # -- to stay

    def holds(self, now: float) -> bool:
        """Whether the identity is good still: its time is not up, and what it was proved by has not been taken back."""
        if self.identity is None:
            return False
        if now >= self._expires_at:
            self._audit("expired", {})
            return False
        if self._epoch != self._authority.epoch:
            wall_clock = self._context.surroundings.wall_clock()
            reason = self._authority.refusal(self.identity, wall_clock)
            if reason is not None:
                self._audit("ended", {"reason": reason})
                return False
            self._epoch = self._authority.epoch
            # Its API key may end sooner than before: an old one does when another takes its place.
            self._expires_at = now + self._authority.accepted_until(self.identity) - wall_clock
        return True

    def denial(self, spec: VerbSpec, arguments: list[bytes], options: Collection[str]) -> bytes:
        """The reply to a request that is denied; empty for one that is not."""
        text = self.admission.denial(spec, arguments, options)
        if not text:
            return b""
        self._audit("denied", {"verb": spec.verb.name, "reason": text})
        return error_line("DENIED", text)

    def _audit(self, event: str, details: dict[str, object]) -> None:
        identity = self.identity
        assert identity is not None
        who = {"peer": self._peer, "client": identity.client, "namespace": identity.namespace}
        ids = {"key_id": identity.key_id, "token_id": identity.token_id}
        self._context.surroundings.audit(event, {**who, **ids, **details})
