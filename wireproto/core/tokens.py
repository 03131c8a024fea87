"""Bearer tokens: issued for an API key and verified; the time, the ids and the keys are arguments.

A token is what a client shows instead of its API key: a JWT, HS256, short-lived, signed with a key that stays on the
server.

PyJWT makes and checks the signature and nothing else here. It reads the wall clock for `exp`, and takes claims given
twice, `exp` as a string or 10^400, an embedded `jwk`, and any `kid`; so the header and the claims are read by this
module, strictly. A token is refused in the order size, form, header, signature, claims: what is dear comes after what
is cheap, and nothing in the claims is looked at before the signature holds.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import jwt

from wireproto.core.access import FULL_ACCESS, NO_QUOTA, Access, Quota
from wireproto.core.api_keys import LATEST_TIME, ApiKeyRecord, CredentialError, record_of
from wireproto.core.names import NAME_RULE, is_name
from wireproto.core.wire import MAX_CREDENTIAL
from wireproto.errors import ExpiredError

MIN_SIGNING_KEY: Final = 32
"""RFC 7518, section 3.2: a key for HS256 has at least as many bytes as the hash."""
MAX_LIFETIME: Final = 24 * 3600
LEEWAY: Final = 5
"""Seconds by which a clock may be wrong, or jump, before a token is refused for it: at either end of its life."""

_ALGORITHM: Final = "HS256"
_ISSUER: Final = "wireproto"
_AUDIENCE: Final = "wireproto"
_TOKEN: Final = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
"""Three base64url parts without padding. An HS256 signature has 32 bytes, so 43 characters, and the last of them holds
two bits that must be zero: else one signature could be spelt in four ways."""
_HEADER_FIELDS: Final = frozenset({"alg", "typ", "kid"})
_CLAIMS: Final = frozenset({"iss", "aud", "sub", "key", "ns", "iat", "exp", "jti"})
_OPTIONAL_CLAIMS: Final = frozenset({"nbf"})
_MAX_DIGITS: Final = 15

_JWS: Final = jwt.PyJWS(algorithms=[_ALGORITHM])


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a connection speaks for, and until when (Unix seconds)."""

    client: str
    namespace: str
    expires_at: int
    """What the token says, and what its owner is told."""
    token_id: str
    key_id: str = ""
    """The API key that it was logged in with."""
    issued_at: int = 0
    access: Access = FULL_ACCESS
    quota: Quota = NO_QUOTA

    @property
    def accepted_until(self) -> int:
        """The second from which on the token, and what it was shown for, is refused."""
        return self.expires_at + LEEWAY


