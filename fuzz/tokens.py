"""Credentials: an identity that this server has given, or AuthError or ExpiredError, whatever is shown.

Bytes alone never get past the signature. So in one variant the input is a header and claims, to be signed with the
server's own key: what is then accepted must be what the server itself could have written.
"""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any, Final

from fuzz.cutting import split
from tests.core.conversation import API_KEY, OTHER_KEY, SIGNING_KEY, SIGNING_KEY_ID, new_authority
from wireproto.core.signing_keys import MAX_LIFETIME
from wireproto.core.tokens import Identity
from wireproto.errors import AuthError, ExpiredError

_NOW: Final = 1_000_000.0
_AUTHORITY: Final = new_authority()
_OWNERS: Final = {("client", "ns"), ("other", "ns")}

WORDS: Final = (
    *(
        b'{"alg":"HS256","typ":"JWT","kid":"signing"}',
        b'"alg":"none"',
        b'"alg":"RS256"',
        b'"crit":["b64"]',
        b'"b64":false',
    ),
    *(b'"iss":"wireproto"', b'"aud":"wireproto"', b'"sub":"client"', b'"key":"k1"', b'"ns":"ns"', b'"iat":999999'),
    *(
        b'"exp":1000800',
        b'"jti":"t"',
        b'"nbf":999999',
        b"null",
        b"true",
        b"NaN",
        b"1e400",
        b"-1",
        b'"\\u0000"',
        b"[]",
        b"{}",
    ),
    *(API_KEY, OTHER_KEY, b".", b",", b":", b'"', b"{", b"}", b" ", b"\n", b"eyJhbGciOiJIUzI1NiJ9.", b"9" * 400),
)


def check(data: bytes) -> None:
    """The contract of the authority."""
    variant, _, stream = split(data)
    if variant == 0:
        for show in (_shown, _traded):
            identity = show(stream)
            assert identity is None or (identity.client, identity.namespace) in _OWNERS
        return
    header, _, claims = stream.partition(b"\n")
    identity = _shown(_signed(header, claims))
    if identity is not None:
        _must_be_ours(identity, _object(header), _object(claims))


def _shown(credential: bytes) -> Identity | None:
    try:
        return _AUTHORITY.verify(credential, _NOW)
    except (AuthError, ExpiredError):
        return None


def _traded(credential: bytes) -> Identity | None:
    try:
        token, identity = _AUTHORITY.login(credential, _NOW, "t")
    except (AuthError, ExpiredError):
        return None
    assert credential in (API_KEY, OTHER_KEY), "nothing but a key is taken for one"
    assert _shown(token.encode("ascii")) == identity, "a token that was just given is accepted"
    return identity


def _signed(header: bytes, claims: bytes) -> bytes:
    """Both as a token with a signature that is right."""
    message = _part(header) + b"." + _part(claims)
    return message + b"." + _part(hmac.digest(SIGNING_KEY, message, "sha256"))


def _part(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _object(text: bytes) -> dict[str, Any]:
    """A JSON object, each name in it given once."""
    pairs: list[tuple[str, Any]] = json.loads(text, object_pairs_hook=list)
    value = dict(pairs)
    assert len(value) == len(pairs), "a name is given twice"
    return value


def _must_be_ours(identity: Identity, header: dict[str, Any], claims: dict[str, Any]) -> None:
    assert header["alg"] == "HS256"
    assert header["kid"] == SIGNING_KEY_ID
    assert not header.keys() & {"crit", "b64", "jwk", "jku", "x5u", "x5c"}
    assert (claims["iss"], claims["aud"]) == ("wireproto", "wireproto")
    assert (claims["sub"], claims["ns"]) == (identity.client, identity.namespace)
    assert (identity.client, identity.namespace) in _OWNERS
    assert type(claims["exp"]) is type(claims["iat"]) is int
    assert claims["exp"] == identity.expires_at
    assert 0 < claims["exp"] - claims["iat"] <= MAX_LIFETIME
    assert claims["exp"] > _NOW - 60
    assert claims["iat"] < _NOW + 60
