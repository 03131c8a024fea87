"""Bearer tokens: issued for an API key and verified; the time, the ids and the keys are arguments.

A token is what a client shows instead of its API key: a JWT, short-lived, signed with a key that stays on the server.
It says what its API key allows; but what counts is what the key's record allows now, and a token that says something
else is refused.

PyJWT makes and checks the signature and nothing else here. It reads the wall clock for `exp`, and takes claims given
twice, `exp` as a string or 10^400, an embedded `jwk`, and any `kid`; so the header and the claims are read here,
strictly (`token_form`). A token is refused in the order size, form, header, signature, claims: what is dear comes after
what is cheap, and nothing in the claims is looked at before the signature holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from wireproto.core.access import FULL_ACCESS, NO_QUOTA, Access, Quota
from wireproto.core.api_keys import ApiKeyRecord, CredentialError, record_of
from wireproto.core.names import NAME_RULE, is_name
from wireproto.core.signing_keys import ALGORITHMS, MAX_LIFETIME, Signer, SigningKeys
from wireproto.core.token_form import flat_object, time_claim, token_parts
from wireproto.core.wire import MAX_CREDENTIAL
from wireproto.errors import ExpiredError

LEEWAY: Final = 5
"""Seconds by which a clock may be wrong, or jump, before a token is refused for it: at either end of its life."""

_ISSUER: Final = "wireproto"
_AUDIENCE: Final = "wireproto"
_HEADER_FIELDS: Final = frozenset({"alg", "typ", "kid"})
_CLAIMS: Final = frozenset({"iss", "aud", "sub", "key", "ns", "scope", "iat", "exp", "jti"})
_OPTIONAL_CLAIMS: Final = frozenset({"prefixes", "nbf"})


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a connection speaks for, and until when (Unix seconds)."""

    client: str
    namespace: str
    expires_at: int
    """What the token says, and what its owner is told."""
    token_id: str
    """Empty where there is no token."""
    key_id: str = ""
    """The API key that it was logged in with."""
    issued_at: int = 0
    access: Access = FULL_ACCESS
    quota: Quota = NO_QUOTA
    signed_by: str = field(default="", compare=False)
    """The signing key of the token that was shown; empty where it was an API key or a certificate."""

    @property
    def accepted_until(self) -> int:
        """The second from which on the token, and what it was shown for, is refused."""
        return self.expires_at + LEEWAY


