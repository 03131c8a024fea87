"""API keys and bearer tokens: made, issued and verified; the time, the dice and the keys are arguments.

An API key is what a client is given once: `wp_<id>_<secret>_<checksum>`. The server keeps only its SHA-256. A plain hash
is enough for a secret of 200 random bits: there is nothing to guess, so a slow hash would only slow the server down.
A token is what a client shows afterwards: a JWT, HS256, short-lived, signed with a key that never leaves the server.

PyJWT checks the signature and nothing else here. It reads the wall clock for `exp`, and takes claims given twice, `exp`
as a string or 10^400, an embedded `jwk`, and any `kid`; so the header and the claims are read by this module, strictly.
A token is refused in the order size, form, header, signature, claims: what is dear comes after what is cheap, and
nothing in the claims is looked at before the signature holds.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final, NoReturn

import jwt

from wireproto.core.wire import MAX_CREDENTIAL
from wireproto.errors import AuthError, ExpiredError

MIN_API_KEY: Final = 16
MAX_API_KEY: Final = 1024
API_KEY_RANDOM_BYTES: Final = 30
"""5 for the public id, 25 for the secret: base32 of either needs no padding."""
MIN_SIGNING_KEY: Final = 32
"""RFC 7518, section 3.2: a key for HS256 is at least as long as the hash."""
MAX_LIFETIME: Final = 24 * 3600
LEEWAY: Final = 5
"""Seconds by which the clocks of two servers that share a signing key may differ."""
LATEST_TIME: Final = 253_402_300_799
"""The last second of the year 9999."""

_ALGORITHM: Final = "HS256"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_API_KEY: Final = re.compile(rb"(wp_[a-z2-7]{8}_[a-z2-7]{40})_([0-9a-f]{8})")
_API_KEY_BYTES: Final = re.compile(r"[!-\-/-~]+")
"""Printable ASCII without the dot, which is what tells a token from an API key."""
_TOKEN: Final = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]{43}")
"""Three base64url parts without padding; 43 characters are the 32 bytes of an HS256 signature."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_HEADER_FIELDS: Final = frozenset({"alg", "typ", "kid"})
_CLAIMS: Final = frozenset({"iss", "aud", "sub", "key", "ns", "iat", "exp", "jti"})
_OPTIONAL_CLAIMS: Final = frozenset({"nbf"})
_MAX_DIGITS: Final = 15

_REFUSAL: Final = "the credential is not accepted"
_MISTYPED: Final = "the API key is mistyped: its checksum does not match"

_JWS: Final = jwt.PyJWS(algorithms=[_ALGORITHM])


class CredentialError(AuthError):
    """The credential is not accepted.

    The text is the same for every bad token, so that a forger learns nothing from it; `reason` is for the server's log.
    """

    def __init__(self, reason: str, text: str = _REFUSAL) -> None:
        super().__init__(text)
        self.reason = reason


def is_name(text: str) -> bool:
    """Whether `text` can name a client, a namespace, a node or a key: 1-64 letters, digits, `.`, `_` and `-`."""
    return _NAME.fullmatch(text) is not None


def is_token(credential: bytes) -> bool:
    """Whether AUTH was given a token rather than an API key, which holds no dot."""
    return b"." in credential


