"""Bearer tokens: what is issued is accepted, and everything else is refused, quickly and in one text."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from time import perf_counter
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from wireproto.core.api_keys import ApiKeyRecord, CredentialError, hash_api_key, make_api_key
from wireproto.core.tokens import LEEWAY, MAX_LIFETIME, Identity, TokenAuthority
from wireproto.core.wire import MAX_CREDENTIAL
from wireproto.errors import AuthError, ExpiredError

NOW = 1_750_000_000
LIFETIME = 900
KEY = b"k" * 32
KEY_ID = "signing-key-1"
API_KEY = make_api_key(bytes(30))[0].encode()
RECORD = ApiKeyRecord("key-1", hash_api_key(API_KEY), "shop", "orders", NOW)
OTHER_RECORD = ApiKeyRecord("key-2", hash_api_key(b"another-api-key-"), "desk", "orders", NOW)
AUTHORITY = TokenAuthority([RECORD, OTHER_RECORD], KEY, KEY_ID, LIFETIME)
TOKEN = AUTHORITY.login(API_KEY, NOW, "token-1")[0].encode()

HEADER = {"alg": "HS256", "kid": KEY_ID, "typ": "JWT"}
CLAIMS = {
    "iss": "wireproto",
    "aud": "wireproto",
    "sub": "shop",
    "key": "key-1",
    "ns": "orders",
    "iat": NOW,
    "exp": NOW + LIFETIME,
    "jti": "token-1",
}
REFUSED = "the credential is not accepted"
QUICK = 0.001
"""Seconds within which every bad token is refused."""

FORM = "the token is not three parts of base64url with an HS256 signature"
TOO_LONG = "the token is too long"
SIGNATURE = "the signature is wrong"
ALGORITHM = "the algorithm is not HS256"
KID = "the signing key is not known"
FIELD = "the header has a field that is not allowed"
FLAT_HEADER, STRICT_HEADER = "the header is not a flat JSON object", "the header is not strict JSON"
FLAT, STRICT = "the payload is not a flat JSON object", "the payload is not strict JSON"
CLAIM = "a claim is missing or not known"
LIFE = "the lifetime is too long, or not positive"


def encode(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def as_json(value: Mapping[str, Any] | str | bytes) -> bytes:
    """JSON of an object; text and bytes are taken as they are."""
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else json.dumps(value, separators=(",", ":")).encode()


def forge(
    header: Mapping[str, Any] | str | bytes = HEADER,
    claims: Mapping[str, Any] | str | bytes = CLAIMS,
    key: bytes = KEY,
    hash_name: str = "sha256",
) -> bytes:
    """A token with a good signature over any header and claims."""
    signed = encode(as_json(header)) + b"." + encode(as_json(claims))
    return signed + b"." + encode(hmac.digest(key, signed, hash_name))


def with_header(**changed: Any) -> bytes:
    return forge(header=HEADER | changed)


def with_claims(**changed: Any) -> bytes:
    return forge(claims=CLAIMS | changed)


def without(name: str) -> bytes:
    return forge(claims={key: value for key, value in CLAIMS.items() if key != name})


def with_raw_claim(name: str, raw: str) -> bytes:
    """A token in which the JSON of one claim is `raw`."""
    parts = [f'"{key}":{raw if key == name else json.dumps(value)}' for key, value in CLAIMS.items()]
    return forge(claims="{" + ",".join(parts) + "}")


def unsigned(algorithm: Any, signature: bytes = b"") -> bytes:
    return encode(as_json(HEADER | {"alg": algorithm})) + b"." + encode(as_json(CLAIMS)) + b"." + signature


def signed_with_public_key() -> tuple[bytes, bytes]:
    """Key confusion: a token of the owner of a private key, and one that takes his public key for an HMAC secret."""
    private = generate_private_key(SECP256R1())
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return jwt.encode(CLAIMS, private, algorithm="ES256", headers=HEADER | {"alg": "ES256"}).encode(), forge(key=public)


def respelt() -> bytes:
    """The token, with one of the bits set that base64 leaves over at the end of the payload."""
    for claims in (CLAIMS, CLAIMS | {"jti": "token-10"}):
        header, payload, _ = forge(claims=claims).split(b".")
        if len(payload) % 4:
            alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
            other = payload[:-1] + bytes([alphabet[alphabet.index(payload[-1:]) + 1]])
            signed = header + b"." + other
            return signed + b"." + encode(hmac.digest(KEY, signed, "sha256"))
    raise AssertionError("one of the two leaves bits over")


def bad_tokens() -> dict[str, tuple[bytes, str]]:
    """Every bad token, with the reason for the log."""
    good_signature = TOKEN.rpartition(b".")[2]
    other_family, confused = signed_with_public_key()
    algorithm: object
    tokens: dict[str, tuple[bytes, str]] = {
        "empty": (b"", FORM),
        "dots": (b"..", FORM),
        "four parts": (TOKEN + b".x", FORM),
        "two parts": (TOKEN.rpartition(b".")[0], FORM),
        "signature empty": (TOKEN.rpartition(b".")[0] + b".", FORM),
        "signature cut": (TOKEN[:-1], FORM),
        "signature of another key": (forge(key=b"x" * 32), SIGNATURE),
        "signature of an empty key": (forge(key=b""), SIGNATURE),
        "signature of something else": (TOKEN[:-43] + forge(claims=CLAIMS | {"sub": "desk"})[-43:], SIGNATURE),
        "public key as HMAC secret": (confused, SIGNATURE),
        "signed by another family": (other_family, FORM),
        "HS512 signature": (forge(hash_name="sha512"), FORM),
        "padding": (TOKEN + b"=", FORM),
        "line end": (TOKEN + b"\n", FORM),
        "space before": (b" " + TOKEN, FORM),
        "plus and slash": (b"+/" + TOKEN[2:], FORM),
        "binary": (bytes(range(256)), FORM),
        "header of one character": (b"A." + TOKEN.partition(b".")[2], "a part is not base64url"),
        "payload respelt": (respelt(), "a part is not canonical base64url"),
        "a megabyte": (b"A" * 2**20, TOO_LONG),
        "a megabyte of dots": (b"." * 2**20, TOO_LONG),
        "a megabyte, signed": (with_claims(jti="x" * 2**20), TOO_LONG),
        "one byte too long": (b"A" * (MAX_CREDENTIAL + 1), TOO_LONG),
        # The header.
        "alg missing": (forge(header={"kid": KEY_ID, "typ": "JWT"}), ALGORITHM),
        "kid missing": (forge(header={"alg": "HS256", "typ": "JWT"}), KID),
        "kid of 3 KB": (with_header(kid="k" * 2048), KID),
        "kid of 10 KB": (with_header(kid="k" * 10_240), TOO_LONG),
        "typ": (with_header(typ="at+jwt"), "the type is not JWT"),
        "jwk": (with_header(jwk={"kty": "oct", "k": encode(b"x" * 32).decode()}), FLAT_HEADER),
        "jku": (with_header(jku="https://example.com/keys.json"), FIELD),
        "x5u": (with_header(x5u="https://example.com/chain.pem"), FIELD),
        "x5c": (with_header(x5c=["MIIB"]), FLAT_HEADER),
        "crit": (with_header(crit=["exp"], exp=NOW), FLAT_HEADER),
        "crit as text": (with_header(crit="exp"), FIELD),
        "b64 false": (with_header(b64=False), FIELD),
        "b64 false, critical": (with_header(b64=False, crit=["b64"]), FLAT_HEADER),
        "header twice": (forge(header=f'{{"alg":"none","alg":"HS256","kid":"{KEY_ID}"}}'), STRICT_HEADER),
        "header twice, escaped": (
            forge(header=f'{{"alg":"HS256","kid":"{KEY_ID}","\\u0061lg":"none"}}'),
            STRICT_HEADER,
        ),
        "header deep": (forge(header='{"alg":' * 300 + "1" + "}" * 300), FLAT_HEADER),
        "header a list": (forge(header="[]"), FLAT_HEADER),
        "header text": (forge(header='"{"'), "the header is not a JSON object"),
        "header empty object": (forge(header="{}"), ALGORITHM),
        "header not JSON": (forge(header="{alg:HS256}"), STRICT_HEADER),
        "header UTF-16": (forge(header=json.dumps(HEADER).encode("utf-16")), STRICT_HEADER),
        "header with a tail": (forge(header=json.dumps(HEADER) + "x"), STRICT_HEADER),
        # The claims, behind a good signature.
        "payload deep lists": (forge(claims="[" * 2000), FLAT),
        "payload deep objects": (forge(claims='{"a":' * 400 + "1" + "}" * 400), FLAT),
        "payload deep in a claim": (with_raw_claim("exp", "[" * 500 + "]" * 500), FLAT),
        "payload a number": (forge(claims="1"), FLAT),
        "payload not JSON": (forge(claims="{"), STRICT),
        "payload binary": (forge(claims=b"{" + bytes(range(128, 256))), STRICT),
        "payload UTF-8": (with_raw_claim("sub", '"größe"'), STRICT),
        "payload with a byte-order mark": (forge(claims=b"\xef\xbb\xbf" + as_json(CLAIMS)), STRICT),
        "exp twice": (forge(claims=as_json(CLAIMS)[:-1] + b',"exp":%d}' % (NOW + 99)), STRICT),
        "sub twice, escaped": (forge(claims=as_json(CLAIMS)[:-1] + b',"\\u0073ub":"desk"}'), STRICT),
        "another claim": (with_claims(admin=True), CLAIM),
        "nbf in the future": (with_claims(nbf=NOW + LEEWAY + 1), "the token is not valid yet"),
        "nbf as text": (with_claims(nbf="0"), "the claim nbf is not a time"),
        "iat in the future": (
            with_claims(iat=NOW + LEEWAY + 1, exp=NOW + LEEWAY + 2),
            "the token was issued in the future",
        ),
        "iat negative": (with_claims(iat=-1), "the claim iat is not a time"),
        "iat null": (with_claims(iat=None), "the claim iat is not a time"),
        "life too long": (with_claims(exp=NOW + LIFETIME + 1), LIFE),
        "life too long, begun long ago": (with_claims(iat=0), LIFE),
        "life empty": (with_claims(exp=NOW), LIFE),
        "life backwards": (with_claims(exp=NOW - 1), LIFE),
        "key revoked": (with_claims(key="key-9"), "the API key of this token is no longer known"),
        "client of another key": (
            with_claims(sub="desk"),
            "the API key of this token belongs to another client or namespace",
        ),
        "namespace of another key": (
            with_claims(ns="ledger"),
            "the API key of this token belongs to another client or namespace",
        ),
    }
    for algorithm in ("none", "None", "NONE", "nOnE", "", None):
        tokens[f"alg {algorithm!r}, no signature"] = (unsigned(algorithm), FORM)
        tokens[f"alg {algorithm!r}, signed"] = (with_header(alg=algorithm), ALGORITHM)
        tokens[f"alg {algorithm!r}, another's signature"] = (unsigned(algorithm, good_signature), ALGORITHM)
    for algorithm in ("HS384", "HS512", "RS256", "PS256", "ES256", "EdDSA", "hs256", "HS256 ", 256, True):
        tokens[f"alg {algorithm!r}"] = (with_header(alg=algorithm), ALGORITHM)
    for kid in (
        "signing-key-2",
        "",
        1,
        True,
        None,
        "../../../dev/null",
        "/proc/self/environ",
        "x' UNION SELECT 'key'--",
    ):
        tokens[f"kid {kid!r}"] = (with_header(kid=kid), KID)
    for name in CLAIMS:
        tokens[f"{name} missing"] = (without(name), CLAIM)
    for name, word in (("iss", "issuer"), ("aud", "audience")):
        for value in ("", "someone-else", "WIREPROTO", 1, None, True):
            tokens[f"{name} {value!r}"] = (with_claims(**{name: value}), f"the {word} is wrong")
        tokens[f"{name} a list"] = (with_claims(**{name: ["wireproto"]}), FLAT)
    for name in ("sub", "key", "ns", "jti"):
        for value in ("", "two words", "line\n", "x" * 65, 7, None, True):
            tokens[f"{name} {value!r}"] = (with_claims(**{name: value}), f"the claim {name} is not a name")
    not_times = {"null": "null", "true": "true", "false": "false", "text": f'"{NOW + 60}"', "negative": "-1"}
    for label, raw in not_times.items():
        tokens[f"exp {label}"] = (with_raw_claim("exp", raw), "the claim exp is not a time")
    tokens["exp after the year 9999"] = (with_raw_claim("exp", "253402300800"), "the claim exp is not a time")
    for raw in ("NaN", "Infinity", "-Infinity", "1e400", f"{NOW + 60}.0", "1" + "0" * 400, "0x10", "1_0", "010", "+1"):
        tokens[f"exp {raw[:20]}"] = (with_raw_claim("exp", raw), STRICT)
    return tokens


BAD_TOKENS = bad_tokens()


def refusal(token: bytes, authority: TokenAuthority = AUTHORITY, now: float = NOW) -> CredentialError:
    with pytest.raises(CredentialError) as caught:
        authority.verify(token, now)
    return caught.value


# --- Issuing ----------------------------------------------------------------------------------------------------------


def test_a_login_gives_a_token_that_proves_the_same_identity() -> None:
    token, identity = AUTHORITY.login(API_KEY, NOW + 0.75, "token-1")
    assert identity == Identity("shop", "orders", NOW + LIFETIME, "token-1")
    assert AUTHORITY.verify(token.encode(), NOW + 1) == identity


def test_a_token_is_an_ordinary_jwt() -> None:
    """Another library reads it, given the key."""
    options: Any = {"verify_exp": False, "verify_iat": False}
    claims = jwt.decode(TOKEN, KEY, ["HS256"], audience="wireproto", issuer="wireproto", options=options)
    assert claims == CLAIMS
    assert jwt.get_unverified_header(TOKEN) == HEADER


def test_the_forger_of_these_tests_can_make_a_good_token() -> None:
    """Else every refusal below would prove nothing."""
    assert AUTHORITY.verify(forge(), NOW).client == "shop"
    assert AUTHORITY.verify(with_claims(nbf=NOW), NOW).client == "shop"
    assert AUTHORITY.verify(forge(header={"alg": "HS256", "kid": KEY_ID}), NOW).client == "shop"


def test_the_longest_names_fit_into_a_credential() -> None:
    name = "n" * 64
    authority = TokenAuthority(
        [ApiKeyRecord(name, hash_api_key(API_KEY), name, name, NOW)], KEY, "k" * 64, MAX_LIFETIME
    )
    token, identity = authority.login(API_KEY, NOW, "t" * 64)
    assert len(token) < 1024 < MAX_CREDENTIAL
    assert authority.verify(token.encode(), NOW) == identity


def test_each_key_logs_in_as_its_own_client() -> None:
    assert AUTHORITY.login(b"another-api-key-", NOW, "token-2")[1].client == "desk"


@pytest.mark.parametrize("api_key", [b"", b"x" * 16, TOKEN, API_KEY + b" ", b"x" * 2**20])
def test_a_wrong_api_key_gets_no_token(api_key: bytes) -> None:
    with pytest.raises(AuthError, match=f"^{REFUSED}$"):
        AUTHORITY.login(api_key, NOW, "token-1")


@pytest.mark.parametrize("token_id", ["", "two words", "x" * 65])
def test_a_token_id_is_a_name(token_id: str) -> None:
    with pytest.raises(ValueError, match="a token id must be"):
        AUTHORITY.login(API_KEY, NOW, token_id)


def test_arguments_that_cannot_work() -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        TokenAuthority([RECORD], b"k" * 31, KEY_ID, LIFETIME)
    with pytest.raises(ValueError, match="the lifetime must be 1 to 86400 seconds"):
        TokenAuthority([RECORD], KEY, KEY_ID, 0)
    with pytest.raises(ValueError, match="the lifetime must be 1 to 86400 seconds"):
        TokenAuthority([RECORD], KEY, KEY_ID, MAX_LIFETIME + 1)
    with pytest.raises(ValueError, match="the key id must be"):
        TokenAuthority([RECORD], KEY, "", LIFETIME)
    with pytest.raises(ValueError, match="two API keys have the same id"):
        TokenAuthority([RECORD, RECORD], KEY, KEY_ID, LIFETIME)


# --- The end of a token -----------------------------------------------------------------------------------------------


def test_a_token_lives_for_its_lifetime_and_the_leeway() -> None:
    end = NOW + LIFETIME + LEEWAY
    identity = AUTHORITY.verify(TOKEN, end - 0.001)
    assert identity.expires_at == NOW + LIFETIME, "the leeway is not part of what a client is told"
    assert identity.accepted_until == end
    for now in (end, end + 1, end + 10**9):
        with pytest.raises(ExpiredError):
            AUTHORITY.verify(TOKEN, now)


def test_a_clock_that_jumps_back_by_the_leeway_refuses_nothing() -> None:
    assert AUTHORITY.verify(TOKEN, NOW - LEEWAY).client == "shop"
    assert refusal(TOKEN, now=NOW - LEEWAY - 1).reason == "the token was issued in the future"
    assert AUTHORITY.verify(with_claims(nbf=NOW + LEEWAY), NOW).client == "shop"


def test_a_token_ends_with_its_api_key() -> None:
    without_the_key = TokenAuthority([OTHER_RECORD], KEY, KEY_ID, LIFETIME)
    assert refusal(TOKEN, without_the_key).reason == "the API key of this token is no longer known"
    assert refusal(TOKEN, TokenAuthority([], KEY, KEY_ID, LIFETIME)).reason.endswith("no longer known")


def test_a_revoked_token_is_refused_as_revoked_also_after_its_end() -> None:
    error = refusal(TOKEN, TokenAuthority([], KEY, KEY_ID, LIFETIME), NOW + 10 * LIFETIME)
    assert str(error) == REFUSED


def test_a_token_ends_with_its_signing_key() -> None:
    assert refusal(TOKEN, TokenAuthority([RECORD], b"n" * 32, "signing-key-2", LIFETIME)).reason == KID
    assert refusal(TOKEN, TokenAuthority([RECORD], b"n" * 32, KEY_ID, LIFETIME)).reason == SIGNATURE


def test_a_shorter_lifetime_ends_longer_tokens() -> None:
    assert refusal(TOKEN, TokenAuthority([RECORD], KEY, KEY_ID, LIFETIME - 1)).reason == LIFE


def test_an_expired_forgery_is_not_told_that_it_expired() -> None:
    assert refusal(forge(key=b"x" * 32), now=NOW + 10 * LIFETIME).reason == SIGNATURE


# --- Bad tokens -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_bad_tokens_get_one_text_and_their_own_reason(name: str) -> None:
    token, reason = BAD_TOKENS[name]
    error = refusal(token)
    assert (str(error), error.reason, error.code) == (REFUSED, reason, "AUTH")


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_bad_tokens_are_refused_within_a_millisecond(name: str) -> None:
    """The quickest of several tries: the machine may be busy with something else, but not always."""
    token, _ = BAD_TOKENS[name]
    quickest = QUICK
    for _ in range(50):
        begun = perf_counter()
        try:
            AUTHORITY.verify(token, NOW)
        except CredentialError:
            quickest = min(quickest, perf_counter() - begun)
        if quickest < QUICK:
            return
    pytest.fail(f"it took more than {QUICK} s every time")


def test_the_last_character_has_one_spelling() -> None:
    """The last character of a signature holds two bits that mean nothing; they must not make four tokens of one."""
    accepted = []
    for character in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/":
        token = TOKEN[:-1] + bytes([character])
        try:
            AUTHORITY.verify(token, NOW)
        except CredentialError:
            continue
        accepted.append(token)
    assert accepted == [TOKEN]


@given(st.integers(0, len(TOKEN) - 1), st.integers(1, 255))
def test_any_flipped_byte_is_refused(place: int, flip: int) -> None:
    flipped = bytearray(TOKEN)
    flipped[place] ^= flip
    assert str(refusal(bytes(flipped))) == REFUSED


@given(st.integers(0, len(TOKEN)), st.binary(min_size=1, max_size=3))
def test_any_inserted_bytes_are_refused(place: int, more: bytes) -> None:
    refusal(TOKEN[:place] + more + TOKEN[place:])


@given(st.integers(0, len(TOKEN) - 1))
def test_any_beginning_and_any_ending_of_a_token_is_refused(place: int) -> None:
    refusal(TOKEN[:place])
    refusal(TOKEN[place + 1 :])


def only_refuses(token: bytes) -> None:
    """Whatever `token` is, it is accepted, refused or expired, and nothing else."""
    try:
        identity = AUTHORITY.verify(token, NOW)
    except (CredentialError, ExpiredError) as error:
        text = str(error)
    else:
        assert (identity.client, identity.namespace) in (("shop", "orders"), ("desk", "orders"))
        assert NOW - LEEWAY < identity.expires_at <= NOW + LIFETIME + LEEWAY
        return
    assert text in (REFUSED, "The connection's token has run out.")


@given(st.binary(max_size=6000) | st.lists(st.binary(max_size=300).map(encode), max_size=5).map(b".".join))
def test_any_bytes_are_only_refused(token: bytes) -> None:
    only_refuses(token)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_signed_bytes_are_only_refused(header: bytes, claims: bytes) -> None:
    only_refuses(forge(header, claims))
    only_refuses(forge(HEADER, claims))


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.integers(NOW - 2 * LIFETIME, NOW + 2 * LIFETIME)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([*CLAIMS.values(), "desk", "key-2", [], {}, [[1]], {"a": {"b": 1}}])
)


@settings(max_examples=300)
@given(
    st.dictionaries(st.sampled_from([*HEADER, "crit", "b64", "jwk", "jku"]), VALUES, max_size=3),
    st.dictionaries(st.sampled_from([*CLAIMS, "nbf", "admin"]), VALUES, max_size=4),
    st.sets(st.sampled_from([*CLAIMS]), max_size=1),
)
def test_any_signed_claims_are_only_refused(header: dict[str, Any], claims: dict[str, Any], missing: set[str]) -> None:
    kept = {name: value for name, value in (CLAIMS | claims).items() if name not in missing}
    only_refuses(forge(HEADER, kept))
    only_refuses(forge(HEADER | header, kept))


def test_an_error_holds_nothing_of_the_token() -> None:
    secret = "do-not-log-me"
    for token in (
        with_claims(sub=f"{secret} x"),
        with_header(kid=secret),
        with_claims(jti=f"{secret}\n"),
        secret.encode(),
    ):
        error = refusal(token)
        assert secret not in f"{error!r} {error} {error.reason}"


def test_an_authority_does_not_show_its_key() -> None:
    assert KEY.decode() not in repr(AUTHORITY)
    assert hashlib.sha256(API_KEY).hexdigest() not in repr(AUTHORITY)
