"""The parts of a token, read strictly: base64url with one spelling, and flat JSON with nothing given twice."""

from __future__ import annotations

import base64
import json
import re
from typing import Any, Final, NoReturn

from wireproto.core.api_keys import LATEST_TIME, CredentialError, CredentialKind

_MAX_DIGITS: Final = 15
_TOKEN: Final = re.compile(
    rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.(?:[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]|[A-Za-z0-9_-]{85}[AQgw])"
)
"""Three base64url parts without padding. A signature has 32 bytes (HS256) or 64 (EdDSA), so 43 or 86 characters, and
the last of them holds two or four bits that must be zero: else one signature could be spelt in many ways."""
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
"""A JSON string, also one without an end: so it never has to go back and look again from the next quote."""


def token_parts(token: bytes) -> tuple[bytes, bytes]:
    """The header and the payload, decoded. Raises CredentialError for what has not the form of a token."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise CredentialError("the token is not three parts of base64url with a signature of the right length", "form")
    return _decode_part(match[1]), _decode_part(match[2])


def flat_object(raw: bytes, what: str, kind: CredentialKind) -> dict[str, Any]:
    """A JSON object without lists and objects in it, each name given once, all numbers whole and short."""
    # To look for brackets outside of strings first keeps deep JSON away from the recursive parser.
    structure = _STRING.sub(b"", raw)
    if structure.count(b"{") != 1 or b"[" in structure:
        raise CredentialError(f"the {what} is not a flat JSON object", kind)
    try:
        value: dict[str, Any] = _DECODER.decode(raw.decode("ascii"))
    except ValueError:
        raise CredentialError(f"the {what} is not strict JSON", kind) from None
    return value


def time_claim(claims: dict[str, Any], name: str) -> int:
    """A time claim in Unix seconds. A bool is an int in Python, hence the exact type."""
    value = claims[name]
    if type(value) is not int or not 0 <= value <= LATEST_TIME:
        raise CredentialError(f"the claim {name} is not a time", "times")
    return value


def _decode_part(part: bytes) -> bytes:
    """A part of a token, decoded. Two spellings of the same bytes are not accepted: a token has one form."""
    try:
        decoded = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except ValueError:
        raise CredentialError("a part is not base64url", "form") from None
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != part:
        raise CredentialError("a part is not canonical base64url", "form")
    return decoded


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