class TokenAuthority:
    """Trades API keys for tokens, and tokens for identities.

    A token is as good as the API key that it was issued for: once the key's record is gone, so are its tokens. Likewise
    a shorter `lifetime` ends the tokens that were issued for a longer one.
    """

    def __init__(self, records: Iterable[ApiKeyRecord], signing_keys: SigningKeys, lifetime: int) -> None:
        """`lifetime` is in seconds. Raises ValueError for arguments that cannot work."""
        if not 1 <= lifetime <= MAX_LIFETIME:
            raise ValueError(f"the lifetime must be 1 to {MAX_LIFETIME} seconds")
        self.epoch = 0
        """How often it has been updated."""
        self._lifetime = lifetime
        self._known = _Known(records, signing_keys)

    def update(self, records: Iterable[ApiKeyRecord], signing_keys: SigningKeys) -> None:
        """Go by other keys from now on. Raises ValueError for what cannot work, and then goes by the old ones.

        Whoever is logged in stays so; `refusal` tells who may not.
        """
        self._known = _Known(records, signing_keys)
        self.epoch += 1

    def record(self, key_id: str) -> ApiKeyRecord | None:
        """What is known of an API key at present."""
        return self._known.by_id.get(key_id)

    def login(self, api_key: bytes, now: float, token_id: str) -> tuple[str, Identity]:
        """A token for the owner of `api_key`. Raises CredentialError, an AuthError."""
        if not is_name(token_id):
            raise ValueError(f"a token id must be {NAME_RULE}")
        record = record_of(api_key, self._known.records)
        _check_record(record, "the API key", now)
        issued = _time_of_issue(record, now)
        identity = _identity_of(record, issued, issued + self._lifetime, token_id)
        claims = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "sub": identity.client,
            "key": record.id,
            "ns": identity.namespace,
            "scope": " ".join(record.access.allow),
            **({"prefixes": " ".join(record.access.prefixes)} if record.access.prefixes else {}),
            "iat": identity.issued_at,
            "exp": identity.expires_at,
            "jti": token_id,
        }
        return self._known.signer.sign(json.dumps(claims, separators=(",", ":")).encode("ascii")), identity

    def verify(self, token: bytes, now: float) -> Identity:
        """The identity that `token` proves.

        Raises CredentialError, an AuthError, for a token that is not ours or of a key that is no longer good, and
        ExpiredError for one that was valid.
        """
        if len(token) > MAX_CREDENTIAL:
            raise CredentialError("the token is too long", "size")
        raw_header, raw_claims = token_parts(token)
        signer = self._signer_of(flat_object(raw_header, "header", "header"), now)
        if not signer.has_signed(token):
            raise CredentialError("the signature is wrong", "signature")
        claims = flat_object(raw_claims, "payload", "claims")
        record = self._record_of(claims)
        issued, expires = self._times_of(claims, now)
        _check_issued(record, issued, now)
        identity = _identity_of(record, issued, expires, claims["jti"], signer.key.id)
        if now >= identity.accepted_until:
            raise ExpiredError
        return identity

    def by_certificate(self, names: Sequence[str], now: float, expires_at: int) -> Identity | None:
        """Whom a client certificate with these names logs in, at most until `expires_at`: its own end.

        The first name that a record has counts, and of several records with that name, as there are while a key is
        replaced, the newest. Letters count as they are written. None if no record that is still good has one of them.
        """
        for name in names:
            records = [record for record in self._known.records if record.certificate == name and not record.end(now)]
            if records:
                newest = sorted(records, key=lambda record: record.created)[-1]
                return _identity_of(newest, _time_of_issue(newest, now), expires_at, "")
        return None

    def refusal(self, identity: Identity, now: float) -> str | None:
        """Why an identity that was accepted earlier no longer is, after an update; None if it still is.

        That its own time has run out is another question.
        """
        try:
            record = self._known.by_id.get(identity.key_id)
            if record is None or (record.client, record.namespace) != (identity.client, identity.namespace):
                raise _strange(record)
            _check_issued(record, identity.issued_at, now)
            if record.access != identity.access:
                raise _changed()
            if identity.signed_by:
                self._verifying(identity.signed_by, now)
        except CredentialError as error:
            return error.reason
        return None

    def accepted_until(self, identity: Identity) -> int:
        """The second from which on an identity that has no `refusal` is refused: by its own end, or its key's."""
        record = self._known.by_id.get(identity.key_id)
        if record is None or record.expires is None:
            return identity.accepted_until
        return min(identity.accepted_until, record.expires)

    # -- the header and the claims

    def _signer_of(self, header: dict[str, Any], now: float) -> Signer:
        """The key that a token claims to be signed with. Refuses all but the header that this server writes.

        That also refuses `crit`, `b64`, and every way to bring a key along: `jwk`, `jku`, `x5u`, `x5c`.
        """
        if not header.keys() <= _HEADER_FIELDS:
            raise CredentialError("the header has a field that is not allowed", "header")
        if header.get("typ", "JWT") != "JWT":
            raise CredentialError("the type is not JWT", "header")
        if header.get("alg") not in ALGORITHMS:
            raise CredentialError("the algorithm is not one of ours", "algorithm")
        signer = self._verifying(header.get("kid"), now)
        if header["alg"] != signer.key.algorithm:
            raise CredentialError("the algorithm is not that of the signing key", "algorithm")
        return signer

    def _verifying(self, key_id: Any, now: float) -> Signer:
        """The signing key of this id, if it is still good. Raises CredentialError."""
        signer = self._known.signers.get(key_id) if isinstance(key_id, str) else None
        if signer is None:
            raise CredentialError("the signing key is not known", "key_id")
        if not signer.key.verifies(now):
            raise CredentialError("the signing key is retired", "key_id")
        return signer

    def _record_of(self, claims: dict[str, Any]) -> ApiKeyRecord:
        """The record of a token's API key. Refuses claims that are incomplete, or do not fit the record."""
        if not _CLAIMS <= claims.keys() <= _CLAIMS | _OPTIONAL_CLAIMS:
            raise CredentialError("a claim is missing or not known", "claims")
        if claims["iss"] != _ISSUER:
            raise CredentialError("the issuer is wrong", "claims")
        if claims["aud"] != _AUDIENCE:
            raise CredentialError("the audience is wrong", "claims")
        for name in ("sub", "key", "ns", "jti"):
            if not is_name(claims[name]):
                raise CredentialError(f"the claim {name} is not a name", "claims")
        for name in ("scope", "prefixes"):
            if not isinstance(claims.get(name, ""), str):
                raise CredentialError(f"the claim {name} is not text", "claims")
        record = self._known.by_id.get(claims["key"])
        if record is None or (record.client, record.namespace) != (claims["sub"], claims["ns"]):
            raise _strange(record)
        allowed = " ".join(record.access.allow), " ".join(record.access.prefixes)
        if allowed != (claims["scope"], claims.get("prefixes", "")):
            raise _changed()
        return record

    def _times_of(self, claims: dict[str, Any], now: float) -> tuple[int, int]:
        """When it was issued and runs out. Refuses times that no token of this server has.

        Whether it has run out is another question.
        """
        issued, expires = time_claim(claims, "iat"), time_claim(claims, "exp")
        if not 0 < expires - issued <= self._lifetime:
            raise CredentialError("the lifetime is too long, or not positive", "times")
        if issued > now + LEEWAY:
            raise CredentialError("the token was issued in the future", "times")
        if "nbf" in claims and time_claim(claims, "nbf") > now + LEEWAY:
            raise CredentialError("the token is not valid yet", "times")
        return issued, expires


