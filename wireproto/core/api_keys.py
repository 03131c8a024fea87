"""API keys: what a client is given once, and what the server keeps of it.

A key that is made here reads `wp_<id>_<secret>_<checksum>`; an operator may set one of another form. The server keeps
only a SHA-256. A plain hash will do for a secret of 200 random bits: there is nothing to guess, and a slow hash would
only slow the server down. A key that an operator makes up must be as hard to guess.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeGuard, get_args

from wireproto.core.access import FULL_ACCESS, NO_QUOTA, PERMISSIONS, Access, Quota
from wireproto.core.names import NAME_RULE, is_name
from wireproto.errors import AuthError

MIN_API_KEY: Final = 16
MAX_API_KEY: Final = 1024
API_KEY_RANDOM_BYTES: Final = 30
"""5 for the public id, 25 for the secret: base32 of either needs no padding."""
LATEST_TIME: Final = 253_402_300_799
"""The last second of the year 9999, in Unix time."""

_API_KEY: Final = re.compile(rb"(wp_[a-z2-7]{8}_[a-z2-7]{40})_([0-9a-f]{8})")
_CHOSEN_API_KEY: Final = re.compile(r"[!-\-/-~]+")
"""Printable ASCII without the dot, which is what tells a token from an API key."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")

CERTIFICATE_NAME_RULE: Final = "1-255 printable ASCII characters without spaces, quotes and backslashes"
_CERTIFICATE_NAME: Final = re.compile(r"[!#-&(-\[\]-~]{1,255}")

_REFUSAL: Final = "the credential is not accepted"
_MISTYPED: Final = "the API key is mistyped: its checksum does not match"


CredentialKind = Literal[
    "form",
    "size",
    "header",
    "algorithm",
    "key_id",
    "signature",
    "claims",
    "times",
    "expired",
    "revoked",
    "unknown",
    "mistyped",
    "changed",
]
CREDENTIAL_KINDS: Final[tuple[CredentialKind, ...]] = get_args(CredentialKind)
"""Why a credential is refused, in a word: few enough to be counted one by one."""


class CredentialError(AuthError):
    """The credential is not accepted.

    The text is one and the same, so that a forger learns nothing from it; `reason`, a short fixed text, is for the
    server's log, and `kind` for its counters.
    """

    def __init__(self, reason: str, kind: CredentialKind, text: str = _REFUSAL) -> None:
        super().__init__(text)
        self.reason = reason
        self.kind: CredentialKind = kind


_ALWAYS: Final = ("id", "hash", "client", "namespace", "created")
_SOMETIMES: Final = ("expires", "revoked", "tokens_from", "certificate")
_NESTED: Final = ("allow", "prefixes", "quota")


