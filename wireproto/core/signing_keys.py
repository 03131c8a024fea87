"""The keys that sign tokens: the newest signs, the ones before it still verify for as long as a token may live.

The algorithm belongs to the key, and never to a token: a public key must not be taken for the secret of an HMAC. HS256
is for a server that verifies its own tokens. EdDSA (Ed25519) is for other services that verify them too: they need the
public key alone, and cannot make a token with it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from wireproto.core.api_keys import LATEST_TIME
from wireproto.core.names import NAME_RULE, is_name

HS256: Final = "HS256"
EDDSA: Final = "EdDSA"
ALGORITHMS: Final = (HS256, EDDSA)
SIGNING_SECRET_BYTES: Final = 32
"""Of a new key, of true randomness, for either algorithm. RFC 7518, section 3.2: a key for HS256 has at least as many
bytes as the hash; RFC 8032: the private key of Ed25519 has these."""
MAX_LIFETIME: Final = 24 * 3600
"""Seconds that a token lives at most, and that a retired key still verifies."""

_JWS: Final = jwt.PyJWS(algorithms=list(ALGORITHMS))
_ALWAYS: Final = ("id", "algorithm", "created", "key")
_SOMETIMES: Final = ("retired",)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key. Times are in Unix seconds. Raises ValueError for what is none."""

    id: str
    algorithm: str
    created: int
    """0 where it is not known."""
    retired: int | None
    """Since then it signs no more."""
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not is_name(self.id):
            raise ValueError(f"id must be {NAME_RULE}")
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}")
        for name in ("created", "retired"):
            value = getattr(self, name)
            if not (value is None and name == "retired") and (type(value) is not int or not 0 <= value <= LATEST_TIME):
                raise ValueError(f"{name} must be a whole number of seconds")
        if len(self.secret) < SIGNING_SECRET_BYTES:
            raise ValueError(f"key has fewer than {SIGNING_SECRET_BYTES} bytes")
        if self.algorithm == EDDSA and len(self.secret) != SIGNING_SECRET_BYTES:
            raise ValueError(f"key must have {SIGNING_SECRET_BYTES} bytes for {EDDSA}")

    def verifies(self, now: float) -> bool:
        """Whether tokens that it signed are accepted."""
        return self.retired is None or now < self.retired + MAX_LIFETIME

    def to_json(self) -> dict[str, Any]:
        """This key as a JSON object, with its secret."""
        value = {"id": self.id, "algorithm": self.algorithm, "created": self.created}
        if self.retired is not None:
            value["retired"] = self.retired
        return value | {"key": base64.b64encode(self.secret).decode("ascii")}

    @classmethod
    def from_json(cls, value: object) -> SigningKey:
        """A key from a JSON object. Raises ValueError, which names the field that is wrong and quotes nothing."""
        if not isinstance(value, dict) or not set(_ALWAYS) <= set(value) <= {*_ALWAYS, *_SOMETIMES}:
            raise ValueError(f"a key must be an object with the fields {', '.join(_ALWAYS)}, and perhaps retired")
        encoded = value["key"]
        if not isinstance(encoded, str):
            raise ValueError("key must be text")
        try:
            secret = base64.b64decode(encoded, validate=True)
        except ValueError:
            raise ValueError("key is not base64") from None
        return cls(value["id"], value["algorithm"], value["created"], value.get("retired"), secret)


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """All keys of a server. Raises ValueError if none can sign, or two have the same id."""

    keys: tuple[SigningKey, ...]

    def __post_init__(self) -> None:
        if len({key.id for key in self.keys}) != len(self.keys):
            raise ValueError("two signing keys have the same id")
        if all(key.retired is not None for key in self.keys):
            raise ValueError("there is no signing key that is not retired")

    @property
    def newest(self) -> SigningKey:
        """The one that signs."""
        # `max` would give the first of those that were made in one second.
        return sorted((key for key in self.keys if key.retired is None), key=lambda key: key.created)[-1]

    def to_json(self) -> list[dict[str, Any]]:
        """These keys as a JSON list, with their secrets."""
        return [key.to_json() for key in self.keys]

    @classmethod
    def from_json(cls, value: object) -> SigningKeys:
        """Keys from a JSON list. Raises ValueError, which says what is wrong and quotes nothing."""
        if not isinstance(value, list) or not value:
            raise ValueError("it holds no keys")
        return cls(tuple(SigningKey.from_json(key) for key in value))

    def public_keys(self, now: float) -> dict[str, Any]:
        """What another service needs to verify tokens: a JWK set (RFC 7517, RFC 8037) of the EdDSA keys that verify."""
        return {"keys": [_public_key(key) for key in self.keys if key.algorithm == EDDSA and key.verifies(now)]}


def with_new_key(keys: Iterable[SigningKey], new: SigningKey, *, keep: bool) -> tuple[SigningKey, ...]:
    """The keys after a change of keys at the time `new.created`: `new` signs.

    `keep`: what was signed before is accepted until it runs out; without it, no more from now on.
    """
    now = new.created
    kept = [key for key in keys if keep and key.verifies(now)]
    retired = [SigningKey(key.id, key.algorithm, key.created, key.retired or now, key.secret) for key in kept]
    return (*retired, new)


class Signer:
    """A key that is ready for use: to make an Ed25519 key of its bytes costs as much as to sign with it."""

    __slots__ = ("_private", "_public", "key")

    def __init__(self, key: SigningKey) -> None:
        self.key = key
        self._private: Any = key.secret
        self._public: Any = key.secret
        if key.algorithm == EDDSA:
            self._private = Ed25519PrivateKey.from_private_bytes(key.secret)
            self._public = self._private.public_key()

    def sign(self, payload: bytes) -> str:
        """A token with this payload."""
        return _JWS.encode(payload, self._private, algorithm=self.key.algorithm, headers={"kid": self.key.id})

    def has_signed(self, token: bytes) -> bool:
        """Whether the signature is this key's. The token's form and header have been looked at before."""
        try:
            _JWS.decode(token, self._public, algorithms=[self.key.algorithm])
        except jwt.PyJWTError:
            return False
        return True


def _public_key(key: SigningKey) -> dict[str, Any]:
    public = Ed25519PrivateKey.from_private_bytes(key.secret).public_key()
    return {**OKPAlgorithm.to_jwk(public, as_dict=True), "kid": key.id, "alg": key.algorithm, "use": "sig"}