class _Known:
    """The keys that an authority goes by: made whole, then put in the place of the last. Raises ValueError."""

    __slots__ = ("by_id", "records", "signer", "signers")

    def __init__(self, records: Iterable[ApiKeyRecord], signing_keys: SigningKeys) -> None:
        self.records = tuple(records)
        self.by_id = {record.id: record for record in self.records}
        if len(self.by_id) != len(self.records):
            raise ValueError("two API keys have the same id")
        self.signers = {key.id: Signer(key) for key in signing_keys.keys}
        self.signer = self.signers[signing_keys.newest.id]


def _identity_of(record: ApiKeyRecord, issued_at: int, expires_at: int, token_id: str, signed_by: str = "") -> Identity:
    """Whom a record logs in. Nobody outlives the key."""
    return Identity(
        client=record.client,
        namespace=record.namespace,
        expires_at=expires_at if record.expires is None else min(expires_at, record.expires),
        token_id=token_id,
        key_id=record.id,
        issued_at=issued_at,
        access=record.access,
        quota=record.quota,
        signed_by=signed_by,
    )


def _time_of_issue(record: ApiKeyRecord, now: float) -> int:
    """The second that a login now is of. If tokens were ended in this second, it is younger than those."""
    return record.tokens_from if int(now) < record.tokens_from <= now + LEEWAY else int(now)


def _check_record(record: ApiKeyRecord, what: str, now: float) -> None:
    """Refuse an API key that is over. `what` is how the reason names it."""
    end = record.end(now)
    if end == "revoked":
        raise CredentialError(f"{what} was revoked", end)
    if end == "expired":
        raise CredentialError(f"{what} has expired", end)


def _check_issued(record: ApiKeyRecord, issued: int, now: float) -> None:
    """Refuse what was issued for an API key that is over, or before its tokens were ended."""
    _check_record(record, "the API key of this token", now)
    if issued < record.tokens_from:
        raise CredentialError("the token was ended, with all of its API key up to a certain time", "revoked")


def _strange(record: ApiKeyRecord | None) -> CredentialError:
    """The refusal of a token whose API key is gone (no record), or is another's."""
    if record is None:
        return CredentialError("the API key of this token is no longer known", "unknown")
    return CredentialError("the API key of this token belongs to another client or namespace", "changed")


def _changed() -> CredentialError:
    return CredentialError("the access of the token's key has changed", "changed")