# --- API keys ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ApiKeyRecord:
    """What the server keeps of an API key: whose it is, and the hash by which it is known again."""

    id: str
    hash: str
    client: str
    namespace: str
    created: int

    def to_json(self) -> dict[str, str | int]:
        """This record as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> ApiKeyRecord:
        """A record from a JSON object. Raises ValueError, which names the field that is wrong."""
        if not isinstance(value, dict) or set(value) != set(cls.__slots__):
            raise ValueError(f"a key must be an object with the fields {', '.join(cls.__slots__)}")
        for name in ("id", "client", "namespace"):
            if not isinstance(value[name], str) or not is_name(value[name]):
                raise ValueError(f"{name} must be 1-64 letters, digits, '.', '_' and '-'")
        if not isinstance(value["hash"], str) or not _SHA256.fullmatch(value["hash"]):
            raise ValueError("hash must be 64 hexadecimal digits in lower case")
        if type(value["created"]) is not int or not 0 <= value["created"] <= LATEST_TIME:
            raise ValueError("created must be a whole number of seconds")
        return cls(**value)


def make_api_key(random_bytes: bytes) -> tuple[str, str]:
    """A new API key and its public id, from `API_KEY_RANDOM_BYTES` bytes of true randomness."""
    if len(random_bytes) != API_KEY_RANDOM_BYTES:
        raise ValueError(f"an API key is made from {API_KEY_RANDOM_BYTES} random bytes, not {len(random_bytes)}")
    text = base64.b32encode(random_bytes).decode("ascii").lower()
    key_id, secret = text[:8], text[8:]
    body = f"wp_{key_id}_{secret}"
    return f"{body}_{zlib.crc32(body.encode('ascii')):08x}", key_id


def hash_api_key(text: bytes) -> str:
    """The form in which the server keeps an API key."""
    return hashlib.sha256(text).hexdigest()


def api_key_problem(text: str) -> str | None:
    """Why `text` cannot be an API key that its owner chose, or None if it can."""
    if not MIN_API_KEY <= len(text) <= MAX_API_KEY:
        return f"must have {MIN_API_KEY} to {MAX_API_KEY} characters"
    if not _API_KEY_BYTES.fullmatch(text):
        return "must be printable ASCII without spaces and dots"
    return None


def is_mistyped(api_key: bytes) -> bool:
    """Whether `api_key` has the form of a key that was made here, but not its checksum.

    To say so tells an attacker nothing: anybody can compute the checksum.
    """
    match = _API_KEY.fullmatch(api_key)
    return match is not None and b"%08x" % zlib.crc32(match[1]) != match[2]


# --- Tokens -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a connection speaks for, and until when (Unix seconds)."""

    client: str
    namespace: str
    expires_at: int
    token_id: str