class TokenAuthority:
    """Trades API keys for tokens, and tokens for identities.

    A token is as good as the API key that it was issued for: once the key's record is gone, so are its tokens. Likewise
    a shorter `lifetime` ends the tokens that were issued for a longer one.
    """

    def __init__(self, records: Iterable[ApiKeyRecord], signing_key: bytes, key_id: str, lifetime: int) -> None:
        """`lifetime` is in seconds. Raises ValueError for arguments that cannot work."""
        if len(signing_key) < MIN_SIGNING_KEY:
            raise ValueError(f"the signing key must have at least {MIN_SIGNING_KEY} bytes")
        if not 1 <= lifetime <= MAX_LIFETIME:
            raise ValueError(f"the lifetime must be 1 to {MAX_LIFETIME} seconds")
        if not is_name(key_id):
            raise ValueError(f"the key id must be {NAME_RULE}")
        self._records = tuple(records)
        self._by_id = {record.id: record for record in self._records}
        if len(self._by_id) != len(self._records):
            raise ValueError("two API keys have the same id")
        self._signing_key = signing_key
        self._key_id = key_id
        self._lifetime = lifetime
        self.epoch = 0
        """Goes up when what it accepts changes."""

    def refusal(self, identity: Identity, now: float) -> str | None:
        """Why an identity that was accepted is not any more; None if it still is."""
        return None if identity.key_id in self._by_id else "the API key is no longer known"

    def login(self, api_key: bytes, now: float, token_id: str) -> tuple[str, Identity]:
        """A token for the owner of `api_key`. Raises CredentialError, an AuthError."""
        if not is_name(token_id):
            raise ValueError(f"a token id must be {NAME_RULE}")
        record = record_of(api_key, self._records)
        issued = int(now)
        identity = Identity(
            record.client, record.namespace, issued + self._lifetime, token_id, record.id, issued, record.access
        )
        claims = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "sub": identity.client,
            "key": record.id,
            "ns": identity.namespace,
            "iat": issued,
            "exp": identity.expires_at,
            "jti": token_id,
        }
        payload = json.dumps(claims, separators=(",", ":")).encode("ascii")
        token = _JWS.encode(payload, self._signing_key, algorithm=_ALGORITHM, headers={"kid": self._key_id})
        return token, identity

    def verify(self, token: bytes, now: float) -> Identity:
        """The identity that `token` proves.

        Raises CredentialError, an AuthError, for a token that is not ours, and ExpiredError for one that was valid.
        """
        claims = self._signed_claims(token)
        self._check_origin(claims)
        self._check_times(claims, now)
        identity = Identity(
            claims["sub"],
            claims["ns"],
            claims["exp"],
            claims["jti"],
            claims["key"],
            claims["iat"],
            self._by_id[claims["key"]].access,
        )
        if now >= identity.accepted_until:
            raise ExpiredError
        return identity

    def _signed_claims(self, token: bytes) -> dict[str, Any]:
        """The claims of a token with the right form, header and signature."""
        if len(token) > MAX_CREDENTIAL:
            raise CredentialError("the token is too long")
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise CredentialError("the token is not three parts of base64url with an HS256 signature")
        self._check_header(_flat_object(_decode_part(match[1]), "header"))
        payload = _decode_part(match[2])
        try:
            _JWS.decode(token, self._signing_key, algorithms=[_ALGORITHM])
        except jwt.PyJWTError:
            raise CredentialError("the signature is wrong") from None
        return _flat_object(payload, "payload")

    def _check_header(self, header: dict[str, Any]) -> None:
        """Refuse all but the header that this server writes.

        That also refuses `crit`, `b64`, and every way to bring a key along: `jwk`, `jku`, `x5u`, `x5c`.
        """
        if not header.keys() <= _HEADER_FIELDS:
            raise CredentialError("the header has a field that is not allowed")
        if header.get("alg") != _ALGORITHM:
            raise CredentialError("the algorithm is not HS256")
        if header.get("kid") != self._key_id:
            raise CredentialError("the signing key is not known")
        if header.get("typ", "JWT") != "JWT":
            raise CredentialError("the type is not JWT")

    def _check_origin(self, claims: dict[str, Any]) -> None:
        """Refuse claims that are incomplete, made for somebody else, or outlived by their API key."""
        if not _CLAIMS <= claims.keys() <= _CLAIMS | _OPTIONAL_CLAIMS:
            raise CredentialError("a claim is missing or not known")
        if claims["iss"] != _ISSUER:
            raise CredentialError("the issuer is wrong")
        if claims["aud"] != _AUDIENCE:
            raise CredentialError("the audience is wrong")
        for name in ("sub", "key", "ns", "jti"):
            if not is_name(claims[name]):
                raise CredentialError(f"the claim {name} is not a name")
        record = self._by_id.get(claims["key"])
        if record is None:
            raise CredentialError("the API key of this token is no longer known")
        if (record.client, record.namespace) != (claims["sub"], claims["ns"]):
            raise CredentialError("the API key of this token belongs to another client or namespace")

    def _check_times(self, claims: dict[str, Any], now: float) -> None:
        """Refuse times that no token of this server has. Whether it has run out is another question."""
        issued, expires = _time(claims, "iat"), _time(claims, "exp")
        if not 0 < expires - issued <= self._lifetime:
            raise CredentialError("the lifetime is too long, or not positive")
        if issued > now + LEEWAY:
            raise CredentialError("the token was issued in the future")
        if "nbf" in claims and _time(claims, "nbf") > now + LEEWAY:
            raise CredentialError("the token is not valid yet")


# --- Strict reading ---------------------------------------------------------------------------------------------------


def _time(claims: dict[str, Any], name: str) -> int:
    """A time claim in Unix seconds. A bool is an int in Python, hence the exact type."""
    value = claims[name]
    if type(value) is not int or not 0 <= value <= LATEST_TIME:
        raise CredentialError(f"the claim {name} is not a time")
    return value


def _decode_part(part: bytes) -> bytes:
    """A part of a token, decoded. Two spellings of the same bytes are not accepted: a token has one form."""
    try:
        decoded = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except ValueError:
        raise CredentialError("a part is not base64url") from None
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != part:
        raise CredentialError("a part is not canonical base64url")
    return decoded


def _flat_object(raw: bytes, what: str) -> dict[str, Any]:
    """A JSON object without lists and objects in it, each name given once, all numbers whole and short."""
    # Counting brackets keeps deep JSON away from the recursive parser. No string of ours holds one.
    if raw.count(b"{") != 1 or b"[" in raw:
        raise CredentialError(f"the {what} is not a flat JSON object")
    try:
        value = _DECODER.decode(raw.decode("ascii"))
    except ValueError:
        raise CredentialError(f"the {what} is not strict JSON") from None
    if not isinstance(value, dict):
        raise CredentialError(f"the {what} is not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of `pairs`; two parsers may choose differently between two values of one name, so none is chosen."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name is given twice")
    return value


def _whole(digits: str) -> int:
    """A number short enough that converting it costs nothing."""
    if len(digits) > _MAX_DIGITS:
        raise ValueError("a number is too long")
    return int(digits)


def _refuse(text: str) -> NoReturn:
    """No claim of ours is a fraction, NaN or Infinity."""
    raise ValueError("a number is not whole")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_whole, parse_float=_refuse, parse_constant=_refuse
)