@dataclass(frozen=True, slots=True)
class ApiKeyRecord:
    """What the server keeps of an API key: whose it is, what it allows, and the hash by which it is known again.

    Times are in Unix seconds. A record that was revoked is kept, so that the log can say why its tokens are refused.
    """

    id: str
    hash: str
    client: str
    namespace: str
    created: int
    access: Access = FULL_ACCESS
    quota: Quota = NO_QUOTA
    expires: int | None = None
    """From then on neither the key nor its tokens are accepted."""
    revoked: int | None = None
    """Since then neither the key nor any token that was issued for it is accepted."""
    tokens_from: int = 0
    """Tokens that were issued before are refused."""
    certificate: str | None = None
    """The name in a client certificate that logs in as this client without the key."""

    def end(self, now: float) -> CredentialKind | None:
        """Whether the key is over, and how: "revoked", "expired", or None while it is good."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and now >= self.expires else None

    def to_json(self) -> dict[str, Any]:
        """This record as a JSON object; what is as usual is left out."""
        value: dict[str, Any] = {name: getattr(self, name) for name in _ALWAYS}
        if self.access != FULL_ACCESS:
            value |= {"allow": list(self.access.allow), "prefixes": list(self.access.prefixes)}
        if self.quota != NO_QUOTA:
            value["quota"] = {name: number for name, number in asdict(self.quota).items() if number is not None}
        return value | {name: getattr(self, name) for name in _SOMETIMES if getattr(self, name)}

    @classmethod
    def from_json(cls, value: object) -> ApiKeyRecord:
        """A record from a JSON object. Raises ValueError, which names the field that is wrong."""
        if not isinstance(value, dict) or not set(_ALWAYS) <= set(value) <= {*_ALWAYS, *_SOMETIMES, *_NESTED}:
            raise ValueError(
                f"a key must be an object with the fields {', '.join(_ALWAYS)},"
                f" and perhaps {', '.join((*_SOMETIMES, *_NESTED))}"
            )
        for name in ("id", "client", "namespace"):
            if not is_name(value[name]):
                raise ValueError(f"{name} must be {NAME_RULE}")
        if not isinstance(value["hash"], str) or not _SHA256.fullmatch(value["hash"]):
            raise ValueError("hash must be 64 hexadecimal digits in lower case")
        for name in ("created", "expires", "revoked", "tokens_from"):
            if name in value and (type(value[name]) is not int or not 0 <= value[name] <= LATEST_TIME):
                raise ValueError(f"{name} must be a whole number of seconds")
        if "certificate" in value and not is_certificate_name(value["certificate"]):
            raise ValueError(f"certificate must be {CERTIFICATE_NAME_RULE}")
        lists = {name: value[name] for name in ("allow", "prefixes") if name in value}
        if not all(
            isinstance(items, list) and all(isinstance(item, str) for item in items) for items in lists.values()
        ):
            raise ValueError("allow and prefixes must be lists of words")
        plain = {name: value[name] for name in (*_ALWAYS, *_SOMETIMES) if name in value}
        access = Access.of(lists.get("allow", PERMISSIONS), lists.get("prefixes", ()))
        return cls(**plain, access=access, quota=Quota.from_json(value.get("quota", {})))


def is_certificate_name(value: object) -> TypeGuard[str]:
    """Whether `value` is text that keeps to `CERTIFICATE_NAME_RULE`."""
    return isinstance(value, str) and _CERTIFICATE_NAME.fullmatch(value) is not None


def make_api_key(random_bytes: bytes) -> tuple[str, str]:
    """A new API key and its public id, from `API_KEY_RANDOM_BYTES` bytes of true randomness."""
    if len(random_bytes) != API_KEY_RANDOM_BYTES:
        raise ValueError(f"an API key is made from {API_KEY_RANDOM_BYTES} random bytes, not {len(random_bytes)}")
    text = base64.b32encode(random_bytes).decode("ascii").lower()
    key_id, secret = text[:8], text[8:]
    body = f"wp_{key_id}_{secret}"
    return f"{body}_{zlib.crc32(body.encode('ascii')):08x}", key_id


def hash_api_key(api_key: bytes) -> str:
    """The form in which the server keeps an API key."""
    return hashlib.sha256(api_key).hexdigest()


def api_key_problem(text: str) -> str | None:
    """Why `text` cannot be an API key that an operator sets, or None if it can. The answer never quotes it."""
    if not MIN_API_KEY <= len(text) <= MAX_API_KEY:
        return f"must have {MIN_API_KEY} to {MAX_API_KEY} characters"
    if not _CHOSEN_API_KEY.fullmatch(text):
        return "must be printable ASCII without spaces and dots"
    if _is_mistyped(text.encode("ascii")):
        return "is mistyped: it has the form of a key that was made here, and not its checksum"
    return None


def record_of(api_key: bytes, records: Sequence[ApiKeyRecord]) -> ApiKeyRecord:
    """The record of an API key, whether it is still good or not. Raises CredentialError if there is none."""
    if len(api_key) > MAX_API_KEY:
        raise CredentialError("the API key is too long", "size")
    digest = hash_api_key(api_key)
    # Every record is compared, in constant time each: how long a guess takes says nothing about it. The list is one of
    # clients, so it is short.
    found = [record for record in records if hmac.compare_digest(record.hash, digest)]
    if found:
        return found[0]
    if _is_mistyped(api_key):
        raise CredentialError("the API key is mistyped", "mistyped", _MISTYPED)
    raise CredentialError("the API key is not known", "unknown")


def _is_mistyped(api_key: bytes) -> bool:
    """Whether `api_key` has the form of a key that was made here, but not its checksum.

    To say so tells an attacker nothing: anybody can compute the checksum.
    """
    match = _API_KEY.fullmatch(api_key)
    return match is not None and b"%08x" % zlib.crc32(match[1]) != match[2]