class TokenAuthority:
    """Trades API keys for tokens, and tokens for identities.

    A token is as good as the API key that it was issued for: once the key's record is gone, so are its tokens.
    """

    def __init__(
        self,
        records: Iterable[ApiKeyRecord],
        signing_key: bytes,
        key_id: str,
        lifetime: int,
        issuer: str = "wireproto",
        audience: str = "wireproto",
    ) -> None:
        if len(signing_key) < MIN_SIGNING_KEY:
            raise ValueError(f"the signing key must have at least {MIN_SIGNING_KEY} bytes")
        if not 1 <= lifetime <= MAX_LIFETIME:
            raise ValueError(f"the lifetime must be 1 to {MAX_LIFETIME} seconds")
        if not is_name(key_id):
            raise ValueError("the key id must be 1-64 letters, digits, '.', '_' and '-'")
        self._records = tuple(records)
        self._by_id = {record.id: record for record in self._records}
        if len(self._by_id) != len(self._records):
            raise ValueError("two API keys have the same id")
        self._signing_key = signing_key
        self._key_id = key_id
        self._lifetime = lifetime
        self._issuer = issuer
        self._audience = audience

    def login(self, api_key: bytes, now: float, token_id: str) -> tuple[str, Identity]:
        """A token for the owner of `api_key`. Raises CredentialError, an AuthError."""
        record = self._record_of(api_key)
        issued = int(now)
        identity = Identity(record.client, record.namespace, issued + self._lifetime, token_id)
        if not is_name(token_id):
            raise ValueError("a token id must be 1-64 letters, digits, '.', '_' and '-'")
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": record.client,
            "key": record.id,
            "ns": record.namespace,
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
        try:
            claims = self._signed_claims(token)
            self._check_origin(claims)
            expires_at = self._check_times(claims, now)
        except _Refused as refused:
            raise CredentialError(str(refused)) from None
        if expires_at <= now:
            raise ExpiredError
        return Identity(claims["sub"], claims["ns"], expires_at, claims["jti"])

    def _record_of(self, api_key: bytes) -> ApiKeyRecord:
        """The record of an API key. Raises CredentialError."""
        if len(api_key) > MAX_API_KEY:
            raise CredentialError("the API key is too long")
        digest = hash_api_key(api_key)
        found = None
        # Every record is compared, in constant time each: how long a guess takes says nothing about it. The list is
        # one of clients, so it is short.
        for record in self._records:
            if hmac.compare_digest(record.hash, digest):
                found = record
        if found is None:
            if is_mistyped(api_key):
                raise CredentialError("the API key is mistyped", _MISTYPED)
            raise CredentialError("the API key is not known")
        return found

    def _signed_claims(self, token: bytes) -> dict[str, Any]:
        """The claims of a token with the right form, header and signature."""
        if len(token) > MAX_CREDENTIAL:
            raise _Refused("the token is too long")
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise _Refused("the token is not three parts of base64url with an HS256 signature")
        self._check_header(_flat_object(_decode_part(match[1]), "header"))
        payload = _decode_part(match[2])
        try:
            _JWS.decode(token, self._signing_key, algorithms=[_ALGORITHM])
        except jwt.PyJWTError:
            raise _Refused("the signature is wrong") from None
        return _flat_object(payload, "payload")

    def _check_header(self, header: dict[str, Any]) -> None:
        """Refuse all but the header that this server writes.

        That also refuses `crit`, `b64`, and every way to bring a key along: `jwk`, `jku`, `x5u`, `x5c`.
        """
        if not header.keys() <= _HEADER_FIELDS:
            raise _Refused("the header has a field that is not allowed")
        if header.get("alg") != _ALGORITHM:
            raise _Refused("the algorithm is not HS256")
        if header.get("kid") != self._key_id:
            raise _Refused("the signing key is not known")
        if header.get("typ", "JWT") != "JWT":
            raise _Refused("the type is not JWT")

    def _check_origin(self, claims: dict[str, Any]) -> None:
        """Refuse claims that are incomplete, made for somebody else, or outlived by their API key."""
        if not claims.keys() >= _CLAIMS or not claims.keys() <= _CLAIMS | _OPTIONAL_CLAIMS:
            raise _Refused("a claim is missing or not known")
        if claims["iss"] != self._issuer:
            raise _Refused("the issuer is wrong")
        if claims["aud"] != self._audience:
            raise _Refused("the audience is wrong")
        for name in ("sub", "key", "ns", "jti"):
            if not isinstance(claims[name], str) or not is_name(claims[name]):
                raise _Refused(f"the claim {name} is not a name")
        record = self._by_id.get(claims["key"])
        if record is None:
            raise _Refused("the API key of this token is no longer known")
        if (record.client, record.namespace) != (claims["sub"], claims["ns"]):
            raise _Refused("the API key of this token belongs to another client or namespace")

    def _check_times(self, claims: dict[str, Any], now: float) -> int:
        """The time at which the token expires; refuse times that no token of this server has."""
        issued, expires = _time(claims, "iat"), _time(claims, "exp")
        if not 0 < expires - issued <= self._lifetime:
            raise _Refused("the lifetime is too long, or not positive")
        if issued > now + LEEWAY:
            raise _Refused("the token was issued in the future")
        if "nbf" in claims and _time(claims, "nbf") > now + LEEWAY:
            raise _Refused("the token is not valid yet")
        return expires


# --- Strict reading ---------------------------------------------------------------------------------------------------


class _Refused(Exception):  # noqa: N818 - never leaves this module
    """Why a token is refused: the reason for the log."""


def _time(claims: dict[str, Any], name: str) -> int:
    """A time claim. A bool is an int in Python, so the type is compared, not the class."""
    value = claims[name]
    if type(value) is not int or not 0 <= value <= LATEST_TIME:
        raise _Refused(f"the claim {name} is not a time")
    return value


def _decode_part(part: bytes) -> bytes:
    """A part of a token, decoded. Two spellings of the same bytes are not accepted: a token has one form."""
    try:
        decoded = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except ValueError:
        raise _Refused("a part is not base64url") from None
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != part:
        raise _Refused("a part is not canonical base64url")
    return decoded


def _flat_object(raw: bytes, what: str) -> dict[str, Any]:
    """A JSON object without lists and objects in it, each name given once, all numbers whole and short."""
    # Counting brackets keeps deep JSON away from the recursive parser. No string of ours holds one.
    if raw.count(b"{") != 1 or b"[" in raw:
        raise _Refused(f"the {what} is not a flat JSON object")
    try:
        value = _DECODER.decode(raw.decode("ascii"))
    except ValueError:
        raise _Refused(f"the {what} is not strict JSON") from None
    if not isinstance(value, dict):
        raise _Refused(f"the {what} is not a JSON object")
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
